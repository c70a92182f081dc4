package database

import (
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"leasehold/plugins"
)

// credential is what a role hands out. The fields beside Type are those of credential_config, and each type has its own. Whether
// the database takes the type is found out when a user is made.
type credential struct {
	Type string `json:"type"`

	PasswordPolicy string `json:"password_policy,omitempty"` // password

	Format  string `json:"format,omitempty"`   // rsa_private_key
	KeyBits int    `json:"key_bits,omitempty"` // rsa_private_key, client_certificate

	CommonNameTemplate string `json:"common_name_template,omitempty"` // client_certificate, like all below
	CACert             string `json:"ca_cert,omitempty"`
	CAPrivateKey       string `json:"ca_private_key,omitempty"` // a secret: it is in the role's sealed row, and nothing shows it
	KeyType            string `json:"key_type,omitempty"`
	SignatureBits      int    `json:"signature_bits,omitempty"`
}

// newCredential reads a credential_config. Fields that the type does not have are ignored, those not given get their
// defaults. Source of the texts: the wire contract, "credential_config".
func newCredential(kind string, config map[string]string) (credential, error) {
	c := credential{Type: kind}
	var err error
	switch kind {
	case plugins.TypePassword:
		c.PasswordPolicy = config["password_policy"]
	case plugins.TypeRSA:
		err = c.readRSA(config)
	case plugins.TypeCertificate:
		err = c.readCertificate(config)
	}
	return c, err
}

func (c *credential) readRSA(config map[string]string) (err error) {
	if c.KeyBits, err = choice(config, "key_bits", 2048, 3072, 4096); err != nil {
		return err
	}
	if c.Format = config["format"]; c.Format == "" {
		c.Format = "pkcs8"
	}
	if c.Format != "pkcs8" {
		return fmt.Errorf("invalid format: %s", c.Format)
	}
	return nil
}

func (c *credential) readCertificate(config map[string]string) (err error) {
	switch c.KeyType = config["key_type"]; c.KeyType {
	case keyRSA:
		c.KeyBits, err = choice(config, "key_bits", 2048, 3072, 4096)
	case keyEC:
		c.KeyBits, err = choice(config, "key_bits", 256, 224, 384, 521)
	case keyEd25519:
	default:
		err = errors.New("invalid key_type")
	}
	if err != nil {
		return err
	}
	if c.SignatureBits, err = choice(config, "signature_bits", 256, 384, 512); err != nil {
		return err
	}
	if c.CommonNameTemplate = config["common_name_template"]; c.CommonNameTemplate == "" {
		return errors.New("missing common_name_template")
	}
	if _, err := c.commonName(commonNameData{DisplayName: "token", RoleName: "role", Username: "user"}, time.Unix(0, 0).UTC()); err != nil {
		return fmt.Errorf("invalid common_name_template: %w", err)
	}
	c.CACert, c.CAPrivateKey = config["ca_cert"], config["ca_private_key"]
	for name, text := range map[string]string{"ca_cert": c.CACert, "ca_private_key": c.CAPrivateKey} {
		if block, _ := pem.Decode([]byte(text)); block == nil {
			return fmt.Errorf("missing %s: it must be PEM", name)
		}
	}
	_, err = c.authority()
	return err
}

// choice reads a number that must be one of the given ones; the first is the default.
func choice(config map[string]string, name string, allowed ...int) (int, error) {
	text := config[name]
	if text == "" {
		return allowed[0], nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("invalid %s: it must be a number", name)
	case n == 0:
		return allowed[0], nil
	case !slices.Contains(allowed, n):
		return 0, fmt.Errorf("invalid %s: %d", name, n)
	}
	return n, nil
}

// shown is the credential_config of an answer; nil: there is none. The private key of the CA is never shown.
func (c credential) shown() map[string]any {
	all := map[string]any{
		"password_policy": c.PasswordPolicy, "format": c.Format, "key_bits": c.KeyBits,
		"common_name_template": c.CommonNameTemplate, "ca_cert": c.CACert, "key_type": c.KeyType, "signature_bits": c.SignatureBits,
	}
	for name, value := range all {
		if value == "" || value == 0 {
			delete(all, name)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}
