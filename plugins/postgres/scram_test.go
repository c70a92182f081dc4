package postgres

import (
	"encoding/base64"
	"regexp"
	"testing"

	"leasehold/internal/secret"
)

func TestVerifier(t *testing.T) {
	t.Parallel()
	// RFC 7677, section 3: the password "pencil" with this salt. The proof there verifies against this StoredKey.
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	const want = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	got, err := verifierWith(secret.NewText("pencil"), salt, scramRounds)
	if err != nil || got.Reveal() != want {
		t.Errorf("got %s, %v\nwant %s", got.Reveal(), err, want)
	}
	a, _ := verifier(secret.NewText("same"), scramRounds)
	b, _ := verifier(secret.NewText("same"), scramRounds)
	if a.Equal(b) || !regexp.MustCompile(`^SCRAM-SHA-256\$4096:[A-Za-z0-9+/=]{24}\$[A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}$`).MatchString(a.Reveal()) {
		t.Errorf("two verifiers of one password: %s and %s", a.Reveal(), b.Reveal())
	}
}

func TestVerifiersOnly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ sql, want string }{
		{`CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}'`, `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{verifier}}'`},
		{"alter user x encrypted password\n'{{password}}' valid until 'y'", "alter user x encrypted password\n'{{verifier}}' valid until 'y'"},
		{`DO $$ BEGIN CREATE USER a PASSWORD '{{password}}'; ALTER GROUP b PASSWORD '{{password}}'; END $$`,
			`DO $$ BEGIN CREATE USER a PASSWORD '{{verifier}}'; ALTER GROUP b PASSWORD '{{verifier}}'; END $$`},
		{`CREATE USER MAPPING FOR x SERVER s OPTIONS (user 'u', password '{{password}}')`, `CREATE USER MAPPING FOR x SERVER s OPTIONS (user 'u', password '{{password}}')`},
		{`CREATE ROLE x; INSERT INTO t VALUES ('{{password}}')`, `CREATE ROLE x; INSERT INTO t VALUES ('{{password}}')`},
		{`COMMENT ON ROLE x IS 'password ''{{password}}'''`, `COMMENT ON ROLE x IS 'password ''{{password}}'''`},
		{`SELECT make('{{name}}', '{{password}}')`, `SELECT make('{{name}}', '{{password}}')`},
	} {
		if got := verifiersOnly(test.sql); got != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.sql, got, test.want)
		}
	}
}
