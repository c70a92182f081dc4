package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"leasehold/internal/secret"
)

// However it is printed, a secret does not show.
func TestRedacted(t *testing.T) {
	t.Parallel()
	const canary = "canary-7f3a"
	text, raw := secret.NewText(canary), secret.NewBytes([]byte(canary))
	type holder struct {
		T secret.Text
		B secret.Bytes
		P *secret.Text
	}
	h := holder{text, raw, &text}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", text, raw, h)
	}
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(encoded)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("m", "text", text, "bytes", raw, "holder", h)
	}
	fmt.Fprint(&out, fmt.Errorf("wrapped: %v", text))
	if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
		t.Errorf("the secret shows:\n%s", out.String())
	}
	if text.Reveal() != canary || string(raw.Reveal()) != canary {
		t.Error("Reveal does not reveal")
	}
	raw.Wipe()
	if bytes.Contains(raw.Reveal(), []byte("a")) {
		t.Error("Wipe does not wipe")
	}
}

func TestRandom(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		s := secret.Random(secret.Base62, 24).Reveal()
		if len(s) != 24 || strings.Trim(s, secret.Base62) != "" || seen[s] {
			t.Fatalf("got %q", s)
		}
		seen[s] = true
	}
	counts := map[rune]int{}
	for _, c := range secret.Random("abc", 30_000).Reveal() {
		counts[c]++
	}
	for c, n := range counts {
		if n < 9_000 || n > 11_000 { // ten standard deviations
			t.Errorf("%c came %d times of 30,000", c, n)
		}
	}
}

func TestEqual(t *testing.T) {
	t.Parallel()
	a := secret.NewText("a")
	if !a.Equal(secret.NewText("a")) || a.Equal(secret.NewText("b")) || a.Equal(secret.NewText("aa")) || a.Empty() || !(secret.Text{}).Empty() {
		t.Error("Equal or Empty is wrong")
	}
}
