package database_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/testdb"
	"leasehold/plugins"
	"leasehold/store"
)

const (
	keyPlugin  = "key-database-plugin"
	createBare = `CREATE ROLE "{{name}}" WITH LOGIN`
)

// keyDriver opens databases that take keys and remember what they were told of each user.
type keyDriver struct {
	driver
	told *told
}

type told struct {
	mu    sync.Mutex
	takes []string
	users []plugins.User
}

func (d *told) last() plugins.User {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.users[len(d.users)-1]
}

func (keyDriver) CredentialTypes() []string {
	return []string{plugins.TypePassword, plugins.TypeRSA, plugins.TypeCertificate}
}

func (keyDriver) Usernames() plugins.Usernames {
	return plugins.Usernames{MaxLength: 63, Template: `{{printf "v-%s-%s" .RoleName (random 12)}}`}
}

func (d keyDriver) Open(s plugins.Settings) (plugins.Database, error) {
	db, err := d.driver.Open(s)
	if err != nil {
		return nil, err
	}
	return &keyed{Database: db, told: d.told}, nil
}

type keyed struct {
	plugins.Database
	told *told
}

func (k *keyed) Takes(_ context.Context, credentialType string) (bool, error) {
	k.told.mu.Lock()
	defer k.told.mu.Unlock()
	return slices.Contains(k.told.takes, credentialType), nil
}

func (k *keyed) CreateUser(ctx context.Context, u plugins.User) error {
	k.told.mu.Lock()
	k.told.users = append(k.told.users, u)
	k.told.mu.Unlock()
	return k.Database.CreateUser(ctx, u)
}

// newKeyWorld is a world with a connection "keys" to such a plugin.
func newKeyWorld(t *testing.T) (*world, *told) {
	t.Helper()
	w := newWorld(t)
	w.timeout = 10 * time.Minute // a long key takes long on a busy machine
	d := &told{takes: []string{plugins.TypeRSA, plugins.TypeCertificate}}
	w.drivers = map[string]plugins.Driver{keyPlugin: keyDriver{driver{hooks: w.hooks}, d}}
	w.start()
	w.must(engine.Update, "config/keys", w.settings(data{"plugin_name": keyPlugin}))
	return w, d
}

// keyRole writes the role "app" of that credential type.
func (w *world) keyRole(kind string, config data) {
	w.Helper()
	w.must(engine.Update, "roles/app", data{
		"db_name": "keys", "creation_statements": createBare, "default_ttl": "1h", "max_ttl": "4h", "credential_type": kind, "credential_config": config,
	})
}

// wantKeys demands that an answer has these keys and no others.
func (w *world) wantKeys(resp *engine.Response, keys ...string) {
	w.Helper()
	if got := slices.Sorted(maps.Keys(resp.Data)); !slices.Equal(got, keys) {
		w.Fatalf("answered %q, want %q", got, keys)
	}
}

