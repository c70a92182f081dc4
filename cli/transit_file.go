package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/urfave/cli/v2"

	"leasehold/internal/secret"
	"leasehold/transit/sealedfile"
)

// fileCoding is what encrypt-file and decrypt-file have in common.
type fileCoding struct {
	body  fields // further fields of the request for the file's key
	force bool
}

func (o *fileCoding) flags() []cli.Flag {
	return []cli.Flag{
		o.body.text("context", "context", "context of a derived key, base64"),
		forceFlag(&o.force, "replace OUT if it exists"),
	}
}

const fileCodingHelp = "PATH is MOUNT/keys/NAME. IN and OUT are files; - stands for stdin and stdout.\n" +
	"OUT appears only when it is whole; it is readable by its owner alone."

func (e *env) transitEncryptFile() *cli.Command {
	o := fileCoding{body: fields{}}
	return e.command(leaf{
		name: "encrypt-file", args: "PATH IN OUT", usage: "Encrypt a file of any size under a key of its own",
		help: fileCodingHelp, min: 3, max: 3,
		flags: append(o.flags(), o.body.number("key-version", "key_version", "version of the key; the newest if not given")),
		run: func(ctx context.Context, args []string) error {
			return encryptFile(ctx, e, o, args[0], args[1], args[2])
		},
	})
}

func (e *env) transitDecryptFile() *cli.Command {
	o := fileCoding{body: fields{}}
	return e.command(leaf{
		name: "decrypt-file", args: "PATH IN OUT", usage: "Decrypt a file that encrypt-file made",
		help: fileCodingHelp + "\nWhat goes to stdout can be trusted only once the command has ended without an error.",
		min:  3, max: 3, flags: o.flags(),
		run: func(ctx context.Context, args []string) error {
			return decryptFile(ctx, e, o, args[0], args[1], args[2])
		},
	})
}

func encryptFile(ctx context.Context, e *env, o fileCoding, path, in, out string) error {
	mount, name, err := keyPath(path)
	if err != nil {
		return err
	}
	if out == "-" && isTerminal(e.stdout) {
		return mistake("An encrypted file is not for a terminal").hint("name a file, or send stdout to one")
	}
	src, err := e.openInput(in)
	if err != nil {
		return err
	}
	defer src.close()
	wrapped, key, err := e.fileKey(ctx, mount, name, o.body)
	if err != nil {
		return err
	}
	return e.produce(ctx, "Encrypted", in, out, o.force, func(dst io.Writer) error {
		defer key.Wipe()
		return sealedfile.Encrypt(dst, src, wrapped, key)
	})
}

func decryptFile(ctx context.Context, e *env, o fileCoding, path, in, out string) error {
	mount, name, err := keyPath(path)
	if err != nil {
		return err
	}
	src, err := e.openInput(in)
	if err != nil {
		return err
	}
	defer src.close()
	file, err := sealedfile.Open(src)
	if err != nil {
		return mistake("Failed to decrypt %s: %s", in, err)
	}
	key, err := e.unwrapFileKey(ctx, mount, name, file.Wrapped, o.body)
	if err != nil {
		return err
	}
	return e.produce(ctx, "Decrypted", in, out, o.force, func(dst io.Writer) error {
		defer key.Wipe()
		return file.Decrypt(dst, key)
	})
}

// fileKey has the server make a key, in clear and encrypted.
func (e *env) fileKey(ctx context.Context, mount, name string, body fields) (string, secret.Bytes, error) {
	path := mount + "/datakey/plaintext/" + name
	body["bits"] = sealedfile.KeyBytes * 8
	resp, err := e.call(ctx, http.MethodPut, path, body)
	if err != nil {
		return "", secret.Bytes{}, failed(err, "Error making a key at %s", path)
	}
	wrapped, _ := resp.Data["ciphertext"].(string)
	key, ok := decodedKey(resp.Data["plaintext"])
	if !ok || wrapped == "" {
		return "", secret.Bytes{}, refused("The answer at %s holds no key", path)
	}
	return wrapped, key, nil
}

func (e *env) unwrapFileKey(ctx context.Context, mount, name, wrapped string, body fields) (secret.Bytes, error) {
	path := mount + "/decrypt/" + name
	body["ciphertext"] = wrapped
	resp, err := e.call(ctx, http.MethodPut, path, body)
	if err != nil {
		return secret.Bytes{}, failed(err, "Error decrypting the file's key at %s", path)
	}
	key, ok := decodedKey(resp.Data["plaintext"])
	if !ok {
		return secret.Bytes{}, refused("The answer at %s holds no key of a file", path)
	}
	return key, nil
}

func decodedKey(value any) (secret.Bytes, bool) {
	text, _ := value.(string)
	key, err := base64.StdEncoding.DecodeString(text)
	return secret.NewBytes(key), err == nil && len(key) == sealedfile.KeyBytes
}

// input is a file to read, or stdin. On a terminal it shows how far it was read.
type input struct {
	io.Reader
	close func()
}

// openInput opens a file, or stdin for "-".
func (e *env) openInput(path string) (*input, error) {
	if path == "-" {
		return e.watched(io.NopCloser(e.stdin), -1), nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, mistake("Failed to open the input: %s", err)
	}
	info, err := file.Stat()
	if err != nil || info.IsDir() {
		_ = file.Close()
		return nil, mistake("The input %s is not a file", path)
	}
	if !info.Mode().IsRegular() {
		return e.watched(file, -1), nil
	}
	return e.watched(file, info.Size()), nil
}

func (e *env) watched(src io.ReadCloser, size int64) *input {
	in := &input{Reader: src, close: func() { _ = src.Close() }}
	if isTerminal(e.stderr) {
		b := &bar{src: src, size: size, out: e.stderr}
		in.Reader, in.close = b, func() { b.erase(); _ = src.Close() }
	}
	return in
}

// produce has work write the output: a file that appears when work has ended well, or stdout for "-".
func (e *env) produce(ctx context.Context, done, in, out string, replace bool, work func(io.Writer) error) error {
	if out == "-" {
		return codingFailed(in, untilDone(ctx, func() error { return work(e.stdout) }))
	}
	file, err := createFile(out, replace)
	if err != nil {
		return err
	}
	defer file.discard()
	if err := untilDone(ctx, func() error { return work(file) }); err != nil {
		return codingFailed(in, err)
	}
	if err := file.finish(); err != nil {
		return err
	}
	return e.success("Success! %s to: %s", done, out)
}

// codingFailed says what to make of an error of the stream.
func codingFailed(in string, err error) error {
	if in == "-" {
		in = "stdin"
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sealedfile.ErrAltered):
		return mistake("%s is %s", in, err).hint("what was written to stdout, if anything, is not to be used")
	}
	return mistake("%s was not read or written to its end: %s", in, err)
}

// untilDone ends with work, or with ctx. In the latter case work is left behind, as it may wait for input that never
// comes; the process is about to end.
func untilDone(ctx context.Context, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.New("interrupted")
	}
}
