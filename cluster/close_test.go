package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// close is the closing check. All nodes are up, and nobody works at them. It waits for the nodes to work off what the
// faults left; nothing has to expire for that.
func (r *rig) close() {
	r.t.Helper()
	for _, text := range r.book.wrong {
		r.t.Error(text)
	}
	r.awaitNoProblem("after the faults", r.unsettled)

	// What clients asked for without an answer, and leases whose answer was lost, may stand or not. Those that stand are
	// ended now: then exactly what is held is to be there.
	for _, t := range r.book.allTokens(asked) {
		if _, err := r.nodes[0].Root(http.MethodPost, "auth/token/revoke", map[string]any{"token": t.text}); err != nil && status(err) != http.StatusForbidden {
			r.t.Errorf("revoke a token: %v", err)
		}
		r.book.end(&t.own)
	}
	mine := map[string]bool{}
	for _, c := range r.book.all(held) {
		mine[c.lease] = true
	}
	for _, id := range r.activeLeases() {
		if !mine[id] {
			if _, err := r.nodes[0].Root(http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": id, "sync": true}); err != nil {
				r.t.Errorf("revoke %s: %v", id, err)
			}
		}
	}
	for _, c := range r.book.all(asked) {
		r.book.end(&c.own)
	}
	r.awaitNoProblem("at the end", r.unequal)
	r.everyNodeAgrees()
	r.book.forget()
	for text, times := range r.book.surprises {
		r.t.Logf("%d times: %s", times, text)
	}
	clear(r.book.surprises)
}

// awaitNoProblem polls until there is none, and reports those that stay.
func (r *rig) awaitNoProblem(when string, look func() []string) {
	r.t.Helper()
	var problems []string
	for deadline := time.Now().Add(patience); ; {
		if problems = look(); len(problems) == 0 {
			return
		}
		if time.Now().After(deadline) {
			break
		}
		<-time.After(50 * time.Millisecond)
	}
	for _, problem := range problems[:min(len(problems), 20)] {
		r.t.Errorf("%s: %s", when, problem)
	}
	r.explain()
	r.t.FailNow()
}

// account is a user at a target.
type account struct {
	target int
	until  time.Time
}

// accounts are the users that the broker made and that exist.
func (r *rig) accounts() map[string]account {
	r.t.Helper()
	all := map[string]account{}
	for i, target := range r.targets {
		rows, _ := target.pool.Query(context.Background(), `SELECT rolname, rolvaliduntil FROM pg_roles WHERE rolname LIKE 'v-%'`)
		var name string
		var until time.Time
		_, err := pgx.ForEachRow(rows, []any{&name, &until}, func() error {
			all[name] = account{i, until}
			return nil
		})
		r.must(err)
	}
	return all
}

// activeLeases are the leases that the store calls active.
func (r *rig) activeLeases() []string {
	r.t.Helper()
	return query(r, r.look, `SELECT id FROM leases WHERE state = 'active'`)
}

// unsettled is what the nodes have still to do, or will never do.
func (r *rig) unsettled() (problems []string) {
	r.t.Helper()
	if n := count(r, r.look, `SELECT count(*) FROM leases WHERE state = 'revoking' AND drops = 0`); n > 0 {
		problems = append(problems, fmt.Sprintf("%d revocations are not done", n))
	}
	active, users := r.activeLeases(), r.accounts()
	if len(active) != len(users) {
		problems = append(problems, fmt.Sprintf("%d users, %d live leases", len(users), len(active)))
	}
	for _, c := range r.book.all(held) {
		if !slices.Contains(active, c.lease) {
			problems = append(problems, "an acknowledged lease is lost: "+c.lease)
		}
		if _, there := users[c.user]; !there {
			problems = append(problems, "an acknowledged user is lost: "+c.user)
		}
	}
	for _, c := range r.book.all(gone) {
		if _, there := users[c.user]; there {
			problems = append(problems, "a revoked user is still there: "+c.user)
		}
	}
	return problems
}

// unequal is how users, live leases, and what is held differ.
func (r *rig) unequal() (problems []string) {
	r.t.Helper()
	problems = r.unsettled()
	wantLeases, wantUsers := map[string]bool{}, map[string]bool{}
	for _, c := range r.book.all(held) {
		wantLeases[c.lease], wantUsers[c.user] = true, true
	}
	for name := range r.accounts() {
		if !wantUsers[name] {
			problems = append(problems, "a user without a lease: "+name)
		}
	}
	for _, id := range r.activeLeases() {
		if !wantLeases[id] {
			problems = append(problems, "a lease that nobody holds: "+id)
		}
	}
	return problems
}

