package mssql

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"leasehold/internal/secret"
	"leasehold/plugins"
	"leasehold/plugins/sqltext"
)

// expirationFormat is what {{expiration}} looks like.
const expirationFormat = "2006-01-02 15:04:05-0700"

var (
	creation = regexp.MustCompile(`(?i)\bcreate\s+(?:login|user)\b`)
	commits  = regexp.MustCompile(`(?i)\b(?:commit|begin\s+tran|begin\s+transaction|rollback)\b`)
)

// CreateUser makes the login, or the user of the contained database, by u.Statements in one transaction, and marks it after that. A
// user that is there already is refused and left alone.
//
// When the statements create a login or user, but none of u.Name, the answer is an error: nobody would drop it.
//
// Round trips: six, one for each statement, and those of the mark.
func (d *Database) CreateUser(ctx context.Context, u plugins.User) error {
	const op = "create user"
	if err := checkName(u.Name); err != nil {
		return d.fail(op, plugins.Permanent, err)
	}
	s, err := d.begin(ctx, op, u.Name)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	if s.sid != nil {
		return d.fail(op, plugins.Refused, errors.New("the database has a user of that name already"))
	}
	if err := s.manages(); err != nil {
		return d.fail(op, plugins.Refused, err)
	}
	script, err := render(u.Name, u.Password, u.Expiration, u.Statements)
	if err != nil {
		return d.fail(op, plugins.Permanent, err, script.masks...)
	}
	made, class, err := s.fulfil(ctx, u, script)
	if err == nil {
		return nil
	}
	undone := s.settle(ctx)
	// After a rollback nothing is there. But whether a commit took place is not known, and operators' statements may have had one of their own.
	// When the first statement says that there is such a user now, it is somebody else's.
	if undone == nil && made && !(s.ran == 0 && is(err, errLoginExists, errUserExists)) {
		undone = s.undo(ctx, u.Name)
	}
	if undone != nil {
		return d.fail(op, plugins.Unknown, fmt.Errorf("%w; and it could not be undone: %w", err, undone), script.masks...)
	}
	return d.fail(op, class, err, script.masks...)
}

// fulfil runs the statements and marks the user. Made says that something may be there after a rollback; the class is that of the
// error, once what was made is undone.
func (s *session) fulfil(ctx context.Context, u plugins.User, script script) (made bool, class plugins.Class, err error) {
	if err := s.transact(ctx, script, func() error {
		if err := s.look(ctx, u.Name); err != nil {
			return err
		}
		if s.sid == nil && script.creates {
			return errNotMade
		}
		made = true
		return nil
	}); err != nil {
		made = made || script.commits
		if errors.Is(err, errNotMade) || classOf(err) == plugins.Permanent {
			return made, plugins.Permanent, err
		}
		return made, plugins.Refused, err
	}
	if u.Mark != "" && s.sid != nil {
		// Crash: the user is not marked; the caller recorded its name before.
		if err := s.mark(ctx, u.Name, u.Mark); err != nil {
			return true, plugins.Refused, err
		}
	}
	if ctx.Err() != nil {
		return true, plugins.Refused, context.Cause(ctx)
	}
	return true, plugins.Unknown, nil
}

var errNotMade = errors.New("the statements make no login of the user's name; for a user of a contained database, without a login, the connection" +
	" needs contained_db=true")

// transact runs the statements and a last look in one transaction, and comes home before the look. After an error the
// transaction may still be there.
func (s *session) transact(ctx context.Context, script script, last func() error) error {
	s.prepare(script)
	if err := s.exec(ctx, "BEGIN TRANSACTION"); err != nil {
		return err
	}
	// Crash: the server rolls back when the connection ends.
	for _, sql := range script.statements {
		if err := s.exec(ctx, sql); err != nil {
			return err
		}
		s.ran++
	}
	if err := s.goHome(ctx); err != nil {
		return err
	}
	if err := last(); err != nil {
		return err
	}
	commit := "COMMIT TRANSACTION"
	if script.commits { // the statements may have begun another inside of ours, or ended it
		commit = "WHILE @@TRANCOUNT > 0 COMMIT TRANSACTION"
	}
	// Crash: the user may exist; the caller recorded its name before.
	return s.exec(ctx, commit)
}

