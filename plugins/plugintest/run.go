package plugintest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"leasehold/internal/secret"
	"leasehold/plugins"
)

// abandonment is after what time a caller gives up, while the database is at the statement that does not end.
const abandonment = 2 * time.Second

// patience is how long an answer may take before a test fails.
const patience = 2 * time.Minute

var (
	past   = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	future = time.Date(2099, 2, 3, 4, 5, 6, 0, time.UTC)
)

// Run runs the suite. Its tests run in parallel; make is called once for each, and may return the same harness.
func Run(t *testing.T, make func(t *testing.T) Harness) {
	for name, test := range map[string]func(*suite){
		"create, log in, drop":       lifecycle,
		"drop without a user":        dropMissing,
		"drop in parallel":           dropParallel,
		"drop with open sessions":    dropSessions,
		"drop with owned objects":    dropOwned,
		"drop in a group":            dropGroup,
		"drop by statements":         dropStatements,
		"creation fails half-way":    createBroken,
		"creation is given up":       createAbandoned,
		"cancelled before the start": cancelled,
		"names":                      names,
		"one hundred at once":        hundred,
		"alter password and expiry":  alter,
		"alter without a user":       alterMissing,
		"list":                       list,
		"marks":                      marks,
		"unreachable":                unreachable,
		"wrong login":                wrongLogin,
		"errors keep secrets":        errorsKeepSecrets,
		"descriptions":               descriptions,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := make(t)
			db, err := h.Driver.Open(h.Settings)
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			t.Cleanup(func() { check(t, "close", db.Close()) })
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			test(&suite{TB: t, Harness: h, ctx: ctx, db: db})
		})
	}
}

// suite is the state of one test.
type suite struct {
	testing.TB
	Harness
	ctx context.Context
	db  plugins.Database
}

func check(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// user is a new user with a name that no other test has.
func (s *suite) user() plugins.User {
	return plugins.User{
		Name:       "v-" + strings.ToLower(secret.Random(secret.Base62, 24).Reveal()),
		Password:   secret.Random(secret.Base62+"-", 20),
		Expiration: future,
		Statements: s.Create,
	}
}

func (s *suite) create() plugins.User {
	s.Helper()
	u := s.user()
	check(s, "create user", s.db.CreateUser(s.ctx, u))
	return u
}

func (s *suite) drop(name string) {
	s.Helper()
	check(s, "drop user", s.db.DropUser(s.ctx, name, nil))
	s.wantExists(name, false)
}

func (s *suite) wantExists(name string, want bool) {
	s.Helper()
	got, err := s.Exists(s.ctx, name)
	check(s, "look for the user", err)
	if got != want {
		s.Fatalf("user %q exists: got %v, want %v", name, got, want)
	}
}

func (s *suite) wantLogin(name string, password secret.Text, want bool) {
	s.Helper()
	session, err := s.Login(s.ctx, name, password.Reveal())
	if err == nil {
		err = errors.Join(session.Use(s.ctx), session.Close())
	}
	if (err == nil) != want {
		s.Fatalf("log in as %q: got %v, want success %v", name, err, want)
	}
}

func (s *suite) wantClass(what string, err error, want ...plugins.Class) {
	s.Helper()
	var e *plugins.Error
	if !errors.As(err, &e) {
		s.Fatalf("%s: got %v (%T), want a *plugins.Error", what, err, err)
	}
	if !slices.Contains(want, e.Class) {
		s.Fatalf("%s: got class %v, want one of %v: %v", what, e.Class, want, err)
	}
	s.wantNoSecrets(err)
}

func (s *suite) wantNoSecrets(err error, more ...string) {
	s.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, text := range slices.Concat(s.Secrets, more) {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), text) {
				s.Fatalf("an error holds the secret %q: %v", text, e)
			}
		}
	}
}

func lifecycle(s *suite) {
	check(s, "verify", s.db.Verify(s.ctx))
	u := s.create()
	s.wantExists(u.Name, true)
	s.wantLogin(u.Name, u.Password, true)
	s.wantLogin(u.Name, secret.NewText("wrong"), false)
	s.wantClass("create the same user again", s.db.CreateUser(s.ctx, u), plugins.Permanent, plugins.Refused)
	s.wantLogin(u.Name, u.Password, true)
	s.drop(u.Name)
	s.wantLogin(u.Name, u.Password, false)
	s.drop(u.Name) // again
}

