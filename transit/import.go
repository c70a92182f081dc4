package transit

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/pem"
	"fmt"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

func badImport(format string, args ...any) error {
	return errs.Framed(errs.Fault, "error importing key: "+format, args...)
}

// fits reports whether a public key is one of the type.
func (a *algorithm) fits(public crypto.PublicKey) bool {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() == a.bits
	case *ecdsa.PublicKey:
		return public.Curve == a.curve
	case ed25519.PublicKey:
		return a.name == ed25519Algorithm
	case *latticePublic:
		return public.lattice == a.lattice
	}
	return false
}

// complete checks that material from elsewhere can be used by its key, and adds the public key of a pair.
//
// Errors: Fault.
func (k *key) complete(number int, m material) (material, error) {
	a, bare := k.algorithm(), m.secret.Reveal()
	switch {
	case a.name == hmacAlgorithm:
		if len(bare) < minKeySize || len(bare) > maxKeySize {
			return m, badImport("invalid key size %d bytes for key type %s", len(bare), k.Type)
		}
		return m, nil
	case len(m.hmac.Reveal()) == 0:
		return m, badImport("there is no key for HMACs")
	case a.symmetric():
		if len(bare) != a.keyBytes {
			return m, badImport("invalid key size %d bytes for key type %s", len(bare), k.Type)
		}
		return m, nil
	case len(bare) == 0 && k.Derived:
		return m, badImport("a derived key needs its private part")
	}
	v, err := k.open(number, m)
	if err != nil {
		// A parser's words could hold bytes of a key that is of another kind than it was said to be.
		return m, badImport("error parsing asymmetric key: it has to be PKCS #8, DER, of type %s", k.Type)
	}
	if !a.fits(v.public) {
		return m, badImport("the key is not of type %s", k.Type)
	}
	public, err := encodePublicKey(v.public)
	if err != nil {
		return m, err
	}
	if len(m.public) > 0 && !bytes.Equal(m.public, public) {
		return m, badImport("the public key is not that of the pair")
	}
	m.public = public
	return m, nil
}

// parsePublic reads the PEM form of a public key. Errors: Fault.
func (k *key) parsePublic(text string) (material, error) {
	a := k.algorithm()
	if a.symmetric() {
		return material{}, errs.Framed(errs.Fault, "provided type does not support public_key import")
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return material{}, badImport("error parsing public key: not in PEM format")
	}
	public, err := parsePublicKey(block.Bytes)
	if err != nil {
		return material{}, badImport("error parsing public key: %s", err)
	}
	if !a.fits(public) {
		return material{}, badImport("the public key is not of type %s", k.Type)
	}
	m := a.wrap(secret.Bytes{})
	if m.public, err = encodePublicKey(public); err != nil {
		return material{}, err
	}
	return k.complete(1, m)
}

// readImport reads the key material of a request to import. Errors: Invalid, Fault.
func (e *Engine) readImport(ctx context.Context, r *engine.Request, f *engine.Fields, k *key) (material, error) {
	h, err := oaepHash(f.Text("hash_function"))
	if err != nil {
		return material{}, err
	}
	wrapped, public := f.Text("ciphertext"), f.Text("public_key")
	switch {
	case wrapped != "" && public != "":
		return material{}, errs.Framed(errs.Fault, "only one of the following fields, ciphertext and public_key, can be set")
	case wrapped == "":
		return k.parsePublic(public)
	}
	pair, err := e.wrappingPair(ctx, r.Mount)
	if err != nil {
		return material{}, err
	}
	key, err := unwrap(pair, h, wrapped)
	if err != nil {
		return material{}, err
	}
	m := k.algorithm().wrap(key)
	if k.Type == hmacAlgorithm {
		k.KeySize = len(key.Reveal())
	}
	return k.complete(1, m)
}

