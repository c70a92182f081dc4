package external

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"leasehold/plugins"
)

func TestClasses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want plugins.Class
	}{
		{status.Error(codes.Internal, "unable to create new user: no"), plugins.Refused},
		{status.Error(codes.Unknown, "no"), plugins.Refused},
		{status.Error(codes.FailedPrecondition, "no"), plugins.Refused},
		{status.Error(codes.InvalidArgument, "no"), plugins.Permanent},
		{status.Error(codes.Unimplemented, "no"), plugins.Permanent},
		{status.Error(codes.Unavailable, "error reading from server: EOF"), plugins.Unknown},
		{status.Error(codes.DeadlineExceeded, "late"), plugins.Unknown},
		{status.Error(codes.Canceled, "gone"), plugins.Unknown},
		{status.Error(codes.ResourceExhausted, "too much"), plugins.Unknown},
		{status.Error(codes.Aborted, "again"), plugins.Unknown},
		{status.Error(codes.DataLoss, "lost"), plugins.Unknown},
		{status.Error(codes.Internal, "grpc: failed to unmarshal the received message"), plugins.Unknown},
		{status.Error(codes.Internal, "stream terminated by RST_STREAM with error code: INTERNAL_ERROR"), plugins.Unknown},
		{errors.New("of another kind"), plugins.Unknown},
	} {
		if got := classOf(test.err); got != test.want {
			t.Errorf("%v: got %v, want %v", test.err, got, test.want)
		}
	}
}

func TestMasks(t *testing.T) {
	t.Parallel()
	pem := "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSj\n-----END KEY-----\n"
	masks := settingMasks(plugins.Settings{
		"Password": `can"ary/1`, "api_token": "canary-2", "private_key": pem, "url": "https://me:canary-4@db:1/x", "host": "db",
		"credentials": map[string]any{"inner": []any{"canary-5"}}, "port": json.Number("7"), "template": "https://{{username}}:{{password}}@db",
	})
	for text, want := range map[string]string{
		`login with can"ary/1`:            "login with [password]",
		`{"x":"can\"ary/1"}`:              `{"x":"[password]"}`,
		"https://can%22ary%2F1@db":        "https://[password]@db",
		"canary-2 canary-4 canary-5":      "[password] [password] [password]",
		"at https://me:canary-4@db:1/x":   "at [connection_url]",
		"line BAQEFAASCBKcwggSj":          "line [password]",
		"dial db on port 7 is as it was":  "dial db on port 7 is as it was",
		pem + strings.Repeat("x", 5):      "[password]xxxxx",
		"https://{{username}} is no text": "https://{{username}} is no text",
	} {
		if got := plugins.Conceal(errors.New(text), nil, masks, nil).Error(); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestSendable(t *testing.T) {
	t.Parallel()
	got, err := sendable(map[string]any{"n": json.Number("6379"), "l": []any{true, nil, []string{"a"}}})
	encoded, _ := json.Marshal(got)
	if err != nil || string(encoded) != `{"l":[true,null,["a"]],"n":6379}` {
		t.Errorf("got %s, %v", encoded, err)
	}
	for _, wrong := range []any{json.Number("1e999"), struct{}{}, []any{struct{}{}}, map[string]any{"x": struct{}{}}} {
		if _, err := sendable(wrong); err == nil {
			t.Errorf("%v is sendable", wrong)
		}
	}
}
