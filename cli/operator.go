package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/urfave/cli/v2"

	"leasehold/client"
	"leasehold/internal/secret"
)

// initOptions are the flags of operator init that are not sent.
type initOptions struct {
	status          bool
	pgpKeys         []string // files
	rootTokenPGPKey string   // file
	recoveryPGPKeys []string // files
}

func (e *env) operatorInit() *cli.Command {
	var o initOptions
	body := fields{}
	return e.command(leaf{
		name: "init", usage: "Initialise a new server and print its keys and root token",
		help: "A server that people open has unseal keys; one whose seal opens it by itself has recovery keys instead.",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "status", Aliases: []string{"check"}, Destination: &o.status,
				Usage: "only tell whether the server is initialised: exit code 0 yes, 1 error, 2 no"},
			body.number("key-shares", "secret_shares", "number of unseal keys (default: 5)"),
			body.number("key-threshold", "secret_threshold", "number of keys that unseal (default: 3)"),
			body.number("recovery-shares", "recovery_shares", "number of recovery keys (default: 5)"),
			body.number("recovery-threshold", "recovery_threshold", "number of recovery keys that are needed (default: 3)"),
			fileList(&o.pgpKeys, "pgp-keys", "files of PGP public keys that encrypt the unseal keys, one each"),
			fileList(&o.recoveryPGPKeys, "recovery-pgp-keys", "the same for recovery keys"),
			&cli.StringFlag{Name: "root-token-pgp-key", Usage: "file of the PGP key that encrypts the root token", Destination: &o.rootTokenPGPKey},
		},
		run: func(ctx context.Context, _ []string) error {
			if o.status {
				return initStatus(ctx, e)
			}
			return initialize(ctx, e, o, body)
		},
	})
}

// fileList is a flag that takes several files, by commas or by being repeated.
func fileList(to *[]string, name, usage string) cli.Flag {
	return repeated(name, usage, "", func(v []string) error {
		for _, part := range v {
			*to = append(*to, strings.Split(part, ",")...)
		}
		return nil
	})
}

func initStatus(ctx context.Context, e *env) error {
	resp, err := e.call(ctx, http.MethodGet, "sys/init", nil)
	var answer struct {
		Initialized bool `json:"initialized"`
	}
	if err == nil {
		err = resp.Decode(&answer)
	}
	switch {
	case err != nil:
		err := failed(err, "Error checking initialization status")
		if f, ok := err.(*failure); ok {
			f.code = exitMistake
		}
		return err
	case !answer.Initialized:
		if err := e.success("The server is not initialized"); err != nil {
			return err
		}
		return &failure{code: 2}
	}
	return e.success("The server is initialized")
}

// initAnswer is what init gives, and under other names what it prints for programs.
type initAnswer struct {
	Keys               []string `json:"keys"`
	KeysBase64         []string `json:"keys_base64"`
	RecoveryKeys       []string `json:"recovery_keys"`
	RecoveryKeysBase64 []string `json:"recovery_keys_base64"`
	RootToken          string   `json:"root_token"`
}

// fillShares adds the defaults for the keys that the server has: unseal keys, or recovery keys where its seal opens it by itself.
func fillShares(ctx context.Context, e *env, body fields) error {
	_, unsealShares := body["secret_shares"]
	_, unsealThreshold := body["secret_threshold"]
	_, recoveryShares := body["recovery_shares"]
	_, recoveryThreshold := body["recovery_threshold"]
	recovery := recoveryShares || recoveryThreshold
	if !recovery && !unsealShares && !unsealThreshold && !e.dryRun() {
		resp, err := e.call(ctx, http.MethodGet, "sys/seal-status", nil)
		if err != nil {
			return failed(err, "Error reading seal status")
		}
		var status sealStatus
		if err := resp.Decode(&status); err != nil {
			return failed(err, "Error reading seal status")
		}
		recovery = status.RecoverySeal
	}
	defaults := fields{"secret_shares": 5, "secret_threshold": 3}
	if recovery {
		defaults = fields{"recovery_shares": 5, "recovery_threshold": 3}
	}
	for name, value := range defaults {
		if _, given := body[name]; !given {
			body[name] = value
		}
	}
	return nil
}