// privateKey reads the PKCS#8 of an answer.
func privateKey(t *testing.T, text any) crypto.Signer {
	t.Helper()
	block, rest := pem.Decode([]byte(text.(string)))
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		t.Fatal("it is not the PEM of one key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(crypto.Signer)
}

// equal reports whether two public keys are the same.
func equal(a, b crypto.PublicKey) bool {
	return a.(interface{ Equal(crypto.PublicKey) bool }).Equal(b)
}

func TestRSAKey(t *testing.T) {
	t.Parallel()
	w, d := newKeyWorld(t)
	for _, bits := range []int{4096, 3072, 2048} {
		w.keyRole("rsa_private_key", data{"key_bits": bits})
		resp := w.must(engine.Read, "creds/app", nil)
		w.wantKeys(resp, "rsa_private_key", "username")
		key := privateKey(t, resp.Data["rsa_private_key"]).(*rsa.PrivateKey)
		if got := key.N.BitLen(); got != bits {
			t.Errorf("got %d bits, want %d", got, bits)
		}
		u := d.last()
		block, _ := pem.Decode(u.Key.PublicKey)
		if u.Key.Type != plugins.TypeRSA || u.Key.Subject != "" || !u.Password.Empty() || block == nil || block.Type != "PUBLIC KEY" {
			t.Fatalf("the plugin was told %+v", u.Key)
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil || !equal(public, key.Public()) {
			t.Errorf("the plugin was told another key: %v", err)
		}
	}
	resp := w.must(engine.Read, "creds/app", nil)
	user := resp.Data["username"].(string)
	if _, _, err := w.leases.Renew(t.Context(), resp.Secret.LeaseID, 30*time.Minute); err != nil {
		t.Error(err)
	}
	w.start() // nothing is left in memory
	w.revoke(resp.Secret.LeaseID)
	if w.exists(user) {
		t.Error("the user is still there")
	}
}

// TestTypeNotTaken has a database refuse a type that its driver knows, before anything is written or made.
func TestTypeNotTaken(t *testing.T) {
	t.Parallel()
	w, d := newKeyWorld(t)
	d.takes = nil
	w.keyRole("rsa_private_key", nil)
	w.refused(engine.Read, "creds/app", nil, errs.Invalid, `unsupported credential_type: "rsa_private_key"`)
	if w.rows("leases") != 0 || len(d.users) != 0 {
		t.Error("a lease was written, or a user made")
	}
	w.keyRole("password", nil)
	w.creds("app")
}

func TestBuiltInTypes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.must(engine.Update, "config/my", data{"plugin_name": "mysql-database-plugin", "connection_url": "{{username}}:{{password}}@tcp(127.0.0.1:1)/",
		"username": "u", "password": "p", "verify_connection": false, "allowed_roles": "*"})
	certificate, key := authority(t)
	config := data{"common_name_template": "{{.Username}}", "ca_cert": certificate, "ca_private_key": key, "key_type": "ed25519"}
	for _, test := range []struct{ connection, kind string }{{"pg", "rsa_private_key"}, {"my", "rsa_private_key"}, {"my", "client_certificate"}} {
		w.must(engine.Update, "roles/r", data{"db_name": test.connection, "creation_statements": createBare, "credential_type": test.kind, "credential_config": config})
		w.refused(engine.Read, "creds/r", nil, errs.Invalid, `unsupported credential_type: "`+test.kind+`"`)
	}
	for _, kind := range []string{"rsa_private_key", "client_certificate"} {
		w.refused(engine.Update, "static-roles/s", data{"db_name": "pg", "username": "x", "rotation_period": "1h", "credential_type": kind, "credential_config": config},
			errs.Invalid, `unsupported credential_type: "`+kind+`"`)
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	w, d := newKeyWorld(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name      string
		authority crypto.Signer
		config    data
		bits      int // of an RSA or EC key
		algorithm x509.SignatureAlgorithm
	}{
		{"rsa by ec", newECKey(t), data{"key_type": "rsa"}, 2048, x509.ECDSAWithSHA256},
		{"ec by rsa", rsaKey, data{"key_type": "ec"}, 256, x509.SHA256WithRSA},
		{"ec 224", rsaKey, data{"key_type": "ec", "key_bits": 224, "signature_bits": 384}, 224, x509.SHA384WithRSA},
		{"ec 384", newECKey(t), data{"key_type": "ec", "key_bits": 384, "signature_bits": 384}, 384, x509.ECDSAWithSHA384},
		{"ec 521", newECKey(t), data{"key_type": "ec", "key_bits": 521, "signature_bits": 512}, 521, x509.ECDSAWithSHA512},
		{"ed25519 by rsa", rsaKey, data{"key_type": "ed25519", "signature_bits": 512}, 0, x509.SHA512WithRSA},
		{"ed25519 by ed25519", edKey, data{"key_type": "ed25519", "signature_bits": 512}, 0, x509.PureEd25519},
	} {
		caText, caKey := signed(t, root(), test.authority, nil, nil)
		config := data{"common_name_template": "{{.DisplayName}}, {{.RoleName}}: {{.Username}}", "ca_cert": caText, "ca_private_key": caKey}
		maps.Copy(config, test.config)
		w.keyRole("client_certificate", config)
		resp := w.must(engine.Read, "creds/app", nil)
		w.wantKeys(resp, "client_certificate", "private_key", "private_key_type", "username")
		if got := resp.Data["private_key_type"]; got != test.config["key_type"] {
			t.Errorf("%s: private_key_type %v", test.name, got)
		}
		chain := certificates(t, resp.Data["client_certificate"])
		leaf := chain[0]
		if len(chain) != 1 || leaf.IsCA || leaf.SignatureAlgorithm != test.algorithm || leaf.SerialNumber.Sign() <= 0 {
			t.Errorf("%s: %d certificates, authority %t, signed by %v", test.name, len(chain), leaf.IsCA, leaf.SignatureAlgorithm)
		}
		key := privateKey(t, resp.Data["private_key"])
		if !equal(leaf.PublicKey, key.Public()) || test.bits != bitsOf(key) {
			t.Errorf("%s: a key of %d bits, not the certificate's: %t", test.name, bitsOf(key), equal(leaf.PublicKey, key.Public()))
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(caText))
		now := w.clock.Now()
		for moment, valid := range map[time.Time]bool{
			now: true, now.Add(4 * time.Hour): true, now.Add(4*time.Hour + 2*time.Minute): false, now.Add(-2 * time.Minute): false,
		} {
			_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: moment, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			if valid != (err == nil) {
				t.Errorf("%s: at %v: %v", test.name, moment.Sub(now), err)
			}
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
			t.Errorf("%s: it is good for a server", test.name)
		}
		u, name := d.last(), "token, app: "+resp.Data["username"].(string)
		if leaf.Subject.CommonName != name || u.Key.Subject != `CN=token\, app: `+u.Name || u.Key.Type != plugins.TypeCertificate || u.Key.PublicKey != nil || !u.Password.Empty() {
			t.Errorf("%s: subject %s, the plugin was told %+v", test.name, leaf.Subject, u.Key)
		}
		w.revoke(resp.Secret.LeaseID)
		if w.exists(u.Name) {
			t.Errorf("%s: the user is still there", test.name)
		}
	}
}

// TestAuthorities has certificates signed by an authority that a root has signed, and by those whose time is limited.
func TestAuthorities(t *testing.T) {
	t.Parallel()
	w, _ := newKeyWorld(t)
	top, middle := root(), root()
	middle.Subject.CommonName = "middle"
	topKey, middleKey := newECKey(t), newECKey(t)
	topText, _ := signed(t, top, topKey, nil, nil)
	middle.NotAfter = w.clock.Now().Add(2 * time.Hour)
	middleText, middleKeyText := signed(t, middle, middleKey, top, topKey)
	w.keyRole("client_certificate", data{
		"common_name_template": "{{.Username}}", "ca_cert": middleText + topText, "ca_private_key": middleKeyText, "key_type": "ec",
	})
	chain := certificates(t, w.must(engine.Read, "creds/app", nil).Data["client_certificate"])
	if len(chain) != 2 || chain[1].Subject.CommonName != "middle" {
		t.Fatalf("a chain of %d", len(chain))
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(topText))
	between.AddCert(chain[1])
	if _, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: w.clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		t.Error(err)
	}
	if !chain[0].NotAfter.Equal(chain[1].NotAfter) {
		t.Errorf("it ends at %v, its authority at %v", chain[0].NotAfter, chain[1].NotAfter)
	}
	w.clock.Advance(3 * time.Hour)
	leases := w.rows("leases")
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, framed("failed to generate client certificate: ca_cert is valid from 2000-01-01T00:00:00Z to 2040-05-06T09:08:09Z only"))
	if w.rows("leases") != leases {
		t.Error("a lease was written")
	}
}

