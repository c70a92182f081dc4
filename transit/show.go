package transit

import (
	"crypto/ed25519"
	"encoding/base64"
	"strconv"
	"time"

	"leasehold/engine"
	"leasehold/store"
)

// show is a key as its own path answers it. context shows the public keys that a derived key has for it.
//
// Source: the sheet on transit, "Key object".
func (s shelf) show(k *key, context []byte) (*engine.Response, error) {
	a := k.algorithm()
	data := map[string]any{
		"name": k.name, "type": k.Type, "derived": k.Derived, "deletion_allowed": k.DeletionAllowed,
		"min_available_version": k.MinAvailable, "min_decryption_version": k.MinDecryption,
		"min_encryption_version": k.MinEncryption, "latest_version": k.Latest,
		"exportable": k.Exportable, "allow_plaintext_backup": k.PlaintextBackup,
		"supports_encryption": a.encrypts, "supports_decryption": a.encrypts, "supports_signing": a.signs,
		"supports_derivation": a.derives, "auto_rotate_period": int64(k.RotatePeriod / time.Second),
		"imported_key": k.Imported, "soft_deleted": k.SoftDeleted,
	}
	if k.RotateSchedule != "" {
		data["auto_rotate_schedule"] = k.RotateSchedule
	}
	if k.KeySize > 0 {
		data["key_size"] = k.KeySize
	}
	if k.ParameterSet != "" {
		data["parameter_set"] = k.ParameterSet
	}
	if k.Imported {
		data["imported_key_allow_rotation"] = k.AllowRotation
	}
	if k.Derived {
		data["kdf"] = "hkdf_sha256"
		data["convergent_encryption"] = k.Convergent
	}
	if k.Convergent {
		data["convergent_encryption_version"] = -1 // each version has the newest scheme
	}
	if k.BackedUp != nil {
		data["backup_info"] = k.BackedUp.show()
	}
	if k.Restored != nil {
		data["restore_info"] = k.Restored.show()
	}
	if k.Type == hmacAlgorithm {
		return &engine.Response{Data: data}, nil
	}
	versions, err := s.materials(k, k.MinDecryption, k.Latest)
	if err != nil {
		return nil, err
	}
	shown := make(map[string]any, len(versions))
	for _, v := range versions {
		if shown[strconv.Itoa(v.number)], err = k.showVersion(v, context); err != nil {
			return nil, err
		}
	}
	data["keys"] = shown
	return &engine.Response{Data: data}, nil
}

func (m *moment) show() map[string]any {
	return map[string]any{"time": stamp(store.Time(m.At)), "version": m.Version}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// showVersion is a version as the object of its key lists it.
func (k *key) showVersion(v numbered, context []byte) (any, error) {
	if k.algorithm().symmetric() {
		return v.created.Unix(), nil
	}
	public, err := k.showPublic(v, context)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"name": k.algorithm().label, "public_key": public, "creation_time": stamp(v.created), "certificate_chain": v.chain,
	}, nil
}

// showPublic is the public key of a version in the form of its type. A derived key has one for each context; without a
// context it is empty.
func (k *key) showPublic(v numbered, context []byte) (string, error) {
	switch {
	case k.Type != ed25519Algorithm:
		return armour("PUBLIC KEY", v.public), nil
	case k.Derived && len(context) == 0:
		return "", nil
	}
	opened, err := k.open(v.number, v.material)
	if err != nil {
		return "", err
	}
	if k.Derived {
		pair, err := opened.derivePair(context)
		if err != nil {
			return "", err
		}
		return publicBytes(pair), nil
	}
	public, _ := opened.public.(ed25519.PublicKey)
	return base64.StdEncoding.EncodeToString(public), nil
}
