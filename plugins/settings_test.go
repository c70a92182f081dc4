package plugins_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"leasehold/plugins"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	s := plugins.Settings{
		"text": "a", "number": json.Number("7"), "true": true, "list": []any{}, "written": "12", "big": "4294967296", "yes": "true",
		"seconds": json.Number("90"), "days": "2d", "unit": "1m30s", "negative": "-1s", "far": "200000d",
	}
	for name, want := range map[string]string{"text": "a", "number": "7", "true": "true", "missing": ""} {
		if got, err := s.Text(name); err != nil || got != want {
			t.Errorf("Text(%s): got %q, %v; want %q", name, got, err, want)
		}
	}
	for name, want := range map[string]int{"number": 7, "written": 12, "missing": 0} {
		if got, err := s.Int(name); err != nil || got != want {
			t.Errorf("Int(%s): got %d, %v; want %d", name, got, err, want)
		}
	}
	for name, want := range map[string]bool{"true": true, "yes": true, "missing": false} {
		if got, err := s.Bool(name); err != nil || got != want {
			t.Errorf("Bool(%s): got %v, %v; want %v", name, got, err, want)
		}
	}
	for name, want := range map[string]time.Duration{"seconds": 90 * time.Second, "unit": 90 * time.Second, "days": 48 * time.Hour, "missing": 0} {
		if got, err := s.Duration(name); err != nil || got != want {
			t.Errorf("Duration(%s): got %v, %v; want %v", name, got, err, want)
		}
	}
	for what, err := range map[string]error{
		"list as text":      second(s.Text("list")),
		"text as number":    second(s.Int("text")),
		"big number":        second(s.Int("big")),
		"text as truth":     second(s.Bool("text")),
		"text as duration":  second(s.Duration("text")),
		"negative duration": second(s.Duration("negative")),
		"far duration":      second(s.Duration("far")),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "invalid ") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestPool(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		open, idle         string
		wantOpen, wantIdle int // 0: refused
	}{
		{"", "", 4, 4}, {"7", "", 7, 7}, {"7", "9", 7, 7}, {"7", "3", 7, 3}, {"7", "-1", 7, 0}, {"-1", "", 0, 0}, {"x", "", 0, 0},
	} {
		maxOpen, maxIdle, lifetime, err := plugins.Settings{
			"max_open_connections": test.open, "max_idle_connections": test.idle, "max_connection_lifetime": "1m",
		}.Pool()
		if (err == nil) != (test.wantOpen > 0) || err == nil && (maxOpen != test.wantOpen || maxIdle != test.wantIdle || lifetime != time.Minute) {
			t.Errorf("open %q, idle %q: got %d, %d, %v, %v; want %d, %d", test.open, test.idle, maxOpen, maxIdle, lifetime, err, test.wantOpen, test.wantIdle)
		}
	}
}

func TestStatements(t *testing.T) {
	t.Parallel()
	for item, want := range map[string][]string{
		" SELECT 1; ":      {"SELECT 1;"},
		`["a; b", "c"]`:    {"a; b", "c"},
		"U0VMRUNUIDE=":     {"SELECT 1"},
		"WyJhIiwgImIiXQ==": {"a", "b"},
		"ROLLBACK":         {"ROLLBACK"}, // which could be base64
		`["a", 1]`:         {`["a", 1]`},
		"":                 {""},
	} {
		if got := plugins.Statements(item); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", item, got, want)
		}
	}
}