// TestBatchCertificate has the certificate end with the token, which ends the lease.
func TestBatchCertificate(t *testing.T) {
	t.Parallel()
	w, _ := newKeyWorld(t)
	text, key := authority(t)
	w.keyRole("client_certificate", data{"common_name_template": "{{.Username}}", "ca_cert": text, "ca_private_key": key, "key_type": "ed25519"})
	w.caller.Type, w.caller.ExpiresAt = "batch", w.clock.Now().Add(20*time.Minute)
	leaf := certificates(t, w.must(engine.Read, "creds/app", nil).Data["client_certificate"])[0]
	if left := leaf.NotAfter.Sub(w.caller.ExpiresAt); left < 0 || left > 2*time.Minute {
		t.Errorf("it ends %v after the token", left)
	}
}

// TestNamedByItsSubject has a plugin call a user by its certificate's subject.
func TestNamedByItsSubject(t *testing.T) {
	t.Parallel()
	w, n := newNamer(t)
	n.set(func(told string) string { return "CN=" + told }, false, false)
	text, key := authority(t)
	w.must(engine.Update, "roles/app", data{"db_name": "own", "credential_type": "client_certificate",
		"credential_config": data{"common_name_template": "{{.Username}}", "ca_cert": text, "ca_private_key": key, "key_type": "ec"}})
	resp := w.must(engine.Read, "creds/app", nil)
	user := resp.Data["username"].(string)
	leaf := certificates(t, resp.Data["client_certificate"])[0]
	if user != leaf.Subject.String() || !w.exists(user) {
		t.Fatalf("user %q, subject %q", user, leaf.Subject)
	}
	w.start()
	w.revoke(resp.Secret.LeaseID)
	if w.exists(user) {
		t.Error("the user is still there")
	}
}

