package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/plugins"
	"leasehold/store"
)

var staticRoleFields = engine.Schema{
	"name":                  engine.Text,
	"db_name":               engine.Text,
	"username":              engine.Text,
	"second_username":       engine.Text,
	"rotation_period":       engine.Duration,
	"rotation_schedule":     engine.Text,
	"rotation_window":       engine.Duration,
	"rotation_statements":   engine.TextList,
	"credential_type":       engine.Text,
	"credential_config":     engine.TextMap,
	"skip_import_rotation":  engine.Bool,
	"password":              engine.Text,
	"self_managed_password": engine.Text,
}

// staticRole is what an operator wrote about a static role; sealed in its row of database_roles.
type staticRole struct {
	Connection string     `json:"connection"`
	Username   string     `json:"username"`
	Second     string     `json:"second,omitempty"` // the user that takes turns with it; empty: none does
	Rhythm     rhythm     `json:"rhythm"`
	Statements []string   `json:"statements"` // none: the plugin knows how
	Credential credential `json:"credential"`
	SkipImport bool       `json:"skip_import,omitempty"` // its first rotation is the first planned one
	Since      time.Time  `json:"since"`                 // when it was made: the first period begins here
}

// rotation is a row of database_rotations: the passwords of a static role's user, or the keys that stand in their place, and when the next
// one is due. The package comment draws its states.
type rotation struct {
	id, mount, connection string
	version               string      // another one at each step of a rotation; never seen before
	born                  bool        // false: the role is being made, and nobody sees it
	slot                  int64       // whose the password is: 0 the role's user's, 1 its second one's
	password              secret.Text // empty: not known yet
	staged                secret.Text // the next one; empty: none
	doubt                 bool        // the database may have the staged one
	rotated               time.Time   // zero: never
	planned               time.Time   // when the next rotation is to begin, by the role's rhythm
	due                   time.Time   // when somebody has to look
	claimant              int64       // the node that works at it; 0: none, or one without a number
	claimedUntil          time.Time   // when its statement cannot take effect any more; zero: nobody works at it
	quietUntil            time.Time   // the same, of earlier statements that were not answered
	attempts              int         // that have failed since
	failure               string      // why the last one failed
}

// managed is a static role with its row.
type managed struct {
	name string
	role staticRole
	rotation
}

const managedColumns = `r.name, r.settings, s.id, s.mount, s.connection, s.version, s.born, s.slot, s.password, s.staged, s.doubt,
	s.rotated_at, s.planned_at, s.due_at, s.claimant, s.claimed_until, s.quiet_until, s.attempts, s.failure`

func rotationCell(id, column string) store.Cell {
	return store.Cell{Table: "database_rotations", Column: column, Key: id}
}

func scanManaged(tx *store.Tx, row interface{ Scan(...any) error }) (*managed, error) {
	var m managed
	var settings, password, staged, failure []byte
	var rotated, planned, due, claimed, quiet int64
	err := row.Scan(&m.name, &settings, &m.id, &m.mount, &m.connection, &m.version, &m.born, &m.slot, &password, &staged, &m.doubt,
		&rotated, &planned, &due, &m.claimant, &claimed, &quiet, &m.attempts, &failure)
	if err != nil {
		return nil, err
	}
	plain, err := tx.Open(roleCell(m.id), settings)
	if err != nil {
		return nil, fmt.Errorf("open static role %s: %w", m.id, err)
	}
	if err := decodeJSON(plain, &m.role); err != nil {
		return nil, fmt.Errorf("decode static role %s: %w", m.id, err)
	}
	for column, cell := range map[string][]byte{"password": password, "staged": staged, "failure": failure} {
		if cell == nil {
			continue
		}
		plain, err := tx.Open(rotationCell(m.id, column), cell)
		if err != nil {
			return nil, fmt.Errorf("open static role %s: %w", m.id, err)
		}
		switch column {
		case "password":
			m.password = secret.NewText(string(plain))
		case "staged":
			m.staged = secret.NewText(string(plain))
		default:
			m.failure = string(plain)
		}
	}
	m.rotated, m.planned, m.due = store.Time(rotated), store.Time(planned), store.Time(due)
	m.claimedUntil, m.quietUntil = store.Time(claimed), store.Time(quiet)
	return &m, nil
}

// findManaged reads a static role; nil: there is none. Those that are being made are found, too.
func findManaged(tx *store.Tx, id string) (*managed, error) {
	m, err := scanManaged(tx, tx.QueryRow(`SELECT `+managedColumns+` FROM database_rotations s
		JOIN database_roles r ON r.id = s.id WHERE s.id = $1`, id))
	if errors.Is(err, store.ErrNoRow) {
		return nil, nil
	}
	return m, err
}

