package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"leasehold/store"
)

// Setting is a kind of small configuration object that an operator writes below sys/. Each is stored sealed as
// KIND/NAME, and decoded by who asks for it.
type Setting string

// The kinds. A kind that has one object only names it "".
const (
	SettingCORS          Setting = "cors"
	SettingUIHeader      Setting = "ui-header"
	SettingAuditedHeader Setting = "audited-header"
	SettingPassword      Setting = "password-policy"
	SettingRotation      Setting = "rotation"
	SettingPlugin        Setting = "plugin"
	settingCluster       Setting = "cluster"
)

// CORS is which browser origins may talk to the server.
type CORS struct {
	Enabled          bool
	AllowedOrigins   []string // or the single item "*"
	AllowedHeaders   []string // beside the standard ones
	AllowCredentials bool
}

// UIHeader is an additional header of the console's answers.
type UIHeader struct{ Values []string }

// AuditedHeader is a request header that audit entries carry.
type AuditedHeader struct{ Hash bool }

// Plugin is a program that was registered: one of its versions. It is named [PluginName].
type Plugin struct {
	Command string   // below the server's directory of plugins
	Args    []string // may be nil
	Env     []string // NAME=value; may hold secrets, and is never shown
	SHA256  string   // of the program, in hexadecimal
}

// PluginName is what a registered plugin's setting is named: kind such as "database", and version may be empty.
func PluginName(kind, name, version string) string { return kind + "/" + name + "/" + version }

// Rotation is when a data key is added by itself. Interval 0: never. MaxOperations is kept and shown: keys of the
// suite in use do not wear out.
type Rotation struct {
	Enabled       bool
	Interval      time.Duration
	MaxOperations int64
}

// cluster is who this installation is, chosen at initialisation.
type cluster struct{ ID, Name string }

func (s Setting) row(name string) string { return string(s) + "/" + name }

func settingCell(row string) store.Cell {
	return store.Cell{Table: "settings", Column: "sealed", Key: row}
}

const (
	selectSetting      = `select sealed from settings where name = $1`
	selectSettingNames = `select name from settings where name >= $1 and name < $2 order by name`
	selectSettings     = `select name, sealed from settings where name >= $1 and name < $2 order by name`
	upsertSetting      = `insert into settings (name, sealed) values ($1, $2) on conflict (name) do update set sealed = excluded.sealed`
	deleteSetting      = `delete from settings where name = $1`
)

// span is the range of the kind's rows.
func (s Setting) span() (from, to string) { return string(s) + "/", string(s) + "0" }

// Setting decodes the object into value and reports whether there is one.
func (b *Broker) Setting(ctx context.Context, kind Setting, name string, value any) (found bool, err error) {
	err = b.store.View(ctx, func(tx *store.Tx) error {
		found, err = settingTx(tx, kind, name, value)
		return err
	})
	return found, err
}

func settingTx(tx *store.Tx, kind Setting, name string, value any) (bool, error) {
	var sealed []byte
	row := kind.row(name)
	err := tx.QueryRow(selectSetting, row).Scan(&sealed)
	if errors.Is(err, store.ErrNoRow) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read setting %q: %w", row, err)
	}
	return true, openSetting(tx, row, sealed, value)
}

func openSetting(tx *store.Tx, row string, sealed []byte, value any) error {
	plain, err := tx.Open(settingCell(row), sealed)
	if err != nil {
		return fmt.Errorf("open setting %q: %w", row, err)
	}
	if err := json.Unmarshal(plain, value); err != nil {
		return fmt.Errorf("decode setting %q: %w", row, err)
	}
	return nil
}

// SettingNames are the names of the kind's objects, sorted.
func (b *Broker) SettingNames(ctx context.Context, kind Setting) ([]string, error) {
	var names []string
	from, to := kind.span()
	err := b.store.View(ctx, func(tx *store.Tx) error {
		var err error
		names, err = collect(tx, scanText, selectSettingNames, from, to)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list settings %q: %w", kind, err)
	}
	for i, row := range names {
		names[i] = strings.TrimPrefix(row, from)
	}
	return names, nil
}

// PutSetting stores the object. It is in force, on every node, when PutSetting returns.
func (b *Broker) PutSetting(ctx context.Context, kind Setting, name string, value any) error {
	return b.store.Update(ctx, func(tx *store.Tx) error {
		if err := putSettingTx(tx, kind, name, value); err != nil {
			return err
		}
		return bump(tx)
	})
}

func putSettingTx(tx *store.Tx, kind Setting, name string, value any) error {
	row := kind.row(name)
	plain, err := json.Marshal(value)
	if err != nil {
		return err
	}
	sealed, err := tx.Seal(settingCell(row), plain)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(upsertSetting, row, sealed); err != nil {
		return fmt.Errorf("write setting %q: %w", row, err)
	}
	return nil
}

// DeleteSetting removes the object; one that is not there is no error.
func (b *Broker) DeleteSetting(ctx context.Context, kind Setting, name string) error {
	return b.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(deleteSetting, kind.row(name)); err != nil {
			return fmt.Errorf("delete setting %q: %w", kind.row(name), err)
		}
		return bump(tx)
	})
}

// eachSetting calls fn with every object of the kind; decode reads the object.
func eachSetting(tx *store.Tx, kind Setting, fn func(name string, decode func(any) error) error) error {
	type row struct {
		name   string
		sealed []byte
	}
	from, to := kind.span()
	rows, err := collect(tx, func(scan func(...any) error) (row, error) {
		var r row
		err := scan(&r.name, &r.sealed)
		return r, err
	}, selectSettings, from, to)
	if err != nil {
		return fmt.Errorf("read settings %q: %w", kind, err)
	}
	for _, r := range rows {
		decode := func(value any) error { return openSetting(tx, r.name, r.sealed, value) }
		if err := fn(strings.TrimPrefix(r.name, from), decode); err != nil {
			return err
		}
	}
	return nil
}