func TestCheckWithKey(t *testing.T) {
	t.Parallel()
	w, _ := newKeyWorld(t)
	w.must(engine.Update, "roles/app", data{"db_name": "keys", "creation_statements": createBare, "credential_type": "rsa_private_key", "verify": true})
	report := w.must(engine.Update, "check/app", nil).Data
	if got := outcome(report); got != allSteps {
		t.Errorf("steps %q", got)
	}
	text, _ := json.Marshal(report["steps"])
	if !bytes.Contains(text, []byte("not tried: the user logs in with a key")) {
		t.Errorf("steps %s", text)
	}
	w.left(report["username"].(string), 0)
}

// TestKeysStaySecret looks for the authority's key and for those that were made in whatever can be read, in the log and in the store.
func TestKeysStaySecret(t *testing.T) {
	t.Parallel()
	w, d := newKeyWorld(t)
	var log bytes.Buffer
	w.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.start()
	text, key := authority(t)
	secrets := []string{key}
	var seen strings.Builder
	see := func(op engine.Operation, path string, body data) {
		resp, err := w.send(op, path, body)
		if resp != nil {
			for _, name := range []string{"private_key", "rsa_private_key"} {
				if made, ok := resp.Data[name].(string); ok {
					secrets = append(secrets, made)
					delete(resp.Data, name)
				}
			}
			encoded, _ := json.Marshal(resp)
			seen.Write(encoded)
		}
		if err != nil {
			seen.WriteString(err.Error())
			if shown := errs.From(err); shown != nil {
				encoded, _ := json.Marshal(shown.Data)
				seen.Write(encoded)
			}
		}
	}
	certified := data{"common_name_template": "{{.Username}}", "ca_cert": text, "ca_private_key": key, "key_type": "ec"}
	write := func(kind string, config data, statements string) {
		see(engine.Update, "roles/app", data{"db_name": "keys", "creation_statements": statements, "credential_type": kind, "credential_config": config})
	}
	for _, statements := range []string{createBare, "CREATE ROLL nonsense", createOnly} {
		write("client_certificate", certified, statements)
		see(engine.Read, "roles/app", nil)
		see(engine.Update, "roles/app", data{"default_ttl": "2h"}) // keeps the configuration
		see(engine.Read, "creds/app", nil)
		see(engine.Update, "check/app", nil)
		see(engine.Update, "roles/app", data{"verify": true})
		write("rsa_private_key", nil, statements)
		see(engine.Read, "creds/app", nil)
	}
	for name, value := range map[string]any{"ca_cert": "x", "key_type": "ec2", "signature_bits": 7, "common_name_template": "{{.No}}", "ca_private_key": strings.ToLower(key)} {
		wrong := maps.Clone(certified)
		wrong[name] = value
		write("client_certificate", wrong, createBare)
	}
	see(engine.List, "roles/", nil)
	if len(secrets) != 3 || len(d.users) == 0 {
		t.Fatalf("%d keys were made or given", len(secrets))
	}
	err := w.store.View(t.Context(), func(tx *store.Tx) error {
		var row []byte
		if err := tx.QueryRow(`SELECT settings FROM database_roles`).Scan(&row); err != nil {
			return err
		}
		seen.Write(row)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen.Write(log.Bytes())
	for _, u := range d.users {
		seen.WriteString(u.Key.Subject)
		seen.Write(u.Key.PublicKey)
	}
	for _, s := range secrets {
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") && len(line) >= 40 && strings.Contains(seen.String(), line) {
				t.Errorf("a line of a key shows: %s", line)
			}
		}
	}
}

