package config

import (
	"fmt"
	"slices"

	"leasehold/internal/secret"
)

// Seal is how the store opens. Static and Transit are the settings of their types, as they are configured: what they refer to
// is not read here.
type Seal struct {
	Type    string // "shamir", "static" or "transit"
	Static  StaticSeal
	Transit TransitSeal
}

// StaticSeal are the settings of seal "static".
type StaticSeal struct {
	CurrentKeyID  string
	CurrentKey    secret.Text // 32 bytes as they are, in hex or base64, or file://PATH or env://NAME
	PreviousKeyID string
	PreviousKey   secret.Text
}

// TransitSeal are the settings of seal "transit".
type TransitSeal struct {
	Address        string
	Token          secret.Text
	KeyName        string
	MountPath      string
	Namespace      string
	RenewedOutside bool // something else renews the token

	CACertFile     string
	ClientCertFile string
	ClientKeyFile  string
	ServerName     string
	SkipVerify     bool
}

// sealTypes are the seals that there are.
var sealTypes = []string{"shamir", "static", "transit"}

// seal reads the seal blocks. A disabled one is a seal that the store is moved away from.
func (l *loader) seal(n node) error {
	const expected = `a block such as: seal "static" { ... }`
	labelled := flatten(n)
	if len(labelled) == 0 {
		return errExpected(expected)
	}
	for _, e := range labelled {
		blocks := []node{e.value}
		if e.value.kind == list {
			blocks = e.value.items
		}
		for _, b := range blocks {
			if b.kind != object {
				return at(e.line, "expected %s", expected)
			}
			if err := l.sealBlock(e, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *loader) sealBlock(e entry, block node) error {
	s, disabled := Seal{Type: e.key}, false
	known := fields{"disabled": boolField(&disabled)}
	switch s.Type {
	case "static":
		known["current_key_id"] = textField(&s.Static.CurrentKeyID)
		known["current_key"] = secretField(&s.Static.CurrentKey)
		known["previous_key_id"] = textField(&s.Static.PreviousKeyID)
		known["previous_key"] = secretField(&s.Static.PreviousKey)
	case "transit":
		t := &s.Transit
		known["address"] = textField(&t.Address)
		known["token"] = secretField(&t.Token)
		known["key_name"] = textField(&t.KeyName)
		known["mount_path"] = textField(&t.MountPath)
		known["namespace"] = textField(&t.Namespace)
		known["disable_renewal"] = boolField(&t.RenewedOutside)
		known["tls_ca_cert"] = textField(&t.CACertFile)
		known["tls_client_cert"] = textField(&t.ClientCertFile)
		known["tls_client_key"] = textField(&t.ClientKeyFile)
		known["tls_server_name"] = textField(&t.ServerName)
		known["tls_skip_verify"] = boolField(&t.SkipVerify)
	}
	supported := slices.Contains(sealTypes, s.Type)
	entries := block.entries
	if !supported { // its keys are not ours to judge
		entries = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return e.key != "disabled" })
	}
	if err := l.decode(fmt.Sprintf("seal %q: ", s.Type), entries, known, []string{"name", "priority"}); err != nil {
		return err
	}
	c := l.config
	switch {
	case disabled && s.Type == "shamir": // who opens the store with shares has no settings
	case disabled && !supported:
		l.warn(e.line, "seal %q has no effect: a store cannot be moved away from it", s.Type)
	case disabled:
		c.FormerSeals = append(c.FormerSeals, s)
	case l.sealed != "":
		return at(e.line, "two seals are in force, %q and %q: set disabled = \"true\" in the one that the store is moved away from",
			l.sealed, s.Type)
	default:
		c.Seal, l.sealed = s, s.Type
	}
	return nil
}

// applySealEnvironment puts the variables over the files, or beneath them where the wire contract's servers do so: address,
// token and TLS settings of the files win, for VAULT_ADDR and its like are there for clients, too.
func (c *Config) applySealEnvironment(env func(string) string) error {
	if name, value := lookup(env, "SEAL_TYPE"); value != "" && value != c.Seal.Type {
		if c.Seal.Type != "shamir" {
			c.Warnings = append(c.Warnings, fmt.Sprintf("seal %q has no effect: environment variable %s names another type", c.Seal.Type, name))
		}
		c.Seal = Seal{Type: value}
	}
	if c.Seal.Type == "transit" {
		if err := c.Seal.Transit.applyEnvironment(env, true); err != nil {
			return err
		}
	}
	for i := range c.FormerSeals {
		if c.FormerSeals[i].Type == "transit" {
			if err := c.FormerSeals[i].Transit.applyEnvironment(env, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// applyEnvironment fills in what the files leave open. over: some variables also replace what they say.
func (t *TransitSeal) applyEnvironment(env func(string) string, over bool) error {
	noTLS := t.CACertFile == "" && t.ClientCertFile == "" && t.ClientKeyFile == "" && t.ServerName == "" && !t.SkipVerify
	for _, v := range []struct {
		name string
		use  bool
		read field
	}{
		{"ADDR", t.Address == "", textField(&t.Address)},
		{"TOKEN", t.Token.Empty(), secretField(&t.Token)},
		{"TRANSIT_SEAL_KEY_NAME", over || t.KeyName == "", textField(&t.KeyName)},
		{"TRANSIT_SEAL_MOUNT_PATH", over || t.MountPath == "", textField(&t.MountPath)},
		{"TRANSIT_SEAL_DISABLE_RENEWAL", over, boolField(&t.RenewedOutside)},
		{"NAMESPACE", over || t.Namespace == "", textField(&t.Namespace)},
		{"CACERT", noTLS, textField(&t.CACertFile)},
		{"CLIENT_CERT", noTLS, textField(&t.ClientCertFile)},
		{"CLIENT_KEY", noTLS, textField(&t.ClientKeyFile)},
		{"TLS_SERVER_NAME", noTLS, textField(&t.ServerName)},
		{"SKIP_VERIFY", noTLS, boolField(&t.SkipVerify)},
	} {
		name, value := lookup(env, v.name)
		if value == "" || !v.use {
			continue
		}
		if err := v.read(node{kind: text, text: value}); err != nil {
			return &Error{Text: fmt.Sprintf("environment variable %s: %s", name, err)}
		}
	}
	return nil
}

func (s Seal) validate() error {
	if !slices.Contains(sealTypes, s.Type) {
		return fmt.Errorf("seal %q is not supported: use static or transit, or leave the block out for unseal keys that people hold", s.Type)
	}
	return nil
}
