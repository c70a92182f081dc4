package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/urfave/cli/v2"

	"leasehold/client"
)

// rekeyOptions are the flags of operator rekey that are not sent.
type rekeyOptions struct {
	init, status, cancel, verify bool
	backupShow, backupDelete     bool
	target                       string
	nonce                        string
	pgpKeys                      []string
}

func (e *env) operatorRekey() *cli.Command {
	var o rekeyOptions
	body := fields{"secret_shares": 5, "secret_threshold": 3}
	return e.command(leaf{
		name: "rekey", args: "[KEY]", usage: "Make new unseal keys or recovery keys: -init, then KEY until the threshold is reached",
		max: 1,
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "init", Usage: "begin", Destination: &o.init},
			&cli.BoolFlag{Name: "status", Usage: "show how far it is", Destination: &o.status},
			&cli.BoolFlag{Name: "cancel", Usage: "give up; the keys given so far are forgotten", Destination: &o.cancel},
			&cli.BoolFlag{Name: "verify", Destination: &o.verify,
				Usage: "with -init: have the new keys proven before they hold; else: KEY proves one (with -status, -cancel: of the proof)"},
			body.number("key-shares", "secret_shares", "number of new keys (default: 5)"),
			body.number("key-threshold", "secret_threshold", "number of new keys that unseal (default: 3)"),
			body.boolean("backup", "backup", "with -pgp-keys: the server keeps the encrypted keys"),
			fileList(&o.pgpKeys, "pgp-keys", "files of PGP public keys that encrypt the new keys, one each"),
			&cli.StringFlag{Name: "nonce", Usage: "nonce of the rekey that KEY is for", Destination: &o.nonce},
			&cli.StringFlag{Name: "target", Usage: "barrier: unseal keys, or recovery: recovery keys, which servers have that open by themselves", Value: "barrier", Destination: &o.target},
			&cli.BoolFlag{Name: "backup-retrieve", Usage: "print the kept encrypted keys", Destination: &o.backupShow},
			&cli.BoolFlag{Name: "backup-delete", Usage: "delete the kept encrypted keys", Destination: &o.backupDelete},
		},
		run: func(ctx context.Context, args []string) error { return rekey(ctx, e, o, body, args) },
	})
}

func rekey(ctx context.Context, e *env, o rekeyOptions, body fields, args []string) error {
	base, backup := "sys/rekey/", "sys/rekey/backup"
	switch strings.ToLower(o.target) {
	case "barrier":
	case "recovery", "hsm":
		base, backup = "sys/rekey-recovery-key/", "sys/rekey/recovery-key-backup"
	default:
		return mistake("Unknown target: %s", o.target).hint("targets: barrier, recovery")
	}
	attempt := base + "init" // of the rekey itself, or of the proof of the new keys
	if o.verify {
		attempt = base + "verify"
	}
	switch {
	case o.init:
		return beginRekey(ctx, e, o, body, base+"init")
	case o.cancel:
		if _, err := e.call(ctx, http.MethodDelete, attempt, nil); err != nil {
			return failed(err, "Error canceling rekey")
		}
		return e.success("Success! Canceled rekeying (if it was started)")
	case o.status:
		return e.showAttempt(ctx, attempt)
	case o.backupDelete:
		if _, err := e.call(ctx, http.MethodDelete, backup, nil); err != nil {
			return failed(err, "Error deleting backup")
		}
		return e.success("Success! Delete backup (if it existed)")
	case o.backupShow:
		resp, err := e.call(ctx, http.MethodGet, backup, nil)
		if err != nil {
			return failed(err, "Error retrieving backup")
		}
		return e.showAnswer(resp, "")
	}
	update := base + "update"
	if o.verify {
		update = base + "verify"
	}
	return giveRekeyShare(ctx, e, o, attempt, update, args)
}

func beginRekey(ctx context.Context, e *env, o rekeyOptions, body fields, path string) error {
	if len(o.pgpKeys) > 0 {
		keys, err := readPGPKeys(o.pgpKeys)
		if err != nil {
			return err
		}
		body["pgp_keys"] = keys
	}
	if o.verify {
		body["require_verification"] = true
	}
	resp, err := e.call(ctx, http.MethodPut, path, body)
	if err != nil {
		return failed(err, "Error initializing rekey")
	}
	if len(o.pgpKeys) == 0 && !e.structured() {
		e.warn([]string{"The new keys will be shown to whoever gives the last of the old ones: -pgp-keys encrypts them"})
	}
	return e.showAttemptAnswer(resp)
}

