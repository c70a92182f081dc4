package database_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/engine"
	"leasehold/internal/errs"
)

func TestRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refused(engine.List, "roles/", nil, errs.NotFound, "")
	w.refused(engine.Read, "roles/exact", nil, errs.NotFound, "")
	w.refused(engine.Update, "roles/exact", data{}, errs.Invalid, "database name is required")
	w.refused(engine.Update, "roles/exact", data{"db_name": "pg", "credential_type": "smoke"}, errs.Invalid, `invalid credential_type "smoke"`)
	w.must(engine.Update, "roles/exact", data{"db_name": "pg", "creation_statements": createStatement, "default_ttl": "10m"})
	want := data{
		"creation_statements": []string{createStatement}, "credential_type": "password", "db_name": "pg",
		"default_ttl": int64(600), "max_ttl": int64(0),
		"renew_statements": []string{}, "revocation_statements": []string{}, "rollback_statements": []string{},
	}
	if diff := cmp.Diff(want, w.must(engine.Read, "roles/exact", nil).Data); diff != "" {
		t.Error(diff)
	}
	w.must(engine.Update, "roles/exact", data{
		"default_ttl": "1d", "max_ttl": "2d", "revocation_statements": []string{"", `DROP ROLE "{{name}}"`},
	})
	want["default_ttl"], want["max_ttl"], want["revocation_statements"] = int64(86400), int64(172800), []string{`DROP ROLE "{{name}}"`}
	if diff := cmp.Diff(want, w.must(engine.Read, "roles/exact", nil).Data); diff != "" {
		t.Errorf("after a partial update: %s", diff)
	}
	w.refused(engine.Update, "roles/exact", data{"default_ttl": "abc"}, errs.Invalid, "...default_ttl")
	w.refused(engine.Update, "roles/exact", data{"default_ttl": -5}, errs.Invalid, "...default_ttl")
	w.refused(engine.Update, "roles/exact", data{"db_name": ""}, errs.Invalid, "database name is required")
	if diff := cmp.Diff(want, w.must(engine.Read, "roles/exact", nil).Data); diff != "" {
		t.Errorf("after refused updates: %s", diff)
	}
	w.refused(engine.Update, "static-roles/exact", data{"db_name": "pg", "username": "x", "rotation_period": "1h"}, errs.Invalid,
		"Role and Static Role names must be unique")
	w.must(engine.Delete, "roles/exact", nil)
	w.must(engine.Delete, "roles/exact", nil)
	w.refused(engine.Read, "roles/exact", nil, errs.NotFound, "")
}

func TestRoleList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"other", "app-nodb", "app-1", "Zoo", "exact"} {
		w.must(engine.Update, "roles/"+name, data{"db_name": "pg"})
	}
	for _, test := range []struct {
		query data
		want  []string
	}{
		{nil, []string{"Zoo", "app-1", "app-nodb", "exact", "other"}},
		{data{"limit": "2"}, []string{"Zoo", "app-1"}},
		{data{"after": "app-1", "limit": 2}, []string{"app-nodb", "exact"}},
		{data{"after": "app-2"}, []string{"app-nodb", "exact", "other"}},
	} {
		if diff := cmp.Diff(test.want, w.must(engine.List, "roles/", test.query).Data["keys"]); diff != "" {
			t.Errorf("%v: %s", test.query, diff)
		}
	}
	w.refused(engine.List, "roles/", data{"after": "other"}, errs.NotFound, "")
}

func TestCredentialConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	certificate, key := authority(t)
	_, otherKey := authority(t)
	leaf, leafKey := signed(t, &x509.Certificate{Subject: pkix.Name{CommonName: "no authority"}}, newECKey(t), nil, nil)
	base := data{"common_name_template": "{{.RoleName}}", "ca_cert": certificate, "ca_private_key": key, "key_type": "ec"}
	with := func(name string, value any) data {
		changed := data{}
		for k, v := range base {
			changed[k] = v
		}
		changed[name] = value
		return changed
	}
	for _, test := range []struct {
		name, kind string
		config     any
		refusal    string // after the common prefix; empty: accepted
		want       any    // what is read back; nil: nothing
	}{
		{"password", "password", nil, "", nil},
		{"password policy", "password", data{"password_policy": "upper", "key_bits": 1}, "", data{"password_policy": "upper"}},
		{"as pairs", "password", []string{"password_policy=upper"}, "", data{"password_policy": "upper"}},
		{"rsa", "rsa_private_key", nil, "", data{"format": "pkcs8", "key_bits": 2048}},
		{"rsa bits", "rsa_private_key", data{"key_bits": 4096}, "", data{"format": "pkcs8", "key_bits": 4096}},
		{"rsa bits as text", "rsa_private_key", data{"key_bits": "3072"}, "", data{"format": "pkcs8", "key_bits": 3072}},
		{"rsa bad bits", "rsa_private_key", data{"key_bits": 1024}, "invalid key_bits: 1024", nil},
		{"rsa bad format", "rsa_private_key", data{"format": "der"}, "invalid format: der", nil},
		{"certificate", "client_certificate", base, "", data{
			"common_name_template": "{{.RoleName}}", "ca_cert": certificate, "key_type": "ec", "key_bits": 256, "signature_bits": 256,
		}},
		{"no key type", "client_certificate", nil, "invalid key_type", nil},
		{"bad bits", "client_certificate", with("key_bits", 255), "invalid key_bits: 255", nil},
		{"bad signature", "client_certificate", with("signature_bits", 1), "invalid signature_bits: 1", nil},
		{"no template", "client_certificate", with("common_name_template", ""), "missing common_name_template", nil},
		{"no authority", "client_certificate", with("ca_cert", "x"), "missing ca_cert: it must be PEM", nil},
		{"template with an unknown field", "client_certificate", with("common_name_template", "{{.UserName}}"), "...invalid common_name_template: ", nil},
		{"template that makes nothing", "client_certificate", with("common_name_template", "{{.RoleName | replace \"role\" \" \"}}"),
			"invalid common_name_template: the common name is empty", nil},
		{"template with a line", "client_certificate", with("common_name_template", "a\nb"),
			`invalid common_name_template: the common name "a\nb" has characters that cannot be printed`, nil},
		{"no authority's certificate", "client_certificate", data{"common_name_template": "x", "ca_cert": leaf, "ca_private_key": leafKey, "key_type": "ec"},
			"ca_cert is not the certificate of an authority: it may not sign others", nil},
		{"another key", "client_certificate", with("ca_private_key", otherKey), "ca_cert and ca_private_key are not a certificate and its key", nil},
	} {
		path := "roles/r"
		w.must(engine.Delete, path, nil)
		body := data{"db_name": "pg", "credential_type": test.kind}
		if test.config != nil {
			body["credential_config"] = test.config
		}
		if test.refusal != "" {
			text, part := strings.CutPrefix(test.refusal, "...")
			text = "credential_config validation failed: " + text
			if part {
				text = "..." + text
			}
			w.refused(engine.Update, path, body, errs.Invalid, text)
			continue
		}
		w.must(engine.Update, path, body)
		w.must(engine.Update, path, data{"default_ttl": 5}) // keeps the configuration
		if diff := cmp.Diff(test.want, w.must(engine.Read, path, nil).Data["credential_config"]); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}
