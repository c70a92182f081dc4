package tdstest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
)

// state is what a server keeps. What was committed is never written to: a transaction changes a copy.
type state struct {
	principals map[string]*principal // logins and server roles, by folded name
	databases  map[string]*database  // by folded name
	grants     []grant               // of the server
	nextID     int
}

// database is a database.
type database struct {
	name       string
	id         int
	contained  bool
	owner      []byte
	principals map[string]*principal // users and roles, by folded name
	schemas    map[string]*owned
	objects    map[string]*owned // tables, by schema.name, folded
	grants     []grant
}

// principal is a login, a user or a role.
type principal struct {
	name      string
	id        int
	role      bool
	fixed     bool // a role that comes with the server or database, or a user such
	sid       []byte
	owner     int // of a role
	members   map[int]bool
	disabled  bool
	defaultDB string
	salt      []byte // with hash, the password; nil: it has none
	hash      [32]byte
	property  map[string]string // extended properties
}

// owned is a schema or a table.
type owned struct {
	schema, name string
	id           int
	owner        int // 0, of a table: the schema's
}

// grant is a permission.
type grant struct {
	grantee, grantor int
	permission       string // upper case
	class, target    string // DATABASE, SCHEMA, OBJECT, USER, ROLE, LOGIN, SERVER ROLE, SERVER; the target's folded name
	kind             byte   // G, W with grant option, D deny
}

// fold makes names comparable: case and blanks at the end count for nothing.
func fold(name string) string { return strings.ToLower(strings.TrimRight(name, " ")) }

func (p *principal) setPassword(password string) {
	p.salt = random(8)
	p.hash = sha256.Sum256(append(bytes.Clone(p.salt), password...))
}

func (p *principal) hasPassword(password string) bool {
	return p.salt != nil && p.hash == sha256.Sum256(append(bytes.Clone(p.salt), password...))
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func clonePrincipals(from map[string]*principal) map[string]*principal {
	to := make(map[string]*principal, len(from))
	for name, p := range from {
		one := *p
		one.members, one.property = maps.Clone(p.members), maps.Clone(p.property)
		to[name] = &one
	}
	return to
}

func (s *state) clone() *state {
	c := &state{principals: clonePrincipals(s.principals), databases: map[string]*database{}, grants: slices.Clone(s.grants), nextID: s.nextID}
	for name, d := range s.databases {
		one := *d
		one.principals, one.grants = clonePrincipals(d.principals), slices.Clone(d.grants)
		one.schemas, one.objects = maps.Clone(d.schemas), maps.Clone(d.objects)
		for _, all := range []map[string]*owned{one.schemas, one.objects} {
			for key, o := range all {
				copied := *o
				all[key] = &copied
			}
		}
		c.databases[name] = &one
	}
	return c
}

func (s *state) id() int {
	s.nextID++
	return s.nextID
}

// byID finds a principal.
func byID(all map[string]*principal, id int) *principal {
	for _, p := range all {
		if p.id == id {
			return p
		}
	}
	return nil
}

// bySID finds a login or user.
func bySID(all map[string]*principal, sid []byte) *principal {
	for _, p := range all {
		if !p.role && sid != nil && bytes.Equal(p.sid, sid) {
			return p
		}
	}
	return nil
}

// circle is a principal and the roles that it is in, whichever way, public among them.
func circle(all map[string]*principal, id int) map[int]bool {
	in := map[int]bool{id: true}
	if public := all["public"]; public != nil {
		in[public.id] = true
	}
	for grown := true; grown; {
		grown = false
		for _, role := range all {
			if role.role && !in[role.id] && slices.ContainsFunc(slices.Collect(maps.Keys(role.members)), func(m int) bool { return in[m] }) {
				in[role.id], grown = true, true
			}
		}
	}
	return in
}

// dropMember takes a principal out of all roles, and its permissions with it.
func dropMember(all map[string]*principal, grants []grant, id int) []grant {
	for _, role := range all {
		delete(role.members, id)
	}
	return slices.DeleteFunc(grants, func(g grant) bool { return g.grantee == id })
}

var serverRoles = []string{"public", "sysadmin", "securityadmin", "processadmin", "serveradmin", "setupadmin", "bulkadmin", "diskadmin", "dbcreator"}

var databaseRoles = []string{"public", "db_owner", "db_accessadmin", "db_securityadmin", "db_ddladmin", "db_backupoperator", "db_datareader",
	"db_datawriter", "db_denydatareader", "db_denydatawriter"}

// newState is a fresh server with the login sa.
func newState(password string) *state {
	s := &state{principals: map[string]*principal{}, databases: map[string]*database{}, nextID: 256}
	sa := &principal{name: "sa", id: 1, sid: []byte{1}, defaultDB: "master"}
	sa.setPassword(password)
	s.principals["sa"] = sa
	for i, name := range serverRoles {
		s.principals[name] = &principal{name: name, id: 2 + i, role: true, fixed: true, owner: 1, members: map[int]bool{}}
	}
	s.principals["sysadmin"].members[1] = true
	for i, name := range []string{"master", "tempdb", "model", "msdb"} {
		s.databases[name] = s.newDatabase(name, i+1, sa.sid)
	}
	return s
}

func (s *state) newDatabase(name string, id int, owner []byte) *database {
	d := &database{name: name, id: id, owner: owner, principals: map[string]*principal{}, schemas: map[string]*owned{}, objects: map[string]*owned{}}
	for i, user := range []string{"dbo", "guest", "INFORMATION_SCHEMA", "sys"} {
		d.principals[fold(user)] = &principal{name: user, id: i + 1, fixed: true}
		d.schemas[fold(user)] = &owned{name: user, id: i + 1, owner: i + 1}
	}
	d.principals["dbo"].sid = owner
	for i, role := range databaseRoles {
		d.principals[role] = &principal{name: role, id: 16384 + i, role: true, fixed: true, owner: 1, members: map[int]bool{}}
	}
	d.principals["public"].id = 0
	return d
}