func initialize(ctx context.Context, e *env, o initOptions, body fields) error {
	for _, files := range []struct {
		field string
		names []string
	}{{"pgp_keys", o.pgpKeys}, {"recovery_pgp_keys", o.recoveryPGPKeys}} {
		if len(files.names) > 0 {
			keys, err := readPGPKeys(files.names)
			if err != nil {
				return err
			}
			body[files.field] = keys
		}
	}
	if o.rootTokenPGPKey != "" {
		keys, err := readPGPKeys([]string{o.rootTokenPGPKey})
		if err != nil {
			return err
		}
		body["root_token_pgp_key"] = keys[0]
	}
	if err := fillShares(ctx, e, body); err != nil {
		return err
	}
	resp, err := e.call(ctx, http.MethodPut, "sys/init", body)
	if err != nil {
		return failed(err, "Error initializing")
	}
	var answer initAnswer
	if err := resp.Decode(&answer); err != nil {
		return failed(err, "Error initializing")
	}
	if e.structured() || e.flags.field != "" {
		return e.show(view{object: map[string]any{
			"unseal_keys_b64":         orEmpty(answer.KeysBase64),
			"unseal_keys_hex":         orEmpty(answer.Keys),
			"unseal_shares":           orZero(body["secret_shares"]),
			"unseal_threshold":        orZero(body["secret_threshold"]),
			"recovery_keys_b64":       orEmpty(answer.RecoveryKeysBase64),
			"recovery_keys_hex":       orEmpty(answer.RecoveryKeys),
			"recovery_keys_shares":    orZero(body["recovery_shares"]),
			"recovery_keys_threshold": orZero(body["recovery_threshold"]),
			"root_token":              answer.RootToken,
		}})
	}
	var b strings.Builder
	for i, key := range answer.KeysBase64 {
		fmt.Fprintf(&b, "Unseal Key %d: %s\n", i+1, key)
	}
	for i, key := range answer.RecoveryKeysBase64 {
		fmt.Fprintf(&b, "Recovery Key %d: %s\n", i+1, key)
	}
	fmt.Fprintf(&b, "\nInitial Root Token: %s\n\n", answer.RootToken)
	if n := len(answer.KeysBase64); n > 0 {
		fmt.Fprintf(&b, "The server has %d unseal keys, and %v of them unseal it. It needs them after every\n"+
			"start. They are shown this once and are not kept anywhere: give each to somebody\n"+
			"else. Without %v of them what the server holds is lost.\n", n, body["secret_threshold"], body["secret_threshold"])
	}
	if n := len(answer.RecoveryKeysBase64); n > 0 {
		fmt.Fprintf(&b, "The server opens by itself, with its seal. It has %d recovery keys; %v of them consent to a\n"+
			"new root token, to new recovery keys and to another seal, and open a server that was sealed\n"+
			"by hand. They do not replace the seal. They are shown this once and are not kept anywhere:\n"+
			"give each to somebody else.\n", n, body["recovery_threshold"])
	}
	return e.print(b.String())
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func orZero(n any) any {
	if n == nil {
		return 0
	}
	return n
}

func (e *env) operatorUnseal() *cli.Command {
	var reset, migrate bool
	return e.command(leaf{
		name: "unseal", args: "[KEY]", usage: "Give the server an unseal key; without KEY it is asked for, - reads stdin",
		max: 1,
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "reset", Usage: "forget the keys given so far", Destination: &reset},
			&cli.BoolFlag{Name: "migrate", Destination: &migrate,
				Usage: "KEY is of the seal that the server has, and consents to the one that is configured; needed with every KEY"},
		},
		run: func(ctx context.Context, args []string) error { return unseal(ctx, e, args, reset, migrate) },
	})
}

func unseal(ctx context.Context, e *env, args []string, reset, migrate bool) error {
	body := fields{"reset": true}
	if !reset {
		key, err := e.keyArgument(ctx, args, "Unseal Key")
		if err != nil {
			return err
		}
		body = fields{"key": key.Reveal()}
		if migrate {
			body["migrate"] = true
		}
	}
	resp, err := e.call(ctx, http.MethodPut, "sys/unseal", body)
	if err != nil {
		return failed(err, "Error unsealing")
	}
	return e.showSealStatus(ctx, resp)
}

// keyArgument is a share given as the argument, or else asked for.
func (e *env) keyArgument(ctx context.Context, args []string, label string) (secret.Text, error) {
	key, err := e.secretArgument(args)
	if err == nil && key.Empty() {
		key, err = e.askSecret(ctx, label)
	}
	return key, err
}

func (e *env) operatorSeal() *cli.Command {
	return e.simple("seal", "Seal the server: it serves nothing until it is unsealed again", "sys/seal",
		"Success! The server is sealed.", "Error sealing")
}

func (e *env) operatorStepDown() *cli.Command {
	return e.simple("step-down", "Ask the node to hand over; where every node is active there is nothing to hand over", "sys/step-down", "Success! Stepped down.", "Error stepping down")
}

// simple is a command that sends one empty write.
func (e *env) simple(name, usage, path, done, action string) *cli.Command {
	return e.command(leaf{
		name: name, usage: usage,
		run: func(ctx context.Context, _ []string) error {
			resp, err := e.call(ctx, http.MethodPut, path, nil)
			if err != nil {
				return failed(err, "%s", action)
			}
			return e.showAnswer(resp, done)
		},
	})
}

func (e *env) operatorRotate() *cli.Command {
	return e.command(leaf{
		name: "rotate", usage: "Add a new encryption key, which seals everything from now on",
		run: func(ctx context.Context, _ []string) error {
			if _, err := e.call(ctx, http.MethodPut, "sys/rotate", nil); err != nil {
				return failed(err, "Error rotating key")
			}
			if err := e.success("Success! Rotated key\n"); err != nil {
				return err
			}
			return keyStatus(ctx, e)
		},
	})
}

func (e *env) operatorKeyStatus() *cli.Command {
	return e.command(leaf{
		name: "key-status", usage: "Show the encryption key's number and age",
		run: func(ctx context.Context, _ []string) error { return keyStatus(ctx, e) },
	})
}

func keyStatus(ctx context.Context, e *env) error {
	resp, err := e.call(ctx, http.MethodGet, "sys/key-status", nil)
	if err != nil {
		return failed(err, "Error reading key status")
	}
	var answer struct {
		Term        any `json:"term"`
		InstallTime any `json:"install_time"`
		Encryptions any `json:"encryptions"`
	}
	if err := resp.Decode(&answer); err != nil {
		return failed(err, "Error reading key status")
	}
	rows := append(keyValues(),
		[]string{"Key Term", plain(answer.Term)},
		[]string{"Install Time", plain(answer.InstallTime)},
		[]string{"Encryption Count", plain(answer.Encryptions)})
	return e.show(view{rows: rows, object: resp.Data})
}

// dataOf is the answer as an object, in the envelope or without it.
func dataOf(resp *client.Response) (map[string]any, error) {
	var data map[string]any
	err := resp.Decode(&data)
	return data, err
}