func dropMissing(s *suite) { s.drop(s.user().Name) }

func dropParallel(s *suite) {
	u := s.create()
	errs := s.parallel(8, func(int) error { return s.db.DropUser(s.ctx, u.Name, nil) })
	check(s, "drop the same user eight times", errs)
	s.wantExists(u.Name, false)
}

// parallel calls f(0) to f(n-1) at once and joins their errors.
func (s *suite) parallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func dropSessions(s *suite) {
	u := s.create()
	var sessions []Session
	for range 3 {
		session, err := s.Login(s.ctx, u.Name, u.Password.Reveal())
		check(s, "log in", err)
		check(s, "use the session", session.Use(s.ctx))
		sessions = append(sessions, session)
	}
	s.drop(u.Name)
	for _, session := range sessions {
		if session.Use(s.ctx) == nil {
			s.Error("a session outlived its user")
		}
		_ = session.Close()
	}
}

func dropOwned(s *suite) {
	u := s.create()
	kept := s.Own(s, u.Name)
	s.drop(u.Name)
	ok, err := kept(s.ctx)
	check(s, "look for what the user owned", err)
	if !ok {
		s.Error("what the user owned is gone")
	}
}

func dropStatements(s *suite) {
	u := s.create()
	s.wantClass("drop by bad statements", s.db.DropUser(s.ctx, u.Name, s.DropBad), plugins.Refused, plugins.Permanent)
	s.wantLogin(u.Name, u.Password, true)
	session, err := s.Login(s.ctx, u.Name, u.Password.Reveal())
	check(s, "log in", err)
	check(s, "drop by statements", s.db.DropUser(s.ctx, u.Name, s.Drop))
	s.wantExists(u.Name, false)
	if session.Use(s.ctx) == nil {
		s.Error("a session outlived its user")
	}
	_ = session.Close()
	check(s, "drop by statements again", s.db.DropUser(s.ctx, u.Name, s.Drop))
}

func createBroken(s *suite) {
	u := s.user()
	u.Statements = s.Broken
	s.wantClass("create by statements that fail", s.db.CreateUser(s.ctx, u), plugins.Permanent, plugins.Refused)
	s.wantExists(u.Name, false)
	check(s, "use the connection", s.db.Verify(s.ctx))
}

// createAbandoned is about the late commit: whatever the error says, no user appears afterwards.
func createAbandoned(s *suite) {
	check(s, "connect", s.db.Verify(s.ctx)) // which may take longer than the time below
	for name, abandon := range map[string]func() (context.Context, context.CancelFunc){
		"deadline": func() (context.Context, context.CancelFunc) { return context.WithTimeout(s.ctx, abandonment) },
		"cancel": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(s.ctx)
			time.AfterFunc(abandonment, cancel)
			return ctx, cancel
		},
	} {
		u := s.user()
		u.Statements = s.Endless
		ctx, cancel := abandon()
		err := s.db.CreateUser(ctx, u)
		cancel()
		s.wantClass(name, err, plugins.Refused, plugins.Unknown)
		check(s, "wait for the server", s.Settle(s.ctx))
		s.wantExists(u.Name, false)
		s.drop(u.Name)
	}
	check(s, "use the connections", s.db.Verify(s.ctx))
}

func cancelled(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	u := s.user()
	s.wantClass("create user", s.db.CreateUser(ctx, u), plugins.Unreachable)
	check(s, "wait for the server", s.Settle(s.ctx))
	s.wantExists(u.Name, false)
	u = s.create()
	s.wantClass("alter user", s.db.AlterUser(ctx, u.Name, plugins.Change{Password: secret.NewText("another")}), plugins.Unreachable)
	s.wantClass("drop user", s.db.DropUser(ctx, u.Name, nil), plugins.Unreachable)
	s.wantClass("verify", s.db.Verify(ctx), plugins.Unreachable)
	s.wantLogin(u.Name, u.Password, true)
	s.drop(u.Name)
}

