package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

// The mounts that are there from the start, cannot be moved or disabled, and have nothing mounted below them.
func builtin() []*Mount {
	return []*Mount{
		{Path: "sys/", Kind: Secret, Type: "system", SealWrap: true, Description: "system endpoints used for control, policy and debugging",
			Config: MountConfig{RequestHeaders: []string{"Accept"}}},
		{Path: "cubbyhole/", Kind: Secret, Type: "cubbyhole", Local: true, Description: "per-token private secret storage"},
		{Path: "identity/", Kind: Secret, Type: "identity", Description: "identity store",
			Config: MountConfig{RequestHeaders: []string{"Authorization"}}},
		{Path: "auth/token/", Kind: Auth, Type: "token", Description: "token based credentials",
			Config: MountConfig{TokenType: "default-service"}},
	}
}

// reserved reports whether a secrets engine's path belongs to the server.
func reserved(path string) bool {
	for _, prefix := range []string{"sys/", "auth/", "cubbyhole/", "identity/"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

const (
	insertMount = `insert into mounts (uuid, path, kind, type, accessor, state, target, migration, due_at, sealed)
		values ($1, $2, $3, $4, $5, $6, '', '', null, $7)`
	selectMounts     = `select uuid, path, kind, type, accessor, state, target, sealed from mounts`
	updateMount      = `update mounts set sealed = $2 where uuid = $1`
	selectDueMounts  = `select uuid from mounts where due_at <= $1 order by due_at limit 10`
	claimMount       = `update mounts set due_at = $2 where uuid = $1 and due_at <= $3`
	hideMount        = `update mounts set state = $2, target = $3, migration = $4, due_at = $5 where uuid = $1 and state = 'live'`
	showMount        = `update mounts set state = 'live', target = '', migration = '', due_at = null where uuid = $1`
	moveMount        = `update mounts set path = target, state = 'live', target = '', migration = '', due_at = null where uuid = $1 and state = 'moving'`
	deleteMount      = `delete from mounts where uuid = $1 and state = 'retiring'`
	insertRemount    = `insert into remounts (id, source, target, status) values ($1, $2, $3, 'in-progress')`
	finishRemount    = `update remounts set status = $2 where id = (select migration from mounts where uuid = $1)`
	selectRemount    = `select source, target, status from remounts where id = $1`
	bumpGeneration   = `update broker_generation set value = value + 1 where id = 1`
	insertGeneration = `insert into broker_generation (id, value) values (1, 1)`
	selectGeneration = `select value from broker_generation where id = 1`
)

// unmountTime is how long one attempt to empty a mount may take before another node, or this one after a crash,
// takes it up again.
const unmountTime = 10 * time.Minute

func newAccessor(m *Mount) string {
	random := make([]byte, 4)
	_, _ = rand.Read(random) // never fails
	prefix := m.Type
	if m.Kind == Auth {
		prefix = "auth_" + m.Type
	}
	return prefix + "_" + hex.EncodeToString(random)
}

func mountCell(id string) store.Cell { return store.Cell{Table: "mounts", Column: "sealed", Key: id} }

// bump makes every node reload its snapshot before it decides on another request.
func bump(tx *store.Tx) error {
	_, err := tx.Exec(bumpGeneration)
	return err
}

func insertMountTx(tx *store.Tx, m *Mount) error {
	plain, err := m.encode()
	if err != nil {
		return err
	}
	sealed, err := tx.Seal(mountCell(m.UUID), plain)
	if err != nil {
		return err
	}
	_, err = tx.Exec(insertMount, m.UUID, m.Path, string(m.Kind), m.Type, m.Accessor, stateLive, sealed)
	return err
}

// readMounts reads the whole table; it has tens of rows.
func readMounts(tx *store.Tx) ([]*Mount, error) {
	type row struct {
		mount  *Mount
		sealed []byte
	}
	rows, err := collect(tx, func(scan func(...any) error) (row, error) {
		r := row{mount: &Mount{}}
		m := r.mount
		err := scan(&m.UUID, &m.Path, &m.Kind, &m.Type, &m.Accessor, &m.state, &m.targetAt, &r.sealed)
		return r, err
	}, selectMounts)
	if err != nil {
		return nil, err
	}
	all := make([]*Mount, 0, len(rows))
	for _, r := range rows {
		plain, err := tx.Open(mountCell(r.mount.UUID), r.sealed)
		if err != nil {
			return nil, fmt.Errorf("open mount %q: %w", r.mount.Path, err)
		}
		if err := r.mount.decode(plain); err != nil {
			return nil, fmt.Errorf("decode mount %q: %w", r.mount.Path, err)
		}
		all = append(all, r.mount)
	}
	return all, nil
}

func findMount(all []*Mount, path string) *Mount {
	for _, m := range all {
		if m.Path == path && m.state == stateLive {
			return m
		}
	}
	return nil
}

// taken returns the mount whose path, or the path that it moves to, overlaps path.
func taken(all []*Mount, path string) *Mount {
	for _, m := range all {
		if overlaps(m.Path, path) || (m.targetAt != "" && overlaps(m.targetAt, path)) {
			return m
		}
	}
	return nil
}

// Enable adds a mount: m's UUID and Accessor are chosen here. The engine serves it at once, on every node.
//
// Errors: Invalid with the texts of the sheet sys.md.
func (b *Broker) Enable(ctx context.Context, m *Mount) error {
	m = m.clone()
	if m.Kind == Secret && reserved(m.Path) {
		return errs.New(errs.Invalid, "cannot mount %q", m.Path)
	}
	if b.engineOf(m) == nil {
		return errs.New(errs.Invalid, "plugin not found in the catalog: %s", m.Type)
	}
	m.UUID = uuid.NewString()
	m.Accessor = newAccessor(m)
	return b.store.Update(ctx, func(tx *store.Tx) error {
		all, err := readMounts(tx)
		if err != nil {
			return fmt.Errorf("read mounts: %w", err)
		}
		if other := taken(all, m.Path); other != nil {
			return errs.New(errs.Invalid, "path is already in use at %s", other.Name())
		}
		if err := insertMountTx(tx, m); err != nil {
			return fmt.Errorf("enable %q: %w", m.Path, err)
		}
		return bump(tx)
	})
}

// Tune changes a mount's description, options and configuration. change works on a copy, may run more than once, and
// its error is passed on. A mount that is not there is NotFound, whose text the caller words.
func (b *Broker) Tune(ctx context.Context, path string, change func(*Mount) error) error {
	return b.store.Update(ctx, func(tx *store.Tx) error {
		all, err := readMounts(tx)
		if err != nil {
			return fmt.Errorf("read mounts: %w", err)
		}
		found := findMount(all, path)
		if found == nil {
			return errs.New(errs.NotFound, "no mount at %q", path)
		}
		m := found.clone()
		if err := change(m); err != nil {
			return err
		}
		plain, err := m.encode()
		if err != nil {
			return err
		}
		sealed, err := tx.Seal(mountCell(m.UUID), plain)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(updateMount, m.UUID, sealed); err != nil {
			return fmt.Errorf("tune %q: %w", path, err)
		}
		return bump(tx)
	})
}

// Disable removes a mount with all that it issued and stores: hidden at once, then its leases and tokens are revoked,
// then the engine's rows go, then the entry. When a lease cannot be revoked the mount stays and is shown again. When it is the store
// that fails, the mount stays hidden, and is finished later.
// Nothing mounted there is no error.
func (b *Broker) Disable(ctx context.Context, kind Kind, path string) error {
	switch {
	case kind == Secret && reserved(path):
		return errs.New(errs.Invalid, "cannot unmount %q", path)
	case path == "auth/token/":
		return errs.New(errs.Invalid, "token credential backend cannot be disabled")
	}
	id, err := b.hide(ctx, path, "", "")
	if err != nil || id == "" {
		return err
	}
	return b.finishNow(ctx, id)
}

// finishNow empties a mount that this request has hidden. One whose leases cannot be revoked is shown again before the client is told
// so: a refusal has changed nothing. Any other failure leaves the mount as it is, partly emptied perhaps, and the client does not know.
func (b *Broker) finishNow(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), unmountTime, errUnmountTime)
	defer cancel()
	// Crash: the mount is hidden and its row due; Reap, on any node, goes on with it.
	err := b.finish(ctx, id)
	if errs.From(err) == nil {
		return err
	}
	if failed := b.show(context.WithoutCancel(ctx), id); failed != nil {
		return fmt.Errorf("show a mount again that could not be emptied (%s): %w", err, failed)
	}
	return err
}

