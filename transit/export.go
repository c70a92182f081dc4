package transit

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// What of a key is exported.
const (
	exportEncryption = "encryption-key"
	exportSigning    = "signing-key"
	exportHMAC       = "hmac-key"
	exportPublic     = "public-key"
	exportChain      = "certificate-chain"
)

// exports says which of them are secret.
var exports = map[string]bool{exportEncryption: true, exportSigning: true, exportHMAC: true, exportPublic: false, exportChain: false}

// Formats of exported keys. Without one, each type has its own.
const (
	formatRaw = "raw"
	formatDER = "der"
	formatPEM = "pem"
)

// exportKey shows the key material of one version or all. Source: recording transit-export.
func (e *Engine) exportKey(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	what, form := f.Text("export_type"), f.Text("format")
	private, known := exports[what]
	switch {
	case !known:
		return nil, errs.New(errs.Invalid, "invalid export type: %s", what)
	case form != "" && form != formatRaw && form != formatDER && form != formatPEM:
		return nil, errs.New(errs.Invalid, "invalid export format: %s; must be \"raw\", \"der\" or \"pem\"", form)
	}
	var k *key
	var versions []*version
	err := e.view(ctx, r.Mount, func(s shelf) (err error) {
		if k, err = s.find(f.Text("name")); k == nil || err != nil {
			return err
		}
		if k.SoftDeleted {
			return errSoftDeleted
		}
		if err := k.demandExport(what, private); err != nil {
			return err
		}
		versions, err = s.choose(k, f.Text("version"))
		return err
	})
	if k == nil || err != nil {
		return nil, err // without a key: not found
	}
	keys := map[string]any{}
	for _, v := range versions {
		text, err := k.export(v, what, form)
		if err != nil {
			return nil, err
		}
		if text != "" {
			keys[strconv.Itoa(v.number)] = text
		}
	}
	if len(keys) == 0 { // of chains alone
		return nil, errs.Framed(errs.Fault, "selected key version does not have a certificate chain imported")
	}
	return &engine.Response{Data: map[string]any{"name": k.name, "type": k.Type, "keys": keys}}, nil
}

func (k *key) demandExport(what string, private bool) error {
	a := k.algorithm()
	switch {
	case private && !k.Exportable:
		return errs.New(errs.Invalid, "private key material is not exportable")
	case what == exportEncryption && !a.encrypts:
		return errs.New(errs.Invalid, "encryption not supported for the key")
	case what == exportSigning && !a.signs:
		return errs.New(errs.Invalid, "signing not supported for the key")
	case !private && a.symmetric():
		return errs.Framed(errs.Fault, "unknown key type %s for export type %s", k.Type, what)
	}
	return nil
}

// choose reads the versions that text means: a number, "latest", or all that may be used when it is empty.
//
// Errors: Invalid.
func (s shelf) choose(k *key, text string) ([]*version, error) {
	number := k.Latest
	switch text {
	case "":
		return s.openAll(k)
	case "latest":
	default:
		var err error
		if number, err = strconv.Atoi(text); err != nil {
			return nil, errs.New(errs.Invalid, "invalid key version")
		}
	}
	if number < k.MinDecryption {
		return nil, errs.New(errs.Invalid, "version for export is below minimum decryption version")
	}
	v, found, err := s.version(k, number)
	if err == nil && !found {
		err = errs.New(errs.Invalid, "version does not exist or cannot be found")
	}
	return []*version{v}, err
}

// openAll opens all versions of a key that may be used.
func (s shelf) openAll(k *key) ([]*version, error) {
	stored, err := s.materials(k, k.MinDecryption, k.Latest)
	if err != nil {
		return nil, err
	}
	versions := make([]*version, len(stored))
	for i, m := range stored {
		if versions[i], err = k.open(m.number, m.material); err != nil {
			return nil, err
		}
	}
	return versions, nil
}

// export is one version's text; empty: a chain that is not there.
func (k *key) export(v *version, what, form string) (string, error) {
	switch {
	case what == exportChain:
		return v.chain, nil
	case what == exportPublic:
		return v.exportPublic(k, form)
	case what == exportHMAC:
		return k.exportBytes(v.macSecret(k).Reveal(), form)
	case k.algorithm().symmetric():
		return k.exportBytes(v.secret.Reveal(), form)
	case v.pair == nil:
		return "", errs.New(errs.Invalid, "version %d of the key has no private part", v.number)
	}
	return v.exportPrivate(k, form)
}

func (k *key) errFormat(form string) error {
	return errs.New(errs.Invalid, "a key of type %s cannot be exported with format %q", k.Type, form)
}

func (k *key) exportBytes(raw []byte, form string) (string, error) {
	if form == formatDER || form == formatPEM {
		return "", k.errFormat(form)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

func (v *version) exportPrivate(k *key, form string) (string, error) {
	switch form {
	case formatDER:
		return base64.StdEncoding.EncodeToString(v.secret.Reveal()), nil
	case formatPEM:
		return armour("PRIVATE KEY", v.secret.Reveal()), nil
	}
	switch pair := v.pair.(type) {
	case *latticePair:
		if form == formatRaw {
			return base64.StdEncoding.EncodeToString(pair.seed), nil
		}
		return armour("PRIVATE KEY", v.secret.Reveal()), nil
	case ed25519.PrivateKey:
		return base64.StdEncoding.EncodeToString(pair), nil
	case *rsa.PrivateKey:
		if form == "" {
			return armour("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(pair)), nil
		}
	case *ecdsa.PrivateKey:
		if form == "" {
			encoded, err := x509.MarshalECPrivateKey(pair)
			if err != nil {
				return "", fmt.Errorf("encode a private key: %w", err)
			}
			// Compat: recording transit-export: without the last newline.
			return strings.TrimSpace(armour("EC PRIVATE KEY", encoded)), nil
		}
	}
	return "", k.errFormat(form)
}

func (v *version) exportPublic(k *key, form string) (string, error) {
	public, raw := v.public.(ed25519.PublicKey)
	switch {
	case raw && (form == "" || form == formatRaw):
		return base64.StdEncoding.EncodeToString(public), nil
	case form == formatRaw:
		return "", k.errFormat(form)
	}
	text := armour("PUBLIC KEY", v.material.public)
	switch {
	case form == formatDER:
		return base64.StdEncoding.EncodeToString(v.material.public), nil
	case form == "" && k.algorithm().curve != nil:
		return strings.TrimSpace(text), nil // Compat: recording transit-export
	}
	return text, nil
}

// armour is the PEM form of encoded bytes.
func armour(label string, encoded []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: encoded}))
}