func names(s *suite) {
	for _, name := range append(s.Names, strings.Repeat("n", s.LongestName)) {
		u := s.user()
		u.Name = name
		check(s, fmt.Sprintf("create user %q", name), s.db.CreateUser(s.ctx, u))
		s.wantLogin(name, u.Password, true)
		u.Password = secret.NewText(`it's a "new" \ one; $1 {{name}}`)
		check(s, fmt.Sprintf("alter user %q", name), s.db.AlterUser(s.ctx, name, plugins.Change{Password: u.Password, Expiration: future}))
		s.wantLogin(name, u.Password, true)
		s.drop(name)
	}
	for _, name := range append(s.Unusable, "", strings.Repeat("n", s.LongestName+1)) {
		u := s.user()
		u.Name = name
		s.wantClass(fmt.Sprintf("create user %q", name), s.db.CreateUser(s.ctx, u), plugins.Permanent)
		check(s, fmt.Sprintf("drop user %q", name), s.db.DropUser(s.ctx, name, nil))
	}
}

func hundred(s *suite) {
	users := make([]plugins.User, 100)
	check(s, "create", s.parallel(len(users), func(i int) error {
		users[i] = s.user()
		return s.db.CreateUser(s.ctx, users[i])
	}))
	s.wantLogin(users[99].Name, users[99].Password, true)
	check(s, "drop", s.parallel(len(users), func(i int) error { return s.db.DropUser(s.ctx, users[i].Name, nil) }))
	for _, u := range users {
		s.wantExists(u.Name, false)
	}
}

func alter(s *suite) {
	u := s.create()
	old := u.Password
	u.Password = secret.Random(secret.Base62, 20)
	check(s, "alter the password", s.db.AlterUser(s.ctx, u.Name, plugins.Change{Password: u.Password}))
	s.wantLogin(u.Name, old, false)
	s.wantLogin(u.Name, u.Password, true)
	check(s, "alter the expiry", s.db.AlterUser(s.ctx, u.Name, plugins.Change{Expiration: past}))
	s.wantLogin(u.Name, u.Password, !s.Expires)
	check(s, "alter the expiry, eight at once", s.parallel(8, func(int) error {
		return s.db.AlterUser(s.ctx, u.Name, plugins.Change{Expiration: past})
	}))
	check(s, "alter the expiry back", s.db.AlterUser(s.ctx, u.Name, plugins.Change{Expiration: future}))
	s.wantLogin(u.Name, u.Password, true)
	s.drop(u.Name)
}

func alterMissing(s *suite) {
	u := s.user()
	err := s.db.AlterUser(s.ctx, u.Name, plugins.Change{Password: u.Password})
	s.wantClass("alter a missing user", err, plugins.Permanent)
	s.wantNoSecrets(err, u.Password.Reveal())
	s.wantExists(u.Name, false)
}

func list(s *suite) {
	lister, ok := s.db.(plugins.Lister)
	if !ok {
		return
	}
	prefix := s.user().Name
	want := []string{prefix + "-%_1", prefix + "-2"}
	for _, name := range want {
		u := s.user()
		u.Name = name
		check(s, "create user", s.db.CreateUser(s.ctx, u))
	}
	for begin, want := range map[string][]string{prefix: want, prefix + "-%": want[:1], prefix + "-_": nil, prefix + "-3": nil} {
		got, err := lister.Users(s.ctx, begin)
		check(s, "list", err)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			s.Errorf("users that begin with %q: got %q, want %q", begin, got, want)
		}
	}
	for _, name := range want {
		s.drop(name)
	}
}

// mark is what a user of the suite is marked with.
const mark = plugins.MarkPrefix + "store=0123456789abcdef mount=8f1c2d30-7a55 connection=pg role=app issued=2040-05-06T07:08:09.123456Z"