// save writes both rows.
func (m *managed) save(tx *store.Tx) error {
	plain, err := json.Marshal(m.role)
	if err != nil {
		return errors.New("encode static role")
	}
	settings, err := tx.Seal(roleCell(m.id), plain)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO database_roles (id, mount, name, kind, settings) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET settings = excluded.settings`, m.id, m.mount, m.name, static, settings)
	if err != nil {
		return err
	}
	return m.saveRotation(tx)
}

// saveRotation writes the row of database_rotations alone.
func (m *managed) saveRotation(tx *store.Tx) error {
	account, second, err := m.role.accounts(tx)
	if err != nil {
		return err
	}
	cells := map[string]any{"password": nil, "staged": nil, "failure": nil}
	for column, plain := range map[string]string{"password": m.password.Reveal(), "staged": m.staged.Reveal(), "failure": m.failure} {
		if plain == "" {
			continue
		}
		if cells[column], err = tx.Seal(rotationCell(m.id, column), []byte(plain)); err != nil {
			return err
		}
	}
	_, err = tx.Exec(`INSERT INTO database_rotations (id, mount, connection, account, second_account, version, born, slot, password,
			staged, doubt, rotated_at, planned_at, due_at, claimant, claimed_until, quiet_until, attempts, failure)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
		ON CONFLICT (id) DO UPDATE SET connection = excluded.connection, account = excluded.account,
			second_account = excluded.second_account, version = excluded.version, born = excluded.born, slot = excluded.slot,
			password = excluded.password, staged = excluded.staged, doubt = excluded.doubt, rotated_at = excluded.rotated_at,
			planned_at = excluded.planned_at, due_at = excluded.due_at, claimant = excluded.claimant,
			claimed_until = excluded.claimed_until, quiet_until = excluded.quiet_until, attempts = excluded.attempts,
			failure = excluded.failure`,
		m.id, m.mount, m.connection, account, second, m.version, flag(m.born), m.slot, cells["password"], cells["staged"],
		flag(m.doubt), store.Micros(m.rotated), store.Micros(m.planned), store.Micros(m.due), m.claimant,
		store.Micros(m.claimedUntil), store.Micros(m.quietUntil), m.attempts, cells["failure"])
	return err
}

func flag(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// remove deletes both rows. The user stays in its database.
func (m *managed) remove(tx *store.Tx) error {
	if _, err := tx.Exec(`DELETE FROM database_rotations WHERE id = $1`, m.id); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM database_roles WHERE id = $1 AND kind = $2`, m.id, static)
	return err
}

// accountIndex is the blind name of a user.
func accountIndex(tx *store.Tx, username string) (string, error) {
	return tx.Index("database/rotations/account", []byte(username))
}

// accounts are the blind names of the role's users; second is empty where there is one user alone.
func (r *staticRole) accounts(tx *store.Tx) (first, second string, err error) {
	if first, err = accountIndex(tx, r.Username); err == nil && r.Second != "" {
		second, err = accountIndex(tx, r.Second)
	}
	return first, second, err
}

// user is who logs in with the present password.
func (m *managed) user() string {
	if m.slot == 1 {
		return m.role.Second
	}
	return m.role.Username
}

// target is whose the staged password is to be, or a next one: of two users, the one that is not handed out.
func (m *managed) target() string {
	switch {
	case m.role.Second == "" || m.password.Empty() || m.confirms():
		return m.user()
	case m.slot == 1:
		return m.role.Username
	}
	return m.role.Second
}

// merge takes over the fields that were named, and reports whether the rhythm changed. The name of the user is given in each
// write, and is the same in all; a second one may come later, and stays.
//
// Errors: Invalid. Source of the texts and of their order: the wire contract, "static-roles/:name".
func (r *staticRole) merge(f *engine.Fields) (replan bool, err error) {
	if f.Has("db_name") {
		r.Connection = f.Text("db_name")
	}
	made := r.Username != ""
	switch name := f.Text("username"); {
	case r.Connection == "":
		return false, errs.New(errs.Invalid, "database name is a required field")
	case r.Username == "" && name == "":
		return false, errs.New(errs.Invalid, "username is a required field to create a static account")
	case r.Username != "" && r.Username != name:
		return false, errs.New(errs.Invalid, "cannot update static account username")
	default:
		r.Username = name
	}
	if second := f.Text("second_username"); f.Has("second_username") && second != r.Second {
		switch {
		case r.Second != "":
			return false, errs.New(errs.Invalid, "cannot update static account second_username")
		case second == r.Username:
			return false, errs.New(errs.Invalid, "username and second_username have to be two users")
		}
		r.Second = second
	}
	if replan, err = r.Rhythm.merge(f); err != nil {
		return false, err
	}
	if f.Has("rotation_statements") {
		r.Statements = slices.DeleteFunc(slices.Clone(f.List("rotation_statements")), func(s string) bool { return s == "" })
	}
	kind := r.Credential.Type
	if err := r.Credential.merge(f); err != nil {
		return false, err
	}
	switch {
	case made && r.Credential.Type != kind: // what is stored is of that type
		return false, errs.New(errs.Invalid, "cannot update static account credential_type")
	case r.Credential.Type != plugins.TypePassword && !givenPassword(f).Empty():
		return false, errs.New(errs.Invalid, "password is for static accounts of credential_type %q only", plugins.TypePassword)
	}
	return replan, nil
}

// givenPassword is the user's present password as a client tells it; empty: it does not.
func givenPassword(f *engine.Fields) secret.Text {
	if f.Has("password") {
		return secret.NewText(f.Text("password"))
	}
	return secret.NewText(f.Text("self_managed_password"))
}

const countOfAccount = `SELECT COUNT(*) FROM database_rotations WHERE account = $1 OR second_account = $1`

// staticUsers are those of the names that are users of static roles of this store.
func (e *Engine) staticUsers(ctx context.Context, names []string) (users []string, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) error {
		users = nil
		for _, name := range names {
			account, err := accountIndex(tx, name)
			if err != nil {
				return err
			}
			var n int
			if err := tx.QueryRow(countOfAccount, account).Scan(&n); err != nil {
				return err
			}
			if n > 0 {
				users = append(users, name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for users of static roles: %w", err)
	}
	return users, nil
}