var errUnmountTime = fmt.Errorf("emptying a mount took longer than %s", unmountTime)

// hide takes a live mount out of service, due to be retired, or moved when target is given. It returns "" when there
// is none at path.
func (b *Broker) hide(ctx context.Context, path, target, migration string) (id string, err error) {
	err = b.store.Update(ctx, func(tx *store.Tx) error {
		id = ""
		all, err := readMounts(tx)
		if err != nil {
			return fmt.Errorf("read mounts: %w", err)
		}
		m := findMount(all, path)
		if m == nil {
			return nil
		}
		state := stateRetiring
		if target != "" {
			if other := taken(all, target); other != nil {
				return errs.New(errs.Invalid, "path already in use at %q", other.Path)
			}
			state = stateMoving
			if _, err := tx.Exec(insertRemount, migration, path, target); err != nil {
				return fmt.Errorf("record the migration: %w", err)
			}
		}
		if _, err := tx.Exec(hideMount, m.UUID, state, target, migration, store.Micros(tx.Now().Add(unmountTime))); err != nil {
			return fmt.Errorf("hide %q: %w", path, err)
		}
		id = m.UUID
		return bump(tx)
	})
	return id, err
}

// finish empties a hidden mount and then retires or moves it. It can be repeated: every step is idempotent.
func (b *Broker) finish(ctx context.Context, id string) error {
	var m *Mount
	err := b.store.View(ctx, func(tx *store.Tx) error {
		all, err := readMounts(tx)
		for _, each := range all {
			if each.UUID == id && each.state != stateLive {
				m = each
			}
		}
		return err
	})
	if err != nil || m == nil {
		return err
	}
	if err := b.empty(ctx, m); err != nil {
		return err
	}
	return b.store.Update(ctx, func(tx *store.Tx) error {
		if m.state == stateMoving {
			if _, err := tx.Exec(finishRemount, id, "success"); err != nil {
				return fmt.Errorf("finish the migration of %q: %w", m.Path, err)
			}
			if _, err := tx.Exec(moveMount, id); err != nil {
				return fmt.Errorf("move %q: %w", m.Path, err)
			}
			return bump(tx)
		}
		if _, err := tx.Exec(deleteMount, id); err != nil {
			return fmt.Errorf("delete mount %q: %w", m.Path, err)
		}
		return bump(tx)
	})
}

