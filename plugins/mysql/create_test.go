package mysql_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/plugins"
)

func wantClass(t *testing.T, err error, want plugins.Class) {
	t.Helper()
	var e *plugins.Error
	if !errors.As(err, &e) || e.Class != want {
		t.Fatalf("got %v (%v), want class %v", err, plugins.ClassOf(err), want)
	}
}

func TestStatementForms(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	name := newDatabase(t, s)
	db := open(t, settings(s, s.User, s.Password))
	for _, statements := range [][]string{
		{createUser + `GRANT SELECT ON ` + name + `.t1 TO "{{username}}"@"%";`},
		{`["CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'", "GRANT SELECT ON ` + name + `.t1 TO '{{name}}'@'%'"]`},
		{base64.StdEncoding.EncodeToString([]byte(createUser)), "", "GRANT SELECT ON " + name + ".t1 TO `{{name}}` -- done; or not"},
		{"CREATE USER IF NOT EXISTS '{{name}}'@'127.0.0.1' IDENTIFIED VIA mysql_native_password USING PASSWORD('{{password}}')", "USE " + name,
			"GRANT SELECT ON t1 TO '{{name}}'@'127.0.0.1' # done; or not"},
		{createUser + `SET @made = '{{name}}'; INSERT INTO ` + name + `.t1 VALUES (1); GRANT SELECT ON ` + name + `.t1 TO '{{name}}'`},
	} {
		u := newUser(statements...)
		if err := db.CreateUser(t.Context(), u); err != nil {
			t.Fatalf("%q: %v", statements, err)
		}
		own, err := connect(s, u.Name, u.Password.Reveal())
		if err == nil {
			_, err = own.ExecContext(t.Context(), "SELECT a FROM "+name+".t1")
			_ = own.Close()
		}
		if err != nil {
			t.Errorf("%q: %v", statements, err)
		}
		if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// A user may have several accounts; all of them go.
func TestHostParts(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	db := open(t, settings(s, s.User, s.Password))
	const three = "CREATE USER `{{name}}`@`127.0.0.1` IDENTIFIED BY '{{password}}', '{{name}}'@'10.%' IDENTIFIED BY '{{password}}', '{{name}}'@'192.168.%' IDENTIFIED BY '{{password}}'"
	u := newUser(three)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := login(t, s, u.Name, u.Password); err != nil {
		t.Error(err)
	}
	next := secret.Random(secret.Base62, 20)
	if err := db.AlterUser(t.Context(), u.Name, plugins.Change{Password: next}); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, "SELECT COUNT(DISTINCT authentication_string) FROM mysql.user WHERE User = ?", u.Name); got != "1" {
		t.Errorf("accounts with different passwords: got %s", got)
	}
	if err := login(t, s, u.Name, next); err != nil {
		t.Error(err)
	}
	// Statements that leave one of them have not removed the user.
	wantClass(t, db.DropUser(t.Context(), u.Name, []string{"DROP USER '{{name}}'@'127.0.0.1'"}), plugins.Refused)
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
	if got := accounts(t, s, u.Name); got != "0" {
		t.Errorf("%s accounts are left", got)
	}
	// The first of two accounts was made when the second failed.
	u.Statements = []string{"CREATE USER '{{name}}'@'10.%'; CREATE USER '{{name}}'@'10.%'"}
	wantClass(t, db.CreateUser(t.Context(), u), plugins.Permanent)
	if got := accounts(t, s, u.Name); got != "0" {
		t.Errorf("%s accounts are left", got)
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	db := open(t, settings(s, s.User, s.Password))
	for _, test := range []struct {
		statements []string
		want       plugins.Class
	}{
		{nil, plugins.Permanent},
		{[]string{" ; -- nothing"}, plugins.Permanent},
		{[]string{"CREATE ROLL nonsense"}, plugins.Permanent},
		{[]string{createUser, "SELECT 'unterminated"}, plugins.Permanent},
		{[]string{createUser, "GRANT SELECT ON nothing.at_all TO '{{name}}'"}, plugins.Permanent},
		{[]string{createUser, "SIGNAL SQLSTATE '45000'"}, plugins.Refused},
		{[]string{createUser, createUser}, plugins.Permanent},
		{[]string{createUser, "KILL CONNECTION_ID()"}, plugins.Refused},
		{[]string{"CREATE USER 'x{{name}}'"}, plugins.Permanent}, // longer than names may be
		{[]string{"SET sql_mode = ''", createUser}, plugins.Permanent},
		{[]string{"SET NAMES gbk", createUser}, plugins.Permanent},
		{[]string{"/*!50000 SET sql_mode = '' */", createUser}, plugins.Permanent},
	} {
		u := newUser(test.statements...)
		err := db.CreateUser(t.Context(), u)
		if got := plugins.ClassOf(err); err == nil || got != test.want {
			t.Errorf("%q: got %v (%v), want class %v", test.statements, err, got, test.want)
		}
		if got := accounts(t, s, u.Name); got != "0" {
			t.Errorf("%q: the user is there", test.statements)
		}
		if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
			t.Error(err)
		}
	}
}

// A user by another name than the recorded one would stay for ever.
func TestOtherName(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	db := open(t, settings(s, s.User, s.Password))
	u := newUser("CREATE USER 'stray_{{name}}' IDENTIFIED BY '{{password}}'")
	u.Name = u.Name[:20]
	wantClass(t, db.CreateUser(t.Context(), u), plugins.Permanent)
	// Statements that make no user at all are the operator's business.
	if err := db.CreateUser(t.Context(), newUser("DO '{{name}}'")); err != nil {
		t.Error(err)
	}
}

// What statements do to tables after the last one about users is undone with the user.
func TestUndoneTables(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	name := newDatabase(t, s)
	db := open(t, settings(s, s.User, s.Password))
	insert := "INSERT INTO " + name + ".t1 VALUES (7)"
	wantClass(t, db.CreateUser(t.Context(), newUser(createUser, insert, "SIGNAL SQLSTATE '45000'")), plugins.Refused)
	if got := ask(t, s, "SELECT COUNT(*) FROM "+name+".t1"); got != "0" {
		t.Errorf("rows after a creation that failed: got %s", got)
	}
	u := newUser(createUser, insert)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, "SELECT COUNT(*) FROM "+name+".t1"); got != "1" {
		t.Errorf("rows after a creation: got %s, want 1", got)
	}
	if err := db.DropUser(t.Context(), u.Name, []string{dropUser, insert}); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, "SELECT COUNT(*) FROM "+name+".t1"); got != "2" {
		t.Errorf("rows after the revocation: got %s, want 2", got)
	}
}