// undo ends the session and removes the user. It has its own time: a caller who has given up must not leave a user behind.
func (s *session) undo(ctx context.Context, name string) error {
	s.close(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return s.d.DropUser(ctx, name, nil)
}

// AlterUser sets the password by c.Statements, in one transaction, or else by ALTER LOGIN or ALTER USER. The pool keeps its open
// connections when it is that of the connection's own user, and needs new settings for others. The server has no expiry of logins:
// without statements it is left alone.
//
// The connection's own user may change itself also without the right to change others. Own statements would have to say the old
// password for that, and cannot.
func (d *Database) AlterUser(ctx context.Context, name string, c plugins.Change) error {
	const op = "alter user"
	if err := checkName(name); err != nil {
		return d.fail(op, plugins.Permanent, err)
	}
	if len(c.Statements) == 0 && c.Password.Empty() {
		if err := ctx.Err(); err != nil {
			return d.fail(op, plugins.Unreachable, err)
		}
		return nil
	}
	s, err := d.begin(ctx, op, "")
	if err != nil {
		return err
	}
	defer s.close(ctx)
	script, err := s.alteration(name, c)
	if err != nil {
		return d.fail(op, plugins.Permanent, err, script.masks...)
	}
	committing := true
	if len(script.statements) == 1 && len(c.Statements) == 0 {
		// Crash: the old or the new password is in force; the caller recorded both.
		err = s.exec(ctx, script.statements[0])
	} else {
		committing = script.commits
		err = s.transact(ctx, script, func() error { committing = true; return nil })
	}
	if err == nil {
		return nil
	}
	class := classOf(err)
	switch stuck := s.settle(ctx); {
	case stuck != nil:
		class, err = plugins.Unknown, fmt.Errorf("%w; and its session could not be ended: %w", err, stuck)
	case class == plugins.Unknown && !committing: // it is rolled back
		class = plugins.Refused
	case committing && script.commits:
		class = plugins.Unknown
	}
	return d.fail(op, class, err, script.masks...)
}

// alteration is what AlterUser runs. Names are no templates there: whatever braces they have are their own.
func (s *session) alteration(name string, c plugins.Change) (script, error) {
	if len(c.Statements) > 0 {
		return render(name, c.Password, c.Expiration, c.Statements)
	}
	if _, err := quote(sqltext.Token{Kind: text, Text: "N''"}, "", c.Password.Reveal()); err != nil {
		return script{}, fmt.Errorf("the password %w", err)
	}
	kind := "LOGIN "
	if s.d.contained && !(s.isLogin && strings.EqualFold(name, s.d.user)) {
		kind = "USER "
	}
	sql := "ALTER " + kind + quoteName(name) + " WITH PASSWORD = " + quoteText(c.Password.Reveal())
	secrets := forms(c.Password.Reveal())
	if old := s.d.config.Password; name == s.d.user && s.mayManage.Int64 == 0 && old != "" {
		sql += " OLD_PASSWORD = " + quoteText(old)
		secrets = append(secrets, forms(old)...)
	}
	return script{statements: []string{sql}, masks: plugins.MaskPassword(secrets...)}, nil
}

// script is the statements of a call, with values.
type script struct {
	parsed     []sqltext.Statement
	statements []string
	creates    bool // a login or user, by a statement of its own
	commits    bool // it may begin or end transactions
	masks      []plugins.Mask
}

// render reads the operator's statements and fills in the values. The masks are there also beside an error.
func render(name string, password secret.Text, expiration time.Time, items []string) (script, error) {
	v := sqltext.Values{"name": name, "username": name}
	if !expiration.IsZero() {
		v["expiration"] = expiration.UTC().Format(expirationFormat)
	}
	if !password.Empty() {
		v["password"] = password.Reveal()
	}
	made := script{masks: plugins.MaskPassword(forms(password.Reveal())...)}
	var err error
	if made.parsed, err = parse(items); err != nil {
		return made, err
	}
	for _, one := range made.parsed {
		words := one.Words()
		made.creates = made.creates || creation.MatchString(words)
		made.commits = made.commits || commits.MatchString(words)
		sql, err := fillStatement(v, one)
		if err != nil {
			return made, err
		}
		made.statements = append(made.statements, sql)
	}
	if len(made.statements) == 0 {
		return made, errors.New("the statements are empty")
	}
	return made, nil
}
