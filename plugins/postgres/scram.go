package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"github.com/xdg-go/stringprep"

	"leasehold/internal/secret"
)

// The rounds of a verifier. The server checks each new verifier with as many, 1.5 to 2 ms of its time for the usual number,
// which is most of what CREATE ROLE costs.
const (
	scramRounds    = 4096 // PostgreSQL's own number, and the least that RFC 7677 allows
	maxScramRounds = 1_000_000
)

// verifier is what the server stores instead of the password (RFC 5802; its form is in PostgreSQL's pg_authid), made
// here so that the password is not sent and no log of statements shows it.
func verifier(password secret.Text, rounds int) (secret.Text, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails: the runtime ends the process when the system has no randomness
	return verifierWith(password, salt, rounds)
}

func verifierWith(password secret.Text, salt []byte, rounds int) (secret.Text, error) {
	plain, err := stringprep.SASLprep.Prepare(password.Reveal())
	if err != nil {
		plain = password.Reveal() // as the server and its clients do with what SASLprep forbids
	}
	salted, err := pbkdf2.Key(sha256.New, plain, salt, rounds, sha256.Size)
	if err != nil {
		return secret.Text{}, fmt.Errorf("derive a SCRAM key: %w", err)
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return secret.NewText(fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s",
		rounds, b64(salt), b64(stored[:]), b64(mac("Server Key")))), nil
}

var rolePassword = regexp.MustCompile(`(?is)\b(?:create|alter)\s+(role|user|group)\s[^;]*?\bpassword\s+'(\{\{password\}\})'`)

// verifiersOnly changes templates so that a role's password is set by its verifier: in CREATE and ALTER ROLE,
// USER and GROUP. Elsewhere, as in CREATE USER MAPPING, {{password}} stays what it is.
func verifiersOnly(sql string) string {
	var b strings.Builder
	for {
		m := rolePassword.FindStringSubmatchIndex(sql)
		if m == nil {
			b.WriteString(sql)
			return b.String()
		}
		b.WriteString(sql[:m[4]])
		if rest := strings.TrimSpace(sql[m[3]:m[4]]); len(rest) > 7 && strings.EqualFold(rest[:7], "mapping") {
			b.WriteString("{{password}}")
		} else {
			b.WriteString("{{verifier}}")
		}
		sql = sql[m[5]:]
	}
}