// marks is about what the database's catalogue tells of users.
func marks(s *suite) {
	marker, ok := s.db.(plugins.Marker)
	if !ok {
		return
	}
	accounts := func(names ...string) map[string]plugins.Account {
		found := map[string]plugins.Account{}
		err := marker.Accounts(s.ctx, names, func(a plugins.Account) {
			if _, twice := found[a.Name]; twice {
				s.Errorf("user %q came twice", a.Name)
			}
			found[a.Name] = a
		})
		check(s, "list accounts", err)
		return found
	}
	var users []plugins.User
	for i, name := range append([]string{s.user().Name, s.user().Name}, s.Names...) {
		u := s.user()
		u.Name = name + secret.Random(secret.Base62, 6).Reveal()
		if u.Mark = mark; i == 0 {
			u.Mark = ""
		}
		check(s, fmt.Sprintf("create user %q", u.Name), s.db.CreateUser(s.ctx, u))
		users = append(users, u)
	}
	check(s, "alter a marked user", s.db.AlterUser(s.ctx, users[1].Name, plugins.Change{Password: secret.NewText("another")}))
	failed := s.user()
	failed.Mark, failed.Statements = mark, s.Broken
	s.wantClass("create by statements that fail", s.db.CreateUser(s.ctx, failed), plugins.Permanent, plugins.Refused)

	for what, found := range map[string]map[string]plugins.Account{
		"all": accounts(), "named": accounts(append(nameList(users), failed.Name, s.user().Name)...),
	} {
		for _, u := range users {
			got, there := found[u.Name]
			want := u.Mark
			if s.MarkKept != nil {
				want = s.MarkKept(want)
			}
			if !there || got.Mark != want || s.Expires && !got.Expiration.Equal(u.Expiration) {
				s.Errorf("%s: user %q with mark %q and expiry %v: got %+v", what, u.Name, u.Mark, u.Expiration, got)
			}
		}
		if _, there := found[failed.Name]; there {
			s.Errorf("%s: a user whose creation failed", what)
		}
		if what == "named" && len(found) != len(users) {
			s.Errorf("accounts of %d names: got %d", len(users)+2, len(found))
		}
	}
	for _, u := range users {
		s.drop(u.Name)
	}
	if left := accounts(nameList(users)...); len(left) > 0 {
		s.Errorf("after the drop: got %v", left)
	}
	again := users[1]
	again.Mark = ""
	check(s, "make a user of a marked one's name", s.db.CreateUser(s.ctx, again))
	if got := accounts(again.Name)[again.Name].Mark; got != "" {
		s.Errorf("a new user has inherited the mark %q", got)
	}
	s.drop(again.Name)
}

func nameList(users []plugins.User) (names []string) {
	for _, u := range users {
		names = append(names, u.Name)
	}
	return names
}

// everyCall returns the errors of all calls.
func (s *suite) everyCall(db plugins.Database) map[string]error {
	u := s.user()
	calls := map[string]error{
		"verify":             db.Verify(s.ctx),
		"create user":        db.CreateUser(s.ctx, u),
		"alter user":         db.AlterUser(s.ctx, u.Name, plugins.Change{Password: u.Password}),
		"drop user":          db.DropUser(s.ctx, u.Name, nil),
		"drop by statements": db.DropUser(s.ctx, u.Name, s.Drop),
	}
	if lister, ok := db.(plugins.Lister); ok {
		_, calls["list"] = lister.Users(s.ctx, u.Name)
	}
	if marker, ok := db.(plugins.Marker); ok {
		calls["list accounts"] = marker.Accounts(s.ctx, nil, func(plugins.Account) {})
	}
	return calls
}

func unreachable(s *suite) { s.wantUnreachable(s.NoServer, false) }
func wrongLogin(s *suite)  { s.wantUnreachable(s.WrongLogin, true) }

// wantUnreachable has every call fail before anything is sent. answered says that there is a server.
func (s *suite) wantUnreachable(settings plugins.Settings, answered bool) {
	s.Helper()
	db, err := s.Driver.Open(settings)
	check(s, "open", err)
	defer db.Close()
	for what, err := range s.everyCall(db) {
		s.wantClass(what, err, plugins.Unreachable)
		if told := errors.Is(err, plugins.ErrWrongPassword) || errors.Is(err, plugins.ErrNotAdmitted); told != answered {
			s.Errorf("%s: whether the server turned the user away: got %t, want %t", what, told, answered)
		}
	}
}

func errorsKeepSecrets(s *suite) {
	u := s.user()
	u.Statements = s.Telltale
	err := s.db.CreateUser(s.ctx, u)
	s.wantClass("create by statements that tell", err, plugins.Permanent, plugins.Refused)
	s.wantNoSecrets(err, u.Password.Reveal())
	s.wantExists(u.Name, false)
}

func descriptions(s *suite) {
	if got := s.Driver.Usernames(); got.MaxLength != s.LongestName || got.Template == "" {
		s.Errorf("user names: got %+v, want at most %d bytes and a template", got, s.LongestName)
	}
	if got := s.Driver.CredentialTypes(); !slices.Contains(got, "password") {
		s.Errorf("credential types: got %q, want password among them", got)
	}
	if got := s.db.MaxOpen(); got < 8 {
		s.Errorf("connections: got %d, want what the settings say", got)
	}
}
