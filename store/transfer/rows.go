package transfer

import (
	"bytes"
	"cmp"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"leasehold/store"
)

// shape is a table that can be moved.
type shape struct{ store.Table }

// check refuses what rows cannot be walked through by, and types whose values the drivers may give in other forms.
func (t shape) check() error {
	if len(t.Key) == 0 {
		return fmt.Errorf("it has no primary key")
	}
	for _, c := range t.Columns {
		if !slices.Contains([]string{"BYTES", "BIGINT", "TEXT", "SEQ"}, c.Type) {
			return fmt.Errorf("column %s has type %s, which is none of a migration's", c.Name, c.Type)
		}
	}
	return nil
}

// seq is the column that the database assigns.
func (t shape) seq() (name string, ok bool) {
	i := slices.IndexFunc(t.Columns, func(c store.Column) bool { return c.Type == "SEQ" })
	if i < 0 {
		return "", false
	}
	return t.Columns[i].Name, true
}

func (t shape) columns() string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// query selects all rows, or those behind a key, in the key's order.
func (t shape) query(behind bool) string {
	where := ""
	if behind {
		where = " where (" + strings.Join(t.Key, ", ") + ") > (" + placeholders(0, len(t.Key)) + ")"
	}
	return "select " + t.columns() + " from " + t.Name + where + " order by " + strings.Join(t.Key, ", ")
}

// insert is a statement for n rows.
func (t shape) insert(n int, seqClause string) string {
	clause := ""
	if _, ok := t.seq(); ok {
		clause = seqClause
	}
	var b strings.Builder
	fmt.Fprintf(&b, "insert into %s (%s) %s values ", t.Name, t.columns(), clause)
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(" + placeholders(i*len(t.Columns), len(t.Columns)) + ")")
	}
	return b.String()
}

// placeholders are n of them, behind the first given ones.
func placeholders(given, n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = "$" + strconv.Itoa(given+i+1)
	}
	return strings.Join(list, ", ")
}

// row is one row's values: int64, string, []byte or nil, whatever the database.
type row []any

// scan reads a row, and its size in bytes. It refuses a value that is not of its column's type, which a driver would
// otherwise turn into something else on the way.
func (t shape) scan(rows *sql.Rows) (r row, size int, err error) {
	r = make(row, len(t.Columns))
	into := make([]any, len(r))
	for i := range r {
		into[i] = &r[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, 0, err
	}
	for i, c := range t.Columns {
		ok := false
		switch v := r[i].(type) {
		case nil:
			ok = true
		case int64:
			ok = c.Type == "BIGINT" || c.Type == "SEQ"
		case string:
			ok = c.Type == "TEXT"
			size += len(v)
		case []byte:
			ok = c.Type == "BYTES"
			size += len(v)
			if v == nil { // the driver's form of no bytes, which is not the same as null
				r[i] = []byte{}
			}
		}
		if !ok {
			return nil, 0, fmt.Errorf("the row %s has a value of another type in column %s", t.key(r), c.Name)
		}
	}
	return r, size, nil
}

// key is a row's primary key for people.
func (t shape) key(r row) string {
	parts := make([]string, len(t.Key))
	for i, v := range t.keyValues(r) {
		if blob, ok := v.([]byte); ok {
			v = fmt.Sprintf("%x", blob)
		}
		if text, ok := v.(string); ok {
			v = strconv.Quote(text)
		}
		parts[i] = fmt.Sprintf("%s %v", t.Key[i], v)
	}
	return strings.Join(parts, ", ")
}

func (t shape) keyValues(r row) []any {
	values := make([]any, len(t.Key))
	for i, name := range t.Key {
		values[i] = r[slices.IndexFunc(t.Columns, func(c store.Column) bool { return c.Name == name })]
	}
	return values
}

// order compares two rows by their keys, as the databases do: numbers by value, texts and bytes by their bytes.
func (t shape) order(a, b row) int {
	mine, others := t.keyValues(a), t.keyValues(b)
	for i := range mine {
		if c := compareValues(mine[i], others[i]); c != 0 {
			return c
		}
	}
	return 0
}

func compareValues(a, b any) int {
	switch a := a.(type) {
	case int64:
		b, _ := b.(int64)
		return cmp.Compare(a, b)
	case string:
		b, _ := b.(string)
		return cmp.Compare(a, b)
	case []byte:
		b, _ := b.([]byte)
		return bytes.Compare(a, b)
	}
	return 0 // a key is never null
}

// differing are the columns in which two rows differ.
func (t shape) differing(a, b row) (names []string) {
	for i, c := range t.Columns {
		if (a[i] == nil) != (b[i] == nil) || compareValues(a[i], b[i]) != 0 {
			names = append(names, c.Name)
		}
	}
	return names
}