// What one call leaves in a session is not there for the next.
func TestNoResidue(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	name := newDatabase(t, s)
	options := settings(s, s.User, s.Password)
	options["max_open_connections"] = "1"
	db := open(t, options)
	for range 2 {
		if err := db.CreateUser(t.Context(), newUser("USE "+name, "SET @x = 7")); err != nil {
			t.Fatal(err)
		}
	}
	wantClass(t, db.CreateUser(t.Context(), newUser("INSERT INTO t1 VALUES (1)")), plugins.Permanent)
	if err := db.CreateUser(t.Context(), newUser("INSERT INTO "+name+".t1 SELECT 1 WHERE @x IS NULL")); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, "SELECT COUNT(*) FROM "+name+".t1"); got != "1" {
		t.Errorf("rows: got %s, want 1: a variable was left", got)
	}
}

// Two requests for one fixed name: the one that comes too late must not take the other's user away.
func TestFixedNameAtOnce(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	db := open(t, settings(s, s.User, s.Password))
	u := newUser(createUser)
	const n = 8
	failed := make(chan error, n)
	for range n {
		go func() { failed <- db.CreateUser(t.Context(), u) }()
	}
	made := 0
	for range n {
		err := <-failed
		switch {
		case err == nil:
			made++
		case plugins.ClassOf(err) != plugins.Refused && plugins.ClassOf(err) != plugins.Permanent:
			t.Errorf("got %v (%v)", err, plugins.ClassOf(err))
		}
	}
	if made != 1 {
		t.Errorf("%d of %d have made the user", made, n)
	}
	if err := login(t, s, u.Name, u.Password); err != nil {
		t.Error(err)
	}
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
}