// importKey makes a key of material from elsewhere. Source: recording transit-import.
func (e *Engine) importKey(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	k := &key{name: f.Text("name"), settings: settings{
		Type: f.Text("type"), ParameterSet: f.Text("parameter_set"), Derived: f.Bool("derived"),
		Exportable: f.Bool("exportable"), PlaintextBackup: f.Bool("allow_plaintext_backup"),
		Imported: true, AllowRotation: f.Bool("allow_rotation"),
	}}
	if k.Type == "" {
		k.Type = defaultAlgorithm
	}
	if k.algorithm() == nil {
		if sets := parameterSets(k.Type); len(sets) > 0 {
			return nil, errParameterSet(k.Type, sets)
		}
		return nil, errs.New(errs.Invalid, "unknown key type: %s", k.Type)
	}
	if _, err := oaepHash(f.Text("hash_function")); err != nil {
		return nil, err
	}
	if err := e.setRotation(k, f.Duration("auto_rotate_period"), f.Text("auto_rotate_schedule")); err != nil {
		return nil, err
	}
	if k.rotates() && !k.AllowRotation {
		return nil, errs.Framed(errs.Fault, "allow_rotation must be set to true if auto-rotation is enabled")
	}
	taken := errs.Framed(errs.Fault, "the import path cannot be used with an existing key; use import-version to rotate an existing imported key")
	if found, err := e.keyExists(ctx, r, f); found || err != nil {
		if found {
			err = taken
		}
		return nil, err
	}
	if err := k.checkDerivation(); err != nil {
		return nil, err
	}
	m, err := e.readImport(ctx, r, f, k)
	if err != nil {
		return nil, err
	}
	err = e.update(ctx, r.Mount, func(s shelf) error {
		if old, err := s.find(k.name); old != nil || err != nil {
			if old != nil {
				err = taken
			}
			return err
		}
		made := *k
		return s.insert(&made, m)
	})
	if err != nil {
		return nil, fmt.Errorf("import a key: %w", err)
	}
	return nil, nil
}

// importVersion adds a version from elsewhere to an imported key, or the private part to one that has none.
func (e *Engine) importVersion(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := f.Text("name")
	missing := errs.Framed(errs.Fault, "no key found with name %s; to import a new key, use the import/ endpoint", name)
	var before key
	_, err := e.lend(ctx, r, name, missing, func(k *key) ([]int, error) {
		before = *k
		return nil, k.demandImported()
	})
	if err != nil {
		return nil, err
	}
	m, err := e.readImport(ctx, r, f, &before)
	if err != nil {
		return nil, err
	}
	err = e.update(ctx, r.Mount, func(s shelf) error {
		k, err := s.find(name)
		switch {
		case err != nil:
			return err
		case k == nil:
			return missing
		case k.algorithm() != before.algorithm():
			return errs.New(errs.Conflict, "the key was replaced by one of another type at the same time; try again")
		}
		if err := k.demandImported(); err != nil {
			return err
		}
		k.KeySize = before.KeySize
		return s.addImported(k, m, f.Int("version"))
	})
	if err != nil {
		return nil, fmt.Errorf("import a version of a key: %w", err)
	}
	return nil, nil
}

func (k *key) demandImported() error {
	switch {
	case k.SoftDeleted:
		return errSoftDeleted
	case k.Convergent:
		return errs.Framed(errs.Fault, "import cannot be used on keys with convergent encryption enabled")
	case !k.Imported:
		return errs.Framed(errs.Fault, "the import_version endpoint can only be used with an imported key")
	}
	return nil
}

// addImported stores m as a new version, or as the private part of one that has none: of the numbered one, or without a
// number of the newest.
func (s shelf) addImported(k *key, m material, number int) error {
	private := len(m.secret.Reveal()) > 0
	if number != 0 && !private {
		return badImport("a version can be given its private part alone; leave out version to add a public key")
	}
	target := number
	if target == 0 {
		target = k.Latest
	}
	v, found, err := s.version(k, target)
	switch {
	case err != nil:
		return err
	case !found:
		return badImport("the key has no version %d", target)
	case number == 0 && (!private || v.pair != nil || k.algorithm().symmetric()):
		return s.add(k, m)
	case v.pair != nil || k.algorithm().symmetric():
		return badImport("version %d has a private part already", target)
	}
	if !bytes.Equal(v.material.public, m.public) {
		return badImport("the private key does not match the public key of version %d", target)
	}
	completed := v.material
	completed.secret = m.secret
	return s.replaceMaterial(k, target, completed)
}

const updateVersion = `UPDATE transit_versions SET material = $2 WHERE id = $1`

// replaceMaterial stores a version in place of what it was, and the key with it.
func (s shelf) replaceMaterial(k *key, number int, m material) error {
	if err := s.update(k); err != nil {
		return err
	}
	encoded, err := m.encode()
	if err != nil {
		return err
	}
	sealed, err := s.Seal(materialCell(k.id, number), encoded)
	if err != nil {
		return err
	}
	_, err = s.Exec(updateVersion, versionID(k.id, number), sealed)
	return err
}