// TestPostgresCertificate logs in at a server that lets in by certificates alone.
func TestPostgresCertificate(t *testing.T) {
	t.Parallel()
	w := newWorldAt(t, "sqlite", clock.System{}.Now()) // the server has no other
	w.pg = testdb.Postgres(t, testdb.TLS())
	w.pg.Exec(t, "CREATE ROLE by_certificate")
	w.must(engine.Update, "config/pg", w.settings(data{
		"connection_url": "postgresql://{{username}}:{{password}}@" + w.pg.Addr + "/" + w.pg.Database,
		"tls_ca":         w.pg.CA, "tls_certificate": w.pg.ClientCertificate, "private_key": w.pg.ClientKey,
	}))
	role := func(template, statements string) {
		w.must(engine.Update, "roles/app", data{
			"db_name": "pg", "creation_statements": statements, "default_ttl": "1h", "credential_type": "client_certificate",
			"credential_config": data{"common_name_template": template, "ca_cert": w.pg.CA, "ca_private_key": w.pg.CAKey, "key_type": "ec"},
		})
	}
	member := createBare + ` VALID UNTIL '{{expiration}}' IN ROLE by_certificate`
	role("{{.Username}}", member)
	resp := w.must(engine.Read, "creds/app", nil)
	user := resp.Data["username"].(string)
	logIn := func(as string) error {
		c, err := pgx.ParseConfig(w.pg.URL())
		if err != nil {
			return err
		}
		pair, err := tls.X509KeyPair([]byte(resp.Data["client_certificate"].(string)), []byte(resp.Data["private_key"].(string)))
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(w.pg.CA))
		c.User, c.Password, c.Fallbacks = as, "", nil
		c.TLSConfig = &tls.Config{ServerName: "localhost", RootCAs: roots, Certificates: []tls.Certificate{pair}}
		conn, err := pgx.ConnectConfig(t.Context(), c)
		if err != nil {
			return err
		}
		return conn.Close(t.Context())
	}
	if err := logIn(user); err != nil {
		t.Fatalf("%s cannot log in: %v", user, err)
	}
	other := w.must(engine.Read, "creds/app", nil).Data["username"].(string)
	if logIn(other) == nil {
		t.Error("a certificate logs in as another user")
	}
	if got := w.value("SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = $1", user); got != "true" {
		t.Error("the user has a password")
	}
	ends := w.value("SELECT rolvaliduntil FROM pg_roles WHERE rolname = $1", user)
	w.clock.Advance(10 * time.Minute)
	if _, _, err := w.leases.Renew(t.Context(), resp.Secret.LeaseID, time.Hour); err != nil {
		t.Fatal(err)
	}
	if after := w.value("SELECT rolvaliduntil FROM pg_roles WHERE rolname = $1", user); ends == "null" || after <= ends {
		t.Errorf("the expiry was %s, and is %s", ends, after)
	}
	w.revoke(resp.Secret.LeaseID)
	if logIn(user) == nil || w.exists(user) {
		t.Error("the user is still there")
	}

	leases := w.rows("leases")
	role("{{.RoleName}}", member)
	w.refused(engine.Read, "creds/app", nil, errs.Invalid, `...common name would be "app"`)
	role("{{.Username}}", createOnly)
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, "...there is no value for {{password}}")
	if w.rows("leases") != leases {
		t.Error("a lease is left")
	}
}

func bitsOf(key crypto.Signer) int {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key.N.BitLen()
	case *ecdsa.PrivateKey:
		return key.Params().BitSize
	}
	return 0
}

