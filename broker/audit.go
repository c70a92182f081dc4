package broker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"leasehold/audit"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store"
)

// AuditDevice is one entry of the table of audit devices.
type AuditDevice struct {
	Path        string // with a trailing slash
	Type        string
	Description string
	Local       bool // kept and shown
	Options     map[string]string

	id  string // chosen once: a path may be used again by another device
	key secret.Bytes
}

// deviceRow is what is stored, sealed, of a device.
type deviceRow struct {
	ID          string
	Type        string
	Description string            `json:",omitempty"`
	Local       bool              `json:",omitempty"`
	Options     map[string]string `json:",omitempty"`
	Key         []byte
}

// deviceKeySize is the size in bytes of the key of a device's hashes.
const deviceKeySize = 32

const (
	selectDevices = `select path, sealed from audit_devices order by path`
	insertDevice  = `insert into audit_devices (path, sealed) values ($1, $2)`
	deleteDevice  = `delete from audit_devices where path = $1`
)

func deviceCell(path string) store.Cell {
	return store.Cell{Table: "audit_devices", Column: "sealed", Key: path}
}

func readDevices(tx *store.Tx) ([]AuditDevice, error) {
	type row struct {
		path   string
		sealed []byte
	}
	rows, err := collect(tx, func(scan func(...any) error) (row, error) {
		var r row
		err := scan(&r.path, &r.sealed)
		return r, err
	}, selectDevices)
	if err != nil {
		return nil, err
	}
	all := make([]AuditDevice, 0, len(rows))
	for _, r := range rows {
		plain, err := tx.Open(deviceCell(r.path), r.sealed)
		if err != nil {
			return nil, fmt.Errorf("open audit device %q: %w", r.path, err)
		}
		var d deviceRow
		if err := json.Unmarshal(plain, &d); err != nil {
			return nil, fmt.Errorf("decode audit device %q: %w", r.path, err)
		}
		all = append(all, AuditDevice{
			Path: r.path, Type: d.Type, Description: d.Description, Local: d.Local, Options: d.Options, id: d.ID, key: secret.NewBytes(d.Key),
		})
	}
	return all, nil
}

// AuditDevices are the devices, by path.
func (b *Broker) AuditDevices() []AuditDevice { return b.held().devices }

// AuditHash is how the device at path shows a text. Errors: Invalid (unknown device, empty text).
func (b *Broker) AuditHash(path, text string) (string, error) { return b.audit.Hash(path, text) }

// ReopenAudit opens the files of audit devices again, after they were moved away.
func (b *Broker) ReopenAudit() error { return b.audit.Reopen() }

// EnableAudit adds a device after it has taken a test line. It takes the lines of every request from then on, the
// response line of the present one included.
//
// Errors: Invalid (the settings do not allow it; the path is taken; the device does not work).
func (b *Broker) EnableAudit(ctx context.Context, d AuditDevice) error {
	if !b.cfg.Settings.APIAudit {
		return errs.New(errs.Invalid, "audit devices cannot be enabled through the API: see unsafe_allow_api_audit_creation")
	}
	if d.Options["prefix"] != "" && !b.cfg.Settings.AuditPrefix {
		return errs.New(errs.Invalid, "audit devices cannot have a prefix: see allow_audit_log_prefixing")
	}
	if deviceTaken(b.held().devices, d.Path) {
		return errPathInUse()
	}
	row := deviceRow{
		ID: uuid.NewString(), Type: d.Type, Description: d.Description, Local: d.Local, Options: d.Options, Key: make([]byte, deviceKeySize),
	}
	_, _ = rand.Read(row.Key) // never fails
	if err := b.tryDevice(ctx, row); err != nil {
		return err
	}
	plain, err := json.Marshal(row)
	if err != nil {
		return err
	}
	err = b.store.Update(ctx, func(tx *store.Tx) error {
		present, err := readDevices(tx)
		if err != nil {
			return fmt.Errorf("read audit devices: %w", err)
		}
		if deviceTaken(present, d.Path) {
			return errPathInUse()
		}
		sealed, err := tx.Seal(deviceCell(d.Path), plain)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(insertDevice, d.Path, sealed); err != nil {
			return fmt.Errorf("enable audit device %q: %w", d.Path, err)
		}
		return bump(tx)
	})
	if err != nil {
		return err
	}
	return b.refresh(ctx)
}

func errPathInUse() error { return errs.New(errs.Invalid, "path already in use") }

func deviceTaken(devices []AuditDevice, path string) bool {
	return slices.ContainsFunc(devices, func(d AuditDevice) bool { return overlaps(d.Path, path) })
}

// tryDevice opens the device once, for its test line.
func (b *Broker) tryDevice(ctx context.Context, row deviceRow) error {
	device, err := audit.New(row.Type, row.Options, secret.NewBytes(row.Key))
	if err != nil {
		return err
	}
	return errors.Join(device.Check(ctx, uuid.NewString(), b.clock.Now()), device.Close())
}

// DisableAudit removes a device; one that is not there is no error.
func (b *Broker) DisableAudit(ctx context.Context, path string) error {
	err := b.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(deleteDevice, path); err != nil {
			return fmt.Errorf("disable audit device %q: %w", path, err)
		}
		return bump(tx)
	})
	if err != nil {
		return err
	}
	return b.refresh(ctx)
}

// openDevices makes this node's audit devices those of the snapshot, when it is newer than the one that they are of. No
// request goes on before: its lines belong to the devices of the configuration that it was admitted under, or to newer
// ones.
func (b *Broker) openDevices(ctx context.Context, s *snapshot) error {
	if b.audited.Load() >= s.generation {
		return nil
	}
	select { // not a mutex: closing a device waits for the lines on their way to it
	case b.auditTurn <- struct{}{}:
		defer func() { <-b.auditTurn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if b.audited.Load() >= s.generation {
		return nil
	}
	wanted := map[string]string{}
	for _, d := range s.devices {
		wanted[d.Path] = d.id
	}
	for path, id := range b.devices {
		if wanted[path] != id {
			if err := b.audit.Disable(path); err != nil {
				b.log.Error("a disabled audit device did not close", "path", path, "error", err)
			}
			delete(b.devices, path)
		}
	}
	for _, d := range s.devices {
		if _, open := b.devices[d.Path]; open {
			continue
		}
		device, err := audit.New(d.Type, d.Options, d.key)
		if err == nil {
			err = b.audit.Enable(d.Path, device)
		}
		if err != nil {
			return fmt.Errorf("open audit device %q: %w", d.Path, err)
		}
		b.devices[d.Path] = d.id
	}
	b.audit.SetHeaders(s.headers)
	b.audited.Store(s.generation)
	return nil
}

// closeDevices ends all audit devices: the store is sealed.
func (b *Broker) closeDevices() {
	b.auditTurn <- struct{}{}
	defer func() { <-b.auditTurn }()
	b.audited.Store(0)
	clear(b.devices)
	if err := b.audit.Close(); err != nil {
		b.log.Error("an audit device did not close", "error", err)
	}
}
