package kvcompat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"leasehold/internal/errs"
	"leasehold/store"
)

// form says what a row of kv_entries is.
type form string

const (
	absent    form = ""
	folder    form = "folder"
	plain     form = "plain"     // the value itself: version 1 and cubbyhole
	versioned form = "versioned" // the value is a key's metadata: version 2
)

const (
	selectEntry = `SELECT form, value FROM kv_entries WHERE id = $1`
	selectNames = `SELECT id, name FROM kv_entries WHERE dir = $1`
	selectChild = `SELECT id FROM kv_entries WHERE dir = $1 LIMIT 1`
	updateEntry = `UPDATE kv_entries SET form = $2, value = $3 WHERE id = $1`
	insertEntry = `INSERT INTO kv_entries (id, space, dir, form, name, value) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO NOTHING`
	deleteEntry = `DELETE FROM kv_entries WHERE id = $1`
)

// maxPath bounds a path in bytes: each of its folders is a row.
const maxPath = 4096

// tree is the names of one space, in one transaction. Folders end in "/", the topmost is "".
type tree struct {
	*store.Tx
	space  string
	writes bool // the transaction may write
}

func nameCell(id string) store.Cell { return store.Cell{Table: "kv_entries", Column: "name", Key: id} }

func valueCell(id string) store.Cell {
	return store.Cell{Table: "kv_entries", Column: "value", Key: id}
}

// id is the blind key of a path in this space.
func (t tree) id(path string) (string, error) {
	return t.Index("kv_entries", []byte(t.space+"\x00"+path))
}

// split cuts the last name off a path: "a/b/c" is "a/b/" and "c", "a/b/" is "a/" and "b/".
func split(path string) (parent, name string) {
	cut := strings.LastIndexByte(strings.TrimSuffix(path, "/"), '/') + 1
	return path[:cut], path[cut:]
}

// isLeaf reports whether a path can be that of a value.
func isLeaf(path string) bool { return path != "" && !strings.HasSuffix(path, "/") }

// get reads what is stored at a path. A folder is absent: it has no value.
func (t tree) get(path string) (f form, value []byte, err error) {
	if !isLeaf(path) {
		return absent, nil, nil
	}
	id, err := t.id(path)
	if err != nil {
		return absent, nil, err
	}
	return t.getAt(id)
}

// getAt is get by the path's blind key.
func (t tree) getAt(id string) (f form, value []byte, err error) {
	var sealed []byte
	switch err := t.QueryRow(selectEntry, id).Scan(&f, &sealed); {
	case errors.Is(err, store.ErrNoRow):
		return absent, nil, nil
	case err != nil:
		return absent, nil, err
	}
	value, err = t.Open(valueCell(id), sealed)
	return f, value, err
}

// put stores a value at a path, in place of the one that is there.
//
// Errors: Invalid (not a path for values).
func (t tree) put(path string, f form, value []byte) error {
	switch {
	case !isLeaf(path):
		return errs.New(errs.Invalid, "cannot write to a path ending in '/'")
	case len(path) > maxPath:
		return errs.New(errs.Invalid, "the path is longer than %d bytes", maxPath)
	}
	id, err := t.id(path)
	if err != nil {
		return err
	}
	sealed, err := t.Seal(valueCell(id), value)
	if err != nil {
		return err
	}
	n, err := t.Exec(updateEntry, id, string(f), sealed)
	if err != nil || n > 0 {
		return err
	}
	return t.link(path, f, sealed)
}

// link adds the row of a path, and those of the folders above that are not there yet.
func (t tree) link(path string, f form, sealed []byte) error {
	id, err := t.id(path)
	for err == nil {
		parent, name := split(path)
		var dir string
		if dir, err = t.id(parent); err != nil {
			break
		}
		var sealedName []byte
		if sealedName, err = t.Seal(nameCell(id), []byte(name)); err != nil {
			break
		}
		var n int64
		n, err = t.Exec(insertEntry, id, t.space, dir, string(f), sealedName, sealed)
		if err != nil || n == 0 || parent == "" {
			break
		}
		path, id, f, sealed = parent, dir, folder, nil
	}
	return err
}

// drop removes the value at a path with all its versions, and the folders above that are empty then.
func (t tree) drop(path string) error {
	if !isLeaf(path) {
		return nil
	}
	id, err := t.id(path)
	for err == nil {
		var n int64
		if n, err = t.Exec(deleteEntry, id); err != nil || n == 0 {
			break
		}
		if path, _ = split(path); path == "" {
			break
		}
		if id, err = t.id(path); err != nil {
			break
		}
		var child string
		if err = t.QueryRow(selectChild, id).Scan(&child); !errors.Is(err, store.ErrNoRow) {
			break
		}
		err = nil
	}
	return err
}

// list is the sorted names in a folder; those of folders end in "/".
func (t tree) list(dir string) ([]string, error) {
	id, err := t.id(dir)
	if err != nil {
		return nil, err
	}
	type sealedName struct {
		id   string
		name []byte
	}
	var found []sealedName
	rows, err := t.Query(selectNames, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s sealedName
		if err := rows.Scan(&s.id, &s.name); err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(found))
	for _, s := range found {
		name, err := t.Open(nameCell(s.id), s.name)
		if err != nil {
			return nil, fmt.Errorf("open a name: %w", err)
		}
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names, nil
}

// scan is the paths of all values below a folder, relative to it: a folder's own come before deeper ones.
func (t tree) scan(dir string) ([]string, error) {
	names, err := t.list(dir)
	if err != nil {
		return nil, err
	}
	var leaves, deeper []string
	for _, name := range names {
		if isLeaf(name) {
			leaves = append(leaves, name)
			continue
		}
		below, err := t.scan(dir + name)
		if err != nil {
			return nil, err
		}
		for _, path := range below {
			deeper = append(deeper, name+path)
		}
	}
	return append(leaves, deeper...), nil
}

// decode reads a stored JSON value; numbers keep their text.
func decode(stored []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(stored))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return errors.New("a stored value is not JSON") // the decoder's error could quote it
	}
	return nil
}

// encode makes the stored form of a value.
func encode(v any) ([]byte, error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return nil, errors.New("encode a value") // the encoder's error could quote it
	}
	return encoded, nil
}