// empty revokes what the mount has issued, and removes its rows when it is to go. Leases come first: they need the
// rows of the engine.
func (b *Broker) empty(ctx context.Context, m *Mount) error {
	if err := b.revokeLeases(ctx, m); err != nil {
		return err
	}
	if m.Kind == Auth {
		if err := b.tokens.RevokeMount(ctx, m.Path); err != nil {
			return fmt.Errorf("revoke tokens of %q: %w", m.Path, err)
		}
	}
	if m.state == stateMoving {
		return nil
	}
	if unmounter, ok := b.engineOf(m).(engine.Unmounter); ok {
		if err := unmounter.Unmount(ctx, b.view(m)); err != nil {
			return fmt.Errorf("remove what is stored for %q: %w", m.Path, err)
		}
	}
	return nil
}

// revokeLeases returns when the hidden mount has no lease.
//
// A request that was on its way may write its intent while this looks. Serialisable transactions alone do not forbid that:
// they may be put in an order in which it came first. That the last look reads the mount's row, too, does: an intent that
// took the mount for live then comes before the hiding, and so before this look, which would have seen it.
func (b *Broker) revokeLeases(ctx context.Context, m *Mount) error {
	for {
		if err := b.leases.RevokeMount(ctx, m.UUID); err != nil {
			if shown := errs.From(err); shown != nil {
				return errs.New(errs.Invalid, "failed to revoke leases of %q: %s", m.Name(), shown.Text).Because(err)
			}
			return fmt.Errorf("revoke leases of %q: %w", m.Name(), err)
		}
		left := false
		err := b.store.Update(ctx, func(tx *store.Tx) error {
			if _, err := b.MountLive(tx, m.UUID); err != nil {
				return err
			}
			var err error
			left, err = b.leases.HasMount(tx, m.UUID)
			return err
		})
		if err != nil {
			return fmt.Errorf("look for leases of %q: %w", m.Name(), err)
		}
		if !left {
			return nil
		}
	}
}

