package transit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

// backup is a key with all its versions, as it is carried from store to store.
type backup struct {
	Format   int                    `json:"format"`
	Name     string                 `json:"name"`
	Settings settings               `json:"settings"`
	Versions map[int]storedMaterial `json:"versions"`
}

const backupFormat = 1

// backupKey shows a key with all its versions in one text. Source: recording transit-export.
func (e *Engine) backupKey(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := f.Text("name")
	var b backup
	err := e.update(ctx, r.Mount, func(s shelf) error {
		k, err := s.find(name)
		switch {
		case err != nil:
			return err
		case k == nil:
			return errs.Framed(errs.Fault, "key %q not found", name)
		case !k.Exportable:
			return errs.Framed(errs.Fault, "exporting is disallowed on the policy")
		case !k.PlaintextBackup:
			return errs.Framed(errs.Fault, "plaintext backup is disallowed on the policy")
		}
		k.BackedUp = &moment{At: store.Micros(s.Now()), Version: k.Latest}
		if err := s.update(k); err != nil {
			return err
		}
		versions, err := s.materials(k, 1, k.Latest)
		if err != nil {
			return err
		}
		b = backup{Format: backupFormat, Name: k.name, Settings: k.settings, Versions: map[int]storedMaterial{}}
		for _, v := range versions {
			b.Versions[v.number] = v.stored()
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("back a key up: %w", err)
	}
	encoded, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode a backup: %w", err)
	}
	return &engine.Response{Data: map[string]any{"backup": base64.StdEncoding.EncodeToString(encoded)}}, nil
}

// keyName is what a key can be called: what the paths take.
var keyName = regexp.MustCompile(`^\w([\w.-]*\w)?$`)

var errBackup = errs.Framed(errs.Fault, "the backup is damaged, or not one of this program")

// readBackup reads a backup, and checks that everything in it can be used.
//
// Errors: Fault.
func (e *Engine) readBackup(text string) (*key, map[int]material, error) {
	encoded, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, nil, errs.Framed(errs.Fault, "%s", err) // it tells the place alone
	}
	var b backup
	if json.Unmarshal(encoded, &b) != nil || b.Format != backupFormat {
		return nil, nil, errBackup
	}
	k := &key{name: b.Name, settings: b.Settings}
	first := max(k.MinAvailable, 1)
	if k.algorithm() == nil || k.check() != nil || e.setRotation(k, k.RotatePeriod, k.RotateSchedule) != nil || k.MinAvailable < 0 || k.MinDecryption < first || k.MinDecryption > k.Latest ||
		k.MinEncryption > k.Latest || (k.MinEncryption != 0 && k.MinEncryption < k.MinDecryption) ||
		len(b.Versions) != k.Latest-first+1 {
		return nil, nil, errBackup
	}
	versions := make(map[int]material, len(b.Versions))
	for number, stored := range b.Versions {
		m, err := k.complete(number, stored.material())
		if number < first || number > k.Latest || err != nil {
			return nil, nil, errBackup
		}
		versions[number] = m
	}
	return k, versions, nil
}

// restore makes a key of a backup, under the name in the path or the one that it had. Source: recording transit-export.
func (e *Engine) restore(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	text := f.Text("backup")
	if text == "" {
		return nil, errs.New(errs.Invalid, "'backup' must be supplied")
	}
	saved, versions, err := e.readBackup(text)
	if err != nil {
		return nil, err
	}
	if name := f.Text("name"); name != "" {
		saved.name = name
	}
	if !keyName.MatchString(saved.name) {
		return nil, errs.New(errs.Invalid, "the backup's name cannot be that of a key; restore it with a name in the path")
	}
	err = e.update(ctx, r.Mount, func(s shelf) error {
		k := *saved
		old, err := s.find(k.name)
		switch {
		case err != nil:
			return err
		case old != nil && !f.Bool("force"):
			return errs.Framed(errs.Fault, "key %q already exists", k.name)
		case old != nil:
			if _, err := s.Exec(deleteKey, old.id); err != nil {
				return err
			}
		}
		if k.id, err = s.id(k.name); err != nil {
			return err
		}
		k.stamp = newStamp()
		k.Restored = &moment{At: store.Micros(s.Now()), Version: k.Latest}
		if err := s.insertKey(&k); err != nil {
			return err
		}
		for number, m := range versions {
			if err := s.putMaterial(&k, number, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("restore a key: %w", err)
	}
	return nil, nil
}
