package mysql

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"leasehold/internal/secret"
	"leasehold/plugins"
	"leasehold/plugins/sqltext"
)

// expirationFormat is what {{expiration}} looks like.
const expirationFormat = "2006-01-02 15:04:05-0700"

var creation = regexp.MustCompile(`(?i)\bcreate\s+(?:or\s+replace\s+)?user\b`)

// CreateUser makes the user by u.Statements and marks it. When a statement fails, or the caller gives up, everything is taken back
// that can be: the user, and what was not committed. A user that is there already is refused and left alone.
//
// When the statements create a user, but none of u.Name, the answer is an error: nobody would drop it.
//
// Round trips: two, one for each statement, two for the mark.
func (d *Database) CreateUser(ctx context.Context, u plugins.User) error {
	const op = "create user"
	if err := d.checkName(u.Name); err != nil {
		return d.fail(op, plugins.Permanent, err)
	}
	s, err := d.begin(ctx, op, u.Name)
	if err != nil {
		return err
	}
	defer s.close()
	if len(s.accounts) > 0 {
		return d.fail(op, plugins.Refused, errors.New("the database has a user of that name already"))
	}
	script, err := s.render(u.Name, u.Password, u.Expiration, u.Statements)
	if err != nil {
		return d.fail(op, plugins.Permanent, err, script.masks...)
	}
	if err := s.bound(ctx, script.plain()); err != nil {
		return d.fail(op, lookClass(err), err, script.masks...)
	}
	made, class, err := s.fulfil(ctx, u, script)
	if err == nil {
		return nil
	}
	if !made { // the name is somebody else's since we looked
		return d.fail(op, class, err, script.masks...)
	}
	// Crash: the user may exist; the caller recorded its name before.
	if undone := s.undo(ctx, u.Name); undone != nil {
		return d.fail(op, plugins.Unknown, fmt.Errorf("%w; and it could not be undone: %w", err, undone), script.masks...)
	}
	return d.fail(op, class, err, script.masks...)
}

// fulfil runs the statements and marks the user. Made says that something may be there now; the class is that of the error, once
// what was made is undone.
func (s *session) fulfil(ctx context.Context, u plugins.User, script script) (made bool, class plugins.Class, err error) {
	// Crash: the user may exist; the caller recorded its name before. The server ends a statement that is under way in time.
	if i, err := s.run(ctx, script); err != nil {
		return !(i == 0 && numberOf(err) == errAccountFailed), madeClass(err), err
	}
	if err := s.look(ctx, u.Name); err != nil {
		return true, plugins.Refused, err
	}
	if len(s.accounts) == 0 && script.creates {
		return true, plugins.Permanent, errors.New("the statements make no user of the user's name")
	}
	if u.Mark != "" && len(s.accounts) > 0 {
		// Crash: the user is not marked; the caller recorded its name before.
		if err := s.mark(ctx, u.Mark); err != nil {
			return true, plugins.Refused, err
		}
	}
	if err := s.commit(ctx); err != nil {
		return true, plugins.Refused, err
	}
	if ctx.Err() != nil {
		return true, plugins.Refused, context.Cause(ctx)
	}
	return true, plugins.Unknown, nil
}

// madeClass is the class of an error of a creation that is undone.
func madeClass(err error) plugins.Class {
	if classOf(err) == plugins.Permanent {
		return plugins.Permanent
	}
	return plugins.Refused
}

// undo ends the session and removes the user. It has its own time: a caller who has given up must not leave a user behind.
func (s *session) undo(ctx context.Context, name string) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return s.d.DropUser(ctx, name, nil)
}

// AlterUser sets the password by c.Statements or else by ALTER USER. That changes the account at host %; where there is none, all
// that the user has; of the connection's own user, the account that it logs in to. The pool keeps its open connections then, and needs new
// settings for others. The servers have no expiry of users: without statements it is left alone.
//
// An error of a later one of several statements is Unknown: the earlier ones are there to stay.
func (d *Database) AlterUser(ctx context.Context, name string, c plugins.Change) error {
	const op = "alter user"
	if err := d.checkName(name); err != nil {
		return d.fail(op, plugins.Permanent, err)
	}
	if len(c.Statements) == 0 && c.Password.Empty() {
		if err := ctx.Err(); err != nil {
			return d.fail(op, plugins.Unreachable, err)
		}
		return nil
	}
	s, err := d.begin(ctx, op, name)
	if err != nil {
		return err
	}
	defer s.close()
	script, err := s.alteration(name, c)
	if err != nil {
		return d.fail(op, plugins.Permanent, err, script.masks...)
	}
	if err := s.bound(ctx, script.plain()); err != nil {
		return d.fail(op, lookClass(err), err, script.masks...)
	}
	// Crash: the old or the new password is in force; the caller recorded both. The server ends the statement in time.
	i, err := s.run(ctx, script)
	if err == nil {
		i = len(script.statements)
		err = s.commit(ctx)
	}
	if err == nil {
		return nil
	}
	class := classOf(err)
	if i > 0 {
		class = plugins.Unknown
	}
	if stuck := s.settle(ctx); stuck != nil {
		err = fmt.Errorf("%w; and its session could not be ended: %w", err, stuck)
	}
	return d.fail(op, class, err, script.masks...)
}

