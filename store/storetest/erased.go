package storetest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"leasehold/store"
)

// piece is as much of a value as is looked for: less may be there by chance.
const piece = 16

// residues is how many of the values an SQLite store's files hold a piece of.
func residues(tb testing.TB, path string, values [][]byte) int {
	tb.Helper()
	of := map[[piece]byte]int{}
	for i, v := range values {
		for ; len(v) >= piece; v = v[piece:] {
			of[[piece]byte(v)] = i
		}
	}
	names, err := filepath.Glob(path + "*")
	if err != nil || len(names) == 0 {
		tb.Fatalf("no files %s: %v", path, err)
	}
	found := map[int]bool{}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			tb.Fatal(err)
		}
		for at := 0; at+piece <= len(content); at++ {
			if i, ok := of[[piece]byte(content[at:])]; ok {
				found[i] = true
			}
		}
	}
	return len(found)
}

// AwaitErased fails the test when the files of an open SQLite store do not lose every piece of the values.
func AwaitErased(tb testing.TB, path string, values [][]byte) {
	tb.Helper()
	await(tb, path, values, 0)
}

// AwaitFound fails the test when the files of an open SQLite store do not come to hold a piece of each value. They may lack some for a
// moment, while values move from one to the other.
func AwaitFound(tb testing.TB, path string, values [][]byte) {
	tb.Helper()
	await(tb, path, values, len(values))
}

func await(tb testing.TB, path string, values [][]byte, want int) {
	tb.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		found := residues(tb, path, values)
		if found == want {
			return
		}
		if time.Now().After(deadline) {
			tb.Errorf("the files hold pieces of %d of %d values, want %d", found, len(values), want)
			return
		}
		<-time.After(5 * time.Millisecond) // nobody tells
	}
}

// Cells are the sealed values that stand in the tables of the migrations, as they lie in the store's file.
func Cells(tb testing.TB, st *store.Store, migrations []store.Migration) (all [][]byte) {
	tb.Helper()
	err := st.View(context.Background(), func(tx *store.Tx) error {
		for _, m := range migrations {
			for _, c := range m.Sealed {
				rows, err := tx.Query(`select ` + c.Column + ` from ` + c.Table + ` where ` + c.Column + ` is not null`)
				if err != nil {
					return err
				}
				defer func() { _ = rows.Close() }()
				for rows.Next() {
					var sealed []byte
					if err := rows.Scan(&sealed); err != nil {
						return err
					}
					all = append(all, sealed)
				}
				if err := rows.Err(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// Missing are the values of before that are none of after.
func Missing(before, after [][]byte) (gone [][]byte) {
	kept := map[string]bool{}
	for _, v := range after {
		kept[string(v)] = true
	}
	for _, v := range before {
		if !kept[string(v)] {
			gone = append(gone, v)
		}
	}
	return gone
}