// certificates reads the PEM of an answer.
func certificates(t *testing.T, text any) (chain []*x509.Certificate) {
	t.Helper()
	for rest := []byte(text.(string)); len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			t.Fatal("it is not the PEM of certificates")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		t.Fatal("no certificate")
	}
	return chain
}

// root is the template of an authority's certificate.
func root() *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

func newECKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// authority makes an authority's certificate and its key, PEM.
func authority(t *testing.T) (certificate, key string) {
	t.Helper()
	return signed(t, root(), newECKey(t), nil, nil)
}

// signed makes a certificate and its key, PEM. Without a parent it signs itself.
func signed(t *testing.T, c *x509.Certificate, key crypto.Signer, parent *x509.Certificate, parentKey crypto.Signer) (certificate, keyText string) {
	t.Helper()
	if parent == nil {
		parent, parentKey = c, key
	}
	c.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// TestStaticKey rotates the key of a user that somebody else made.
func TestStaticKey(t *testing.T) {
	t.Parallel()
	w, d := newKeyWorld(t)
	var told []plugins.Change
	var answer error
	w.hooks.set(func(h *hooks) {
		h.alter = func(_ context.Context, _ plugins.Database, _ string, c plugins.Change) error {
			told = append(told, c)
			return answer
		}
	})
	role := data{"db_name": "keys", "username": "billing", "rotation_period": "1h", "credential_type": "rsa_private_key"}
	more := func(changes data) data {
		body := maps.Clone(role)
		maps.Copy(body, changes)
		return body
	}
	d.takes = nil
	w.refused(engine.Update, "static-roles/s", role, errs.Invalid, `unsupported credential_type: "rsa_private_key"`)
	d.takes = []string{plugins.TypeRSA}
	w.refused(engine.Update, "static-roles/s", more(data{"second_username": "other"}), errs.Invalid, "...neither with second_username")
	w.refused(engine.Update, "static-roles/s", more(data{"password": "p"}), errs.Invalid, `password is for static accounts of credential_type "password" only`)
	w.must(engine.Update, "static-roles/s", role)
	first := w.staticKey(told)
	if again := w.staticKey(told); again != first {
		t.Error("another key without a rotation")
	}
	w.refused(engine.Update, "static-roles/s", more(data{"credential_type": "password"}), errs.Invalid, "cannot update static account credential_type")
	w.must(engine.Update, "static-roles/s", more(data{"credential_config": data{"key_bits": 3072}}))
	w.must(engine.Update, "rotate-role/s", nil)
	second := w.staticKey(told)
	if second == first || privateKey(t, second).(*rsa.PrivateKey).N.BitLen() != 3072 {
		t.Error("the rotation made no key of the new length")
	}

	// An answer that is lost has the same key sent again.
	answer = &plugins.Error{Op: "alter user", Class: plugins.Unknown, Err: errors.New("the answer was lost")}
	w.refused(engine.Update, "rotate-role/s", nil, errs.Unavailable, "...the answer was lost")
	lost := told[len(told)-1].Key.PublicKey
	if w.must(engine.Read, "static-creds/s", nil).Data["rsa_private_key"] != second {
		t.Error("a key was handed out that the database may not have")
	}
	answer = nil
	w.start()
	w.must(engine.Update, "rotate-role/s", nil)
	if third := w.staticKey(told); third == second || !bytes.Equal(told[len(told)-1].Key.PublicKey, lost) {
		t.Error("the rotation was finished with another key")
	}
}

// staticKey is the key of static role "s", which has to be the one that the database was told last.
func (w *world) staticKey(told []plugins.Change) string {
	w.Helper()
	resp := w.must(engine.Read, "static-creds/s", nil)
	w.wantKeys(resp, "last_vault_rotation", "rotation_period", "rsa_private_key", "ttl", "username")
	text := resp.Data["rsa_private_key"].(string)
	last := told[len(told)-1]
	block, _ := pem.Decode(last.Key.PublicKey)
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || !last.Password.Empty() || !equal(public, privateKey(w.T, text).Public()) {
		w.Errorf("the database was told another key: %v", err)
	}
	return text
}