// alteration is what AlterUser runs. Names are no templates there: whatever braces they have are their own.
//
// The account of CURRENT_USER is named: MariaDB 10.11 says yes to ALTER USER CURRENT_USER() IDENTIFIED BY, and changes nothing.
func (s *session) alteration(name string, c plugins.Change) (script, error) {
	if len(c.Statements) > 0 {
		return s.render(name, c.Password, c.Expiration, c.Statements)
	}
	if _, err := quote(sqltext.Token{Kind: text, Text: "''"}, c.Password.Reveal(), s.mode); err != nil {
		return script{}, fmt.Errorf("the password %w", err)
	}
	accounts, usual := []account{{name, "%"}}, account{name, "%"}
	switch {
	case name == s.d.user && s.self.name == name:
		accounts = []account{s.self}
	case len(s.accounts) > 0 && !slices.Contains(s.accounts, usual):
		accounts = s.accounts
	}
	hash := s.hash(c.Password)
	var sent, clear []string
	for _, a := range accounts { // IDENTIFIED BY is about the one account before it
		clear = append(clear, a.String()+" IDENTIFIED BY "+quoteText(c.Password.Reveal(), s.mode))
		sent = append(sent, a.String()+" IDENTIFIED BY PASSWORD '"+hash+"'")
	}
	one := rendered{clear: "ALTER USER " + strings.Join(clear, ", ")}
	if one.sql = one.clear; hash != "" {
		one.sql = "ALTER USER " + strings.Join(sent, ", ")
	}
	return script{statements: []rendered{one}, masks: plugins.MaskPassword(append(forms(c.Password.Reveal()), hash)...)}, nil
}

// script is the statements of a call, with values.
type script struct {
	statements []rendered
	creates    bool // a user, by a statement of its own
	masks      []plugins.Mask
}

// rendered is a statement in two forms: as it is sent, and with the password in clear where the first has a hash.
type rendered struct{ sql, clear string }

func (s script) plain() (texts []string) {
	for _, r := range s.statements {
		texts = append(texts, r.sql)
	}
	return texts
}

// render reads the operator's statements and fills in the values. The masks are there also beside an error.
func (s *session) render(name string, password secret.Text, expiration time.Time, items []string) (script, error) {
	v, hash := sqltext.Values{"name": name, "username": name}, s.hash(password)
	if !expiration.IsZero() {
		v["expiration"] = expiration.UTC().Format(expirationFormat)
	}
	if !password.Empty() {
		v["password"] = password.Reveal()
	}
	if hash != "" {
		v["hash"] = hash
	}
	made := script{masks: plugins.MaskPassword(append(forms(password.Reveal()), hash)...)}
	parsed, err := parse(items, s.mode)
	if err != nil {
		return made, err
	}
	for _, one := range parsed {
		made.creates = made.creates || creation.MatchString(one.Words())
		var r rendered
		if r.clear, err = fillStatement(v, one, s.mode); err != nil {
			return made, err
		}
		if r.sql = r.clear; hash != "" {
			if r.sql, err = fillStatement(v, hashesOnly(one), s.mode); err != nil {
				return made, err
			}
		}
		made.statements = append(made.statements, r)
	}
	if len(made.statements) == 0 {
		return made, errors.New("the statements are empty")
	}
	return made, nil
}

// hash is what the server would make of a password; empty: it is to be sent as it is.
func (s *session) hash(password secret.Text) string {
	if !s.maria || password.Empty() || s.d.plainOnly.Load() {
		return ""
	}
	return nativeHash(password)
}

// run runs the statements in order and returns at which one it stopped.
func (s *session) run(ctx context.Context, script script) (int, error) {
	for i, r := range script.statements {
		err := s.exec(ctx, r.sql)
		if r.clear != r.sql && wantsClear(err) {
			s.d.plainOnly.Store(true)
			err = s.exec(ctx, r.clear)
		}
		if err != nil {
			return i, err
		}
	}
	return len(script.statements), nil
}
