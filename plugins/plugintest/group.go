package plugintest

import (
	"leasehold/plugins"
)

// dropGroup is about users that are dropped together: some of them only go by themselves, and none is harmed by another.
func dropGroup(s *suite) {
	dropper, ok := s.db.(plugins.GroupDropper)
	if !ok {
		return
	}
	var names []string
	for range 12 {
		names = append(names, s.create().Name)
	}
	missing := s.user().Name
	names = append(names, missing, names[0]) // one that is not there, and one twice

	busy := s.create()
	session, err := s.Login(s.ctx, busy.Name, busy.Password.Reveal())
	check(s, "log in", err)
	owner := s.create()
	kept := s.Own(s, owner.Name)
	all := append(names, busy.Name, owner.Name)

	bystander := s.create()
	for i, err := range dropper.DropUsers(s.ctx, all) {
		if err == nil {
			s.wantExists(all[i], false)
			continue
		}
		if all[i] != busy.Name && all[i] != owner.Name {
			s.Errorf("an ordinary user was not dropped with the others: %v", err)
		}
		s.drop(all[i])
	}
	if session.Use(s.ctx) == nil {
		s.Error("a session outlived its user")
	}
	_ = session.Close()
	still, err := kept(s.ctx)
	check(s, "look for what the user owned", err)
	if !still {
		s.Error("what the user owned is gone")
	}
	s.wantLogin(bystander.Name, bystander.Password, true)

	for _, err := range dropper.DropUsers(s.ctx, all) { // again
		check(s, "drop users that are gone", err)
	}
	s.drop(bystander.Name)
}