// MariaDB's log holds no password, but where a statement does more with it than to identify a user.
func TestPasswordsInTheLog(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	db := open(t, settings(s, s.User, s.Password))
	seen := newUser(createUser, "DO '{{password}}'")
	hidden := newUser("create user '{{name}}' identified  by\n\t\"{{password}}\"")
	for _, u := range []plugins.User{seen, hidden} {
		if err := db.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		if err := login(t, s, u.Name, u.Password); err != nil {
			t.Error(err)
		}
	}
	passwords := []secret.Text{hidden.Password, secret.NewText(`it's "another" \ one`), secret.Random(secret.Base62, 20)}
	for i, statements := range [][]string{nil, {"ALTER USER '{{name}}' IDENTIFIED BY '{{password}}'"}} {
		if err := db.AlterUser(t.Context(), hidden.Name, plugins.Change{Password: passwords[i+1], Statements: statements}); err != nil {
			t.Fatal(err)
		}
		if err := login(t, s, hidden.Name, passwords[i+1]); err != nil {
			t.Error(err)
		}
	}
	log := s.Log(t)
	if !strings.Contains(log, seen.Password.Reveal()) {
		t.Error("the log does not show statements, so searching it proves nothing")
	}
	for i, p := range passwords {
		for _, form := range []string{p.Reveal(), strings.ReplaceAll(strings.ReplaceAll(p.Reveal(), `\`, `\\`), `'`, `''`)} {
			if strings.Contains(log, form) {
				t.Errorf("password %d is in the server's log", i)
			}
		}
	}
	for _, u := range []plugins.User{seen, hidden} {
		if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// The connection's own user changes its password, whatever host part it logs in by.
func TestOwnPassword(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	own, first := newAdmin(t, s, "CREATE USER ON *.*", "SELECT ON mysql.*")
	s.Exec(t, fmt.Sprintf("CREATE USER %s@127.0.0.1 IDENTIFIED BY '%s'; GRANT CREATE USER ON *.* TO %[1]s@127.0.0.1; GRANT SELECT ON mysql.* TO %[1]s@127.0.0.1", own, first))
	current := secret.NewText(first)
	for _, statements := range [][]string{nil, {"ALTER USER '{{username}}'@'127.0.0.1' IDENTIFIED BY '{{password}}';"}} {
		db := open(t, settings(s, own, current.Reveal()))
		next := secret.Random(secret.Base62, 20)
		if err := db.AlterUser(t.Context(), own, plugins.Change{Password: next, Statements: statements}); err != nil {
			t.Fatal(err)
		}
		if login(t, s, own, current) == nil {
			t.Error("the old password still works")
		}
		if err := login(t, s, own, next); err != nil {
			t.Error(err)
		}
		current = next
	}
}

// While somebody has locked the server, it gives up before the caller does: the answer is a clear no.
func TestServerGivesUpFirst(t *testing.T) {
	t.Parallel()
	s := testdb.MariaDB(t)
	db := open(t, settings(s, s.User, s.Password))
	if err := db.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	holder, err := s.DB(t).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if _, err := holder.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK"); err != nil {
		t.Fatal(err)
	}
	u := newUser(createUser)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = db.CreateUser(ctx, u)
	if err == nil || !strings.Contains(err.Error(), "max_statement_time") && !strings.Contains(err.Error(), "Lock wait") {
		t.Errorf("the caller's time was over first: %v", err)
	}
	if got := plugins.ClassOf(err); got != plugins.Refused && got != plugins.Unknown { // undoing waits for the same lock
		t.Errorf("got %v (%v)", err, got)
	}
	if _, err := holder.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	if got := accounts(t, s, u.Name); got != "0" {
		t.Error("the user is there")
	}
}

func TestServerCrash(t *testing.T) {
	t.Parallel()
	s := testdb.MariaDB(t)
	db := open(t, settings(s, s.User, s.Password))
	u := newUser(createUser, "SELECT SLEEP(100)")
	done := make(chan error)
	go func() { done <- db.CreateUser(t.Context(), u) }()
	if err := poll(t.Context(), s.DB(t), "SELECT EXISTS (SELECT * FROM information_schema.PROCESSLIST WHERE INFO = 'SELECT SLEEP(100)')"); err != nil {
		t.Fatal(err)
	}
	s.Crash()
	wantClass(t, <-done, plugins.Unknown)
	u.Statements = []string{createUser}
	wantClass(t, db.CreateUser(t.Context(), u), plugins.Unreachable)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
	if got := accounts(t, s, u.Name); got != "0" {
		t.Error("the user is there")
	}
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

// The network is cut while a statement is at work: it is ended in the server, and undone.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	p := newProxy(t, s)
	db := open(t, settings(p.MariaServer, s.User, s.Password))
	u := newUser(createUser, "SELECT SLEEP(100), '{{name}}'")
	p.loseAnswerTo("SELECT SLEEP(100)")
	wantClass(t, db.CreateUser(t.Context(), u), plugins.Refused)
	if got := ask(t, s, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE ?", "SELECT SLEEP(100), '"+u.Name+"'"); got != "0" {
		t.Error("the statement is still at work")
	}
	if got := accounts(t, s, u.Name); got != "0" {
		t.Error("the user is there")
	}
}
