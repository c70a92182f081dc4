package transit

import (
	"testing"
	"time"
)

func TestPauses(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration]time.Duration{
		0: 0, -time.Second: 0, time.Second: time.Second, time.Minute: 30 * time.Second, time.Hour: 30 * time.Minute, 768 * time.Hour: 24 * time.Hour,
	} {
		if got := pauseFor(left); got != want {
			t.Errorf("%s: %s, want %s", left, got, want)
		}
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"vault:v1:abc": 1, "vault:v12:": 12, "other:v3:x": 3, ":v2:": 2, "vault:v:abc": 0, "vault:1:abc": 0, "": 0, "v1": 0,
		"vault:v99999999999999999999:x": 0, "a:b:v4:x": 0,
	} {
		if got := version([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
