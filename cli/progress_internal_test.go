package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestBar(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	var shown bytes.Buffer
	b := &bar{src: io.LimitReader(zeros{}, size), size: size, out: &shown}
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, b, make([]byte, 1024)); n != size || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	lines := strings.Split(shown.String(), eraseLine)
	if len(lines) != 103 { // before the first line, 0 to 100 %, and nothing at the end
		t.Errorf("%d lines were drawn", len(lines))
	}
	if got, want := lines[51], "[###############               ]  50% of 3 MiB"; got != want {
		t.Errorf("in the middle: %q, want %q", got, want)
	}
	if last := lines[len(lines)-1]; last != "" {
		t.Errorf("at the end: %q", last)
	}

	shown.Reset()
	b = &bar{src: io.LimitReader(zeros{}, 40<<20), size: -1, out: &shown}
	if _, err := io.Copy(io.Discard, b); err != nil {
		t.Fatal(err)
	}
	if got, want := shown.String(), strings.Join([]string{"", "0 MiB", "16 MiB", "32 MiB", ""}, eraseLine); got != want {
		t.Errorf("of unknown size: %q, want %q", got, want)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
