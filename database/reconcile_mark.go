package database

import (
	"fmt"
	"strings"
	"time"

	"leasehold/plugins"
)

// markTime is how a mark writes its instant. The microseconds tell two users of one name apart that were made one after the
// other.
const markTime = "2006-01-02T15:04:05.000000Z"

// storeNameLength is how much of a store's random id stands in marks: 64 bits.
const storeNameLength = 16

// mark is what a user made here carries in the catalogue of its own database. It holds no secret: whoever may look at the users
// there may know it. Nothing is done because of what it says alone.
type mark struct {
	store      string // which Leasehold, by its store: see storeName
	mount      string // UUID
	connection string
	role       string
	issued     time.Time // the lease's
}

// String is a line such as
//
//	leasehold store=3f0c… mount=9b1d… connection=shop role=app issued=2040-05-06T07:08:09.123456Z
func (m mark) String() string {
	return fmt.Sprintf(plugins.MarkPrefix+"store=%s mount=%s connection=%s role=%s issued=%s",
		m.store, m.mount, m.connection, m.role, m.issued.UTC().Format(markTime))
}

// readMark reads a line of that form. Words that a later version may add are passed over, and but for the store each may be
// missing: not every database has room for all.
func readMark(text string) (m mark, ok bool) {
	rest, found := strings.CutPrefix(text, plugins.MarkPrefix)
	if !found {
		return mark{}, false
	}
	for word := range strings.FieldsSeq(rest) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "store":
			m.store = value
		case "mount":
			m.mount = value
		case "connection":
			m.connection = value
		case "role":
			m.role = value
		case "issued":
			var err error
			if m.issued, err = time.Parse(markTime, value); err != nil {
				return mark{}, false
			}
		}
	}
	return m, m.store != ""
}

// storeName is how this store is called in marks.
func (e *Engine) storeName() string { return e.store.ID()[:storeNameLength] }

// mark is that of a user about to be made.
func (e *Engine) mark(c *connection, role string, issued time.Time) string {
	return mark{store: e.storeName(), mount: c.mount, connection: c.name, role: role, issued: issued}.String()
}