// show puts a hidden mount back into service where it was.
func (b *Broker) show(ctx context.Context, id string) error {
	return b.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(finishRemount, id, "failure"); err != nil {
			return err
		}
		if _, err := tx.Exec(showMount, id); err != nil {
			return err
		}
		return bump(tx)
	})
}

// Migration is a mount's move.
type Migration struct {
	ID     string
	Source string
	Target string
	Status string // in-progress, success, failure
}

// Remount moves a mount. Its leases and tokens are revoked, its rows move along. It answers when the move is over;
// how it ended is in [Broker.Migration].
func (b *Broker) Remount(ctx context.Context, source, target string) (string, error) {
	sourceAuth, targetAuth := strings.HasPrefix(source, "auth/"), strings.HasPrefix(target, "auth/")
	switch {
	case sourceAuth && !targetAuth:
		return "", errs.New(errs.Invalid, "cannot remount auth mount to non-auth mount %q", target)
	case !sourceAuth && targetAuth:
		return "", errs.New(errs.Invalid, "cannot remount non-auth mount to auth mount %q", target)
	case source == "auth/token/", !sourceAuth && reserved(source):
		return "", errs.New(errs.Invalid, "cannot remount %q", source)
	case !targetAuth && reserved(target):
		return "", errs.New(errs.Invalid, "cannot remount to %q", target)
	}
	migration := uuid.NewString()
	id, err := b.hide(ctx, source, target, migration)
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", errs.New(errs.Invalid, "no matching mount at %q", source)
	}
	if err := b.finishNow(ctx, id); err != nil {
		b.log.Error("a mount was not moved", "mount", source, "error", err)
	}
	return migration, nil
}

// Migration tells how a move ended, or nil when there was none of that id.
func (b *Broker) Migration(ctx context.Context, id string) (*Migration, error) {
	m := &Migration{ID: id}
	err := b.store.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(selectRemount, id).Scan(&m.Source, &m.Target, &m.Status)
	})
	if isNoRow(err) {
		return nil, nil
	}
	return m, err
}

// finishDue takes up mounts that were hidden by a process that did not come to an end with them. A target that hangs must
// not hold up the caller, so each goes on behind it; the claim keeps all nodes from the same one.
func (b *Broker) finishDue(ctx context.Context) error {
	var due []string
	err := b.store.View(ctx, func(tx *store.Tx) error {
		var err error
		due, err = collect(tx, scanText, selectDueMounts, store.Micros(tx.Now()))
		return err
	})
	if err != nil {
		return fmt.Errorf("look for hidden mounts: %w", err)
	}
	for _, id := range due {
		var claimed int64
		err := b.store.Update(ctx, func(tx *store.Tx) error {
			now := tx.Now()
			var err error
			claimed, err = tx.Exec(claimMount, id, store.Micros(now.Add(unmountTime)), store.Micros(now))
			return err
		})
		if err != nil {
			return fmt.Errorf("claim a hidden mount: %w", err)
		}
		if claimed == 1 {
			b.emptying.Go(func() { // a refusal leaves it hidden: nobody waits who could be told
				ctx, cancel := context.WithTimeoutCause(ctx, unmountTime, errUnmountTime)
				defer cancel()
				if err := b.finish(ctx, id); err != nil {
					b.log.Error("a hidden mount was not emptied", "mount_uuid", id, "error", err)
				}
			})
		}
	}
	return nil
}
