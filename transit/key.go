package transit

import (
	"encoding/json"
	"errors"
	"time"

	"leasehold/internal/errs"
)

// settings are what a key has beside its versions; sealed in its row.
type settings struct {
	Type            string        `json:"type"`
	ParameterSet    string        `json:"parameter_set,omitempty"`
	KeySize         int           `json:"key_size,omitempty"` // bytes; only types whose keys have a size of their own
	Derived         bool          `json:"derived,omitempty"`
	Convergent      bool          `json:"convergent,omitempty"`
	Exportable      bool          `json:"exportable,omitempty"`
	PlaintextBackup bool          `json:"plaintext_backup,omitempty"`
	DeletionAllowed bool          `json:"deletion_allowed,omitempty"`
	SoftDeleted     bool          `json:"soft_deleted,omitempty"`
	Imported        bool          `json:"imported,omitempty"`       // the newest version was made elsewhere
	AllowRotation   bool          `json:"allow_rotation,omitempty"` // of an imported key
	RotatePeriod    time.Duration `json:"rotate_period,omitempty"`  // zero: not by itself, unless there is a schedule
	RotateSchedule  string        `json:"rotate_schedule,omitempty"`
	Latest          int           `json:"latest"`
	LatestAt        int64         `json:"latest_at"`                // when the newest version was made
	MinDecryption   int           `json:"min_decryption"`           // 1 or more
	MinEncryption   int           `json:"min_encryption,omitempty"` // 0: the newest
	MinAvailable    int           `json:"min_available,omitempty"`  // older versions are gone; 0: none is
	BackedUp        *moment       `json:"backed_up,omitempty"`
	Restored        *moment       `json:"restored,omitempty"`
}

// moment is when something was done, and what version was the newest then.
type moment struct {
	At      int64 `json:"at"`
	Version int   `json:"version"`
}

// key is a key without its versions. One that came from a View is shared, and is not changed.
type key struct {
	settings
	id    string // of its row
	name  string
	stamp string // random, another one after each change
}

func (k *key) algorithm() *algorithm { return algorithms[[2]string{k.Type, k.ParameterSet}] }

// encodeSettings and decodeSettings are the stored form.
func encodeSettings(v any) ([]byte, error) { return json.Marshal(v) }

func decodeSettings(stored []byte, into any) error {
	if json.Unmarshal(stored, into) != nil {
		return errors.New("stored settings are not JSON") // the decoder's error could quote them
	}
	return nil
}

// The refusals of versions. Source: recording transit-encrypt.
var (
	errVersionOld = errs.New(errs.Invalid, "requested version for encryption is less than the minimum encryption key version")
	errVersionNew = errs.New(errs.Invalid, "requested version for encryption is higher than the latest key version")
	errTooOld     = errs.New(errs.Invalid, "ciphertext or signature version is disallowed by policy (too old)")
)

// oldestUsed is the oldest version that may still make something.
func (k *key) oldestUsed() int { return max(k.MinEncryption, k.MinDecryption, k.MinAvailable, 1) }

// encryptionVersion is the version that a request to encrypt means; 0: the newest.
//
// Errors: Invalid (not allowed or not there).
func (k *key) encryptionVersion(asked int) (int, error) {
	switch {
	case asked == 0:
		return k.Latest, nil
	case asked < k.oldestUsed():
		return 0, errVersionOld
	case asked > k.Latest:
		return 0, errVersionNew
	}
	return asked, nil
}
