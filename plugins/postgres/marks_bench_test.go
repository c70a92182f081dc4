package postgres_test

import (
	"fmt"
	"testing"

	"leasehold/plugins"
)

// What does a mark cost? Users without rights, which leaves PostgreSQL least to do, are made and dropped with and without
// one, fsync on, both in turns.
func BenchmarkMark(b *testing.B) {
	for _, clients := range []int{1, 8} {
		s, db, _ := benchDatabase(b, clients)
		users := make([]plugins.User, 0)
		create := func(i int) error { return db.CreateUser(b.Context(), users[i]) }
		drop := func(i int) error { return db.DropUser(b.Context(), users[i].Name, nil) }
		refill := func(b *testing.B, mark string) {
			users = users[:0]
			for range b.N + clients {
				u := newUser(createRole)
				u.Mark = mark
				users = append(users, u)
			}
			spread(b, clients, clients, func(i int) error { return create(b.N + i) })
			spread(b, clients, clients, func(i int) error { return drop(b.N + i) })
			vacuum(b, s)
		}
		for _, mark := range []string{"", testMark} {
			b.Run(fmt.Sprintf("create/clients=%d/marked=%t", clients, mark != ""), func(b *testing.B) {
				refill(b, mark)
				measure(b, s, func() { spread(b, clients, b.N, create) })
				spread(b, clients, b.N, drop)
			})
			b.Run(fmt.Sprintf("drop/clients=%d/marked=%t", clients, mark != ""), func(b *testing.B) {
				refill(b, mark)
				spread(b, clients, b.N, create)
				measure(b, s, func() { spread(b, clients, b.N, drop) })
			})
		}
	}
}
