package cli

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/urfave/cli/v2"

	"leasehold/internal/secret"
)

// rootOptions are the flags of operator generate-root.
type rootOptions struct {
	init, status, cancel, newOTP bool
	decode, otp                  string
	pgpKey                       string // file
	nonce                        string
}

func (e *env) operatorGenerateRoot() *cli.Command {
	var o rootOptions
	return e.command(leaf{
		name: "generate-root", args: "[KEY]",
		usage: "Make a new root token from unseal or recovery keys: -init, KEY until the threshold is reached, -decode",
		max:   1,
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "init", Usage: "begin", Destination: &o.init},
			&cli.BoolFlag{Name: "status", Usage: "show how far it is", Destination: &o.status},
			&cli.BoolFlag{Name: "cancel", Usage: "give up; the keys given so far are forgotten", Destination: &o.cancel},
			&cli.BoolFlag{Name: "generate-otp", Aliases: []string{"genotp"}, Destination: &o.newOTP,
				Usage: "print a one-time password of the right length"},
			&cli.StringFlag{Name: "otp", Usage: "one-time password (- reads it from stdin), for -init and -decode", Destination: &o.otp},
			&cli.StringFlag{Name: "decode", Usage: "print the root token that this text encodes", Destination: &o.decode},
			&cli.StringFlag{Name: "pgp-key", Usage: "with -init: file of the PGP key that encrypts the token", Destination: &o.pgpKey},
			&cli.StringFlag{Name: "nonce", Usage: "nonce of the attempt that KEY is for", Destination: &o.nonce},
		},
		run: func(ctx context.Context, args []string) error { return generateRoot(ctx, e, o, args) },
	})
}

const rootAttempt = "sys/generate-root/attempt"

func generateRoot(ctx context.Context, e *env, o rootOptions, args []string) error {
	if o.otp == "-" {
		text, err := e.takeStdin()
		if err != nil {
			return err
		}
		o.otp = strings.TrimSpace(string(text))
	}
	switch {
	case o.newOTP:
		return generateOTP(ctx, e)
	case o.decode != "":
		return decodeRoot(e, o)
	case o.cancel:
		if _, err := e.call(ctx, http.MethodDelete, rootAttempt, nil); err != nil {
			return failed(err, "Error canceling root token generation")
		}
		return e.success("Success! Root token generation canceled (if it was started)")
	case o.init:
		return beginRoot(ctx, e, o)
	case o.status:
		return e.showAttempt(ctx, rootAttempt)
	}
	nonce, err := e.attemptNonce(ctx, rootAttempt, o.nonce, "root generation", "generate-root")
	if err != nil {
		return err
	}
	key, err := e.keyArgument(ctx, args, "Unseal Key")
	if err != nil {
		return err
	}
	resp, err := e.call(ctx, http.MethodPut, "sys/generate-root/update", fields{"key": key.Reveal(), "nonce": nonce})
	if err != nil {
		return failed(err, "Error posting unseal key")
	}
	return e.showAttemptAnswer(resp)
}

func beginRoot(ctx context.Context, e *env, o rootOptions) error {
	body := fields{}
	if o.otp != "" {
		body["otp"] = o.otp
	}
	if o.pgpKey != "" {
		keys, err := readPGPKeys([]string{o.pgpKey})
		if err != nil {
			return err
		}
		body["pgp_key"] = keys[0]
	}
	resp, err := e.call(ctx, http.MethodPut, rootAttempt, body)
	if err != nil {
		return failed(err, "Error initializing root generation")
	}
	return e.showAttemptAnswer(resp)
}

// generateOTP makes a one-time password as long as the server's root tokens.
func generateOTP(ctx context.Context, e *env) error {
	resp, err := e.call(ctx, http.MethodGet, rootAttempt, nil)
	if err != nil {
		return failed(err, "Error getting root generation status")
	}
	var answer struct {
		Length json.Number `json:"otp_length"`
	}
	if err := resp.Decode(&answer); err != nil {
		return failed(err, "Error getting root generation status")
	}
	n, err := answer.Length.Int64()
	if err != nil || n < 1 || n > 1024 {
		return refused("The server does not tell the length of a one-time password")
	}
	otp := secret.Random(secret.Base62, int(n)).Reveal()
	if e.structured() {
		return e.show(view{object: map[string]string{"otp": otp}})
	}
	return e.showField(otp)
}

// decodeRoot undoes the encoding of a root token: base64 without padding of the token XOR the one-time password.
// It needs no server.
func decodeRoot(e *env, o rootOptions) error {
	if o.otp == "" {
		return mistake("-decode needs -otp")
	}
	encoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(o.decode, "="))
	if err != nil {
		return mistake("Error decoding root token: the text is not base64")
	}
	if len(encoded) != len(o.otp) {
		return mistake("Error decoding root token: the one-time password has another length than the token")
	}
	token := make([]byte, len(encoded))
	subtle.XORBytes(token, encoded, []byte(o.otp))
	if e.structured() {
		return e.show(view{object: map[string]string{"token": string(token)}})
	}
	return e.showField(string(token))
}