// giveRekeyShare sends one share, of the old keys or, for the proof, of the new ones.
func giveRekeyShare(ctx context.Context, e *env, o rekeyOptions, attempt, update string, args []string) error {
	nonce, err := e.attemptNonce(ctx, attempt, o.nonce, "rekey", "rekey")
	if err != nil {
		return err
	}
	key, err := e.keyArgument(ctx, args, "Rekey Key")
	if err != nil {
		return err
	}
	resp, err := e.call(ctx, http.MethodPut, update, fields{"key": key.Reveal(), "nonce": nonce})
	if err != nil {
		return failed(err, "Error posting rekey share")
	}
	var answer struct {
		Complete          bool     `json:"complete"`
		KeysBase64        []string `json:"keys_base64"`
		Fingerprints      []string `json:"pgp_fingerprints"`
		Backup            bool     `json:"backup"`
		VerificationNeeds bool     `json:"verification_required"`
		VerificationNonce string   `json:"verification_nonce"`
	}
	if err := resp.Decode(&answer); err != nil {
		return failed(err, "Error posting rekey share")
	}
	data, err := dataOf(resp)
	switch {
	case err != nil:
		return failed(err, "Error posting rekey share")
	case e.structured() || e.flags.field != "":
		return e.show(view{object: data})
	case !answer.Complete:
		return e.showAttemptAnswer(resp)
	case o.verify:
		return e.print("Success! The new keys are proven and in force.\n")
	}
	var b strings.Builder
	for i, text := range answer.KeysBase64 {
		fmt.Fprintf(&b, "Key %d", i+1)
		if i < len(answer.Fingerprints) {
			fmt.Fprintf(&b, " fingerprint: %s; value", answer.Fingerprints[i])
		}
		fmt.Fprintf(&b, ": %s\n", text)
	}
	fmt.Fprintf(&b, "\nOperation nonce: %s\n\n", nonce)
	if answer.VerificationNeeds {
		fmt.Fprintf(&b, "The old keys stay in force until the new ones are proven:\n\n    %s operator rekey -verify -nonce=%s\n",
			e.program, answer.VerificationNonce)
	} else {
		b.WriteString("The new keys are in force, the old ones are worth nothing. They are shown this once.\n")
	}
	return e.print(b.String())
}

// attemptNonce is the nonce of what is going on, which a share must name. It is an error when nothing is.
func (e *env) attemptNonce(ctx context.Context, path, given, what, command string) (string, error) {
	if given != "" {
		return given, nil
	}
	resp, err := e.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return "", failed(err, "Error getting %s status", what)
	}
	var answer struct {
		Started bool   `json:"started"`
		Nonce   string `json:"nonce"`
	}
	if err := resp.Decode(&answer); err != nil {
		return "", failed(err, "Error getting %s status", what)
	}
	if !answer.Started {
		return "", mistake("No %s is in progress", what).hint("%s operator %s -init begins one", e.program, command)
	}
	return answer.Nonce, nil
}

// showAttempt prints how far a rekey or the making of a root token is.
func (e *env) showAttempt(ctx context.Context, path string) error {
	resp, err := e.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return failed(err, "Error getting status")
	}
	return e.showAttemptAnswer(resp)
}

// attemptRows are the lines of an attempt's table, by their names on the wire. A line that was not answered is left out.
var attemptRows = []struct{ title, field string }{
	{"Nonce", "nonce"},
	{"Started", "started"},
	{"Complete", "complete"},
	{"New Shares", "n"},
	{"New Threshold", "t"},
	{"Verification Required", "verification_required"},
	{"Verification Nonce", "verification_nonce"},
	{"PGP Fingerprints", "pgp_fingerprints"},
	{"PGP Fingerprint", "pgp_fingerprint"},
	{"Backup", "backup"},
	{"OTP", "otp"},
	{"OTP Length", "otp_length"},
	{"Encoded Token", "encoded_token"},
}

func (e *env) showAttemptAnswer(resp *client.Response) error {
	data, err := dataOf(resp)
	if err != nil {
		return failed(err, "Error reading status")
	}
	rows := keyValues()
	for _, r := range attemptRows {
		value, there := data[r.field]
		if !there || value == nil || value == "" && r.field != "nonce" {
			continue
		}
		rows = append(rows, []string{r.title, plain(value)})
		if r.field == "started" {
			rows = append(rows, []string{"Progress", fmt.Sprintf("%s/%s", number(data["progress"]), number(data["required"], data["t"]))})
		}
	}
	return e.show(view{rows: rows, object: data})
}

// number is the first of values that is one.
func number(values ...any) string {
	for _, v := range values {
		if n, ok := v.(json.Number); ok {
			return n.String()
		}
	}
	return "0"
}
