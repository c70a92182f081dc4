package config

import (
	"fmt"

	"leasehold/internal/secret"
)

// Move is the configuration of `operator migrate`: from where to where a store is moved.
type Move struct {
	Source, Destination Storage

	// Warnings are what the file says that has no meaning here, one line each.
	Warnings []string
}

// LoadMove reads the file, then the environment, which takes the place of what one of the two blocks says; it is ignored,
// with a warning, where both could be meant. env is like os.Getenv.
//
// Source: the public documentation of `operator migrate`, blocks storage_source and storage_destination.
func LoadMove(file string, env func(string) string) (*Move, error) {
	src, err := readFile(file)
	if err != nil {
		return nil, err
	}
	return readMove(file, src, env)
}

func readMove(file string, src []byte, env func(string) string) (*Move, error) {
	l, m := &loader{config: Default()}, &Move{}
	side := func(into *Storage) field {
		return func(n node) error {
			if err := l.storage(n); err != nil {
				return err
			}
			*into = l.config.Storage
			return nil
		}
	}
	known := fields{"storage_source": side(&m.Source), "storage_destination": side(&m.Destination)}
	if err := l.readKeys(file, src, known, []string{"cluster_addr"}); err != nil {
		return nil, err
	}
	m.Warnings = l.config.Warnings
	m.applyEnvironment(env)
	return m, m.validate(file)
}

func (m *Move) applyEnvironment(env func(string) string) {
	for _, v := range []struct {
		name, kind string
		set        func(s *Storage, value string)
	}{
		{"RAFT_PATH", "raft", func(s *Storage, value string) { s.Path = value }},
		{"PG_CONNECTION_URL", "postgresql", func(s *Storage, value string) { s.URL = secret.NewText(value) }},
	} {
		full, value := lookup(env, v.name)
		switch source, destination := m.Source.Type == v.kind, m.Destination.Type == v.kind; {
		case value == "":
		case source && destination:
			m.Warnings = append(m.Warnings, fmt.Sprintf("environment variable %s is ignored: both sides are %s", full, v.kind))
		case source:
			v.set(&m.Source, value)
		case destination:
			v.set(&m.Destination, value)
		}
	}
}

func (m *Move) validate(file string) error {
	for _, side := range []struct {
		key     string
		storage Storage
	}{{"storage_source", m.Source}, {"storage_destination", m.Destination}} {
		refuse := func(format string, args ...any) error {
			return &Error{File: file, Text: side.key + ": " + fmt.Sprintf(format, args...)}
		}
		if side.storage.Type == "" {
			return refuse(`the block is needed, such as: %s "file" { path = "/srv/leasehold" }`, side.key)
		}
		if side.storage.Type == "inmem" {
			return refuse(`storage "inmem" keeps nothing`)
		}
		if err := side.storage.validate(); err != nil {
			return refuse("%s", err)
		}
	}
	return nil
}
