package cli

import (
	"fmt"
	"io"
	"strings"
)

// bar reads src and shows on a terminal how far. Its line is drawn again only when it looks different, and it goes when
// src ends.
type bar struct {
	src  io.Reader
	size int64 // bytes; negative: not known
	out  io.Writer

	read  int64
	drawn string
}

const (
	barWidth  = 30
	eraseLine = "\r\x1b[K"
	step      = 16 << 20 // bytes between two lines where the size is not known
)

func (b *bar) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	b.read += int64(n)
	line := b.line()
	if err != nil {
		line = ""
	}
	if line != b.drawn {
		_, _ = io.WriteString(b.out, eraseLine+line)
		b.drawn = line
	}
	return n, err
}

func (b *bar) line() string {
	if b.size <= 0 {
		return fmt.Sprintf("%d MiB", b.read/step*step>>20)
	}
	percent := int(min(float64(b.read)/float64(b.size), 1) * 100)
	filled := percent * barWidth / 100
	return fmt.Sprintf("[%s%s] %3d%% of %d MiB", strings.Repeat("#", filled), strings.Repeat(" ", barWidth-filled),
		percent, b.size>>20)
}

// erase takes away a line that may be there still, for the text that follows.
func (b *bar) erase() { _, _ = io.WriteString(b.out, eraseLine) }