// everyNodeAgrees asks each node what it makes of leases and tokens, and tries logins at the targets.
func (r *rig) everyNodeAgrees() {
	r.t.Helper()
	leases := r.book.all(held)
	var want []string
	for _, c := range leases {
		want = append(want, c.lease)
	}
	slices.Sort(want)
	for i, n := range r.nodes {
		var got []string
		for _, role := range r.roles {
			got = append(got, r.list(n, "database/creds/"+role+"/")...)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			r.t.Errorf("node %d lists %d leases, %d are held", i, len(got), len(want))
		}
	}
	users := r.accounts()
	for i, c := range leases {
		n := r.nodes[i%len(r.nodes)]
		got, err := n.Root(http.MethodPut, "sys/leases/lookup", map[string]any{"lease_id": c.lease})
		if err != nil {
			r.t.Errorf("look up an acknowledged lease: %v", err)
			continue
		}
		data, _ := got["data"].(map[string]any)
		text, _ := data["expire_time"].(string)
		ends, err := time.Parse(time.RFC3339, text)
		if err != nil {
			r.t.Errorf("a lease's end: %v", err)
		}
		if ends.Add(time.Second).Before(c.ends) {
			r.t.Errorf("a lease ends %v before what was acknowledged", c.ends.Sub(ends))
		}
		if until := users[c.user].until; until.Add(time.Second).Before(ends) {
			r.t.Errorf("the database refuses a user %v before the lease ends", ends.Sub(until))
		}
		if i < 10 {
			if err := r.login(c); err != nil {
				r.t.Errorf("acknowledged credentials are refused: %v", err)
			}
		}
	}
	for _, n := range r.nodes {
		for _, t := range r.book.allTokens(held) {
			if _, err := n.Call(http.MethodGet, "auth/token/lookup-self", t.text, nil); err != nil {
				r.t.Errorf("an acknowledged token is lost: %v", err)
			}
		}
		dead := r.book.allTokens(gone)
		for _, t := range dead[:min(len(dead), 20)] {
			if _, err := n.Call(http.MethodGet, "auth/token/lookup-self", t.text, nil); status(err) != http.StatusForbidden {
				r.t.Errorf("a revoked token is not refused: %v", err)
			}
		}
	}
}

// list are the leases below a prefix that a node knows.
func (r *rig) list(n *node, prefix string) (ids []string) {
	r.t.Helper()
	got, err := n.Root("LIST", "sys/leases/lookup/"+prefix, nil)
	if status(err) == http.StatusNotFound {
		return nil
	}
	r.must(err)
	data, _ := got["data"].(map[string]any)
	keys, _ := data["keys"].([]any)
	for _, key := range keys {
		ids = append(ids, fmt.Sprint(prefix, key))
	}
	return ids
}

// login tries credentials at the database itself.
func (r *rig) login(c *creds) error {
	config, err := pgx.ParseConfig(r.targets[c.target].URL())
	r.must(err)
	config.User, config.Password = c.user, c.password
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		return err
	}
	return conn.Close(context.Background())
}

// finish stops the nodes and looks for the secrets of the run in every file of the nodes and of the store, and in the
// targets' logs.
func (r *rig) finish() {
	r.t.Helper()
	for _, n := range r.nodes {
		n.Stop()
	}
	folders := slices.Clone(r.folders)
	for _, n := range r.nodes {
		folders = append(folders, n.Dir)
	}
	var paths []string
	for _, folder := range folders {
		r.must(filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() && entry.Name() != "config.hcl" { // it has the store's URL in it
				paths = append(paths, path)
			}
			return nil // a file of the running store may vanish
		}))
	}
	for _, target := range r.targets {
		paths = append(paths, target.LogFile)
	}
	search := newSearch(slices.Collect(maps.Keys(r.book.secrets)))
	bytesRead := 0
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		bytesRead += len(data)
		if search.finds(data) {
			r.t.Errorf("a secret is found in %s", path)
		}
	}
	log, err := os.ReadFile(r.targets[0].LogFile)
	r.must(err)
	if len(r.book.secrets) < 5 || bytesRead < 20<<20 || !strings.Contains(string(log), "CREATE ROLE") {
		r.t.Errorf("%d bytes searched for %d secrets: that proves nothing", bytesRead, len(r.book.secrets))
	}
}

// search looks for many texts at once, by their first bytes.
type search struct {
	begins [1 << 16]bool
	texts  map[[8]byte][][]byte
}

func newSearch(texts []string) *search {
	s := &search{texts: map[[8]byte][][]byte{}}
	for _, text := range texts {
		first := [8]byte([]byte(text))
		s.begins[uint16(first[0])|uint16(first[1])<<8] = true
		s.texts[first] = append(s.texts[first], []byte(text))
	}
	return s
}

func (s *search) finds(data []byte) bool {
	for i := 0; i+8 <= len(data); i++ {
		if !s.begins[uint16(data[i])|uint16(data[i+1])<<8] {
			continue
		}
		for _, text := range s.texts[[8]byte(data[i:i+8])] {
			if bytes.HasPrefix(data[i:], text) {
				return true
			}
		}
	}
	return false
}
