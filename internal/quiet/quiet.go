// Package quiet keeps an error that comes again and again from filling the log.
package quiet

import "strings"

// Errors are those of one loop. The zero value has seen none. It is for one goroutine.
type Errors struct{ last string }

// News says whether err is another one than the last, and remembers it; nil is none, and after that the same error is news
// again. Errors that differ in their digits alone, such as in a port or a time, are the same.
func (e *Errors) News(err error) bool {
	text := ""
	if err != nil {
		text = strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, err.Error())
	}
	news := text != e.last
	e.last = text
	return news && err != nil
}
