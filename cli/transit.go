package cli

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"os"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"leasehold/internal/secret"
	"leasehold/transit/keywrap"
)

// Forms in which a key to import can be given.
const (
	keyBase64 = "base64"
	keyRaw    = "raw"
	keyPEM    = "pem"
)

func (e *env) transitImport() *cli.Command {
	return e.importCommand("import", "import", "Import a key as a new one")
}

func (e *env) transitImportVersion() *cli.Command {
	return e.importCommand("import-version", "import_version", "Import a key as a new version of an imported one")
}

// importCommand makes a command that wraps a key for the server's wrapping key and sends it to an endpoint of its path.
func (e *env) importCommand(name, endpoint, usage string) *cli.Command {
	form := keyBase64
	return e.command(leaf{
		name: name, args: "PATH KEY [K=V...]", usage: usage,
		help: "PATH is MOUNT/keys/NAME. KEY is @file, - (stdin) or, visible to other users of the machine, the key itself.\n" +
			"Of symmetric types it is the key's bytes, of all others its PKCS #8 form; K=V are further fields, such as type=rsa-2048.",
		min: 2, max: -1,
		flags: []cli.Flag{&cli.StringFlag{
			Name: "key-format", Value: keyBase64, Destination: &form,
			Usage: "base64, raw (bytes) or pem (an unencrypted private key); the latter two only from a file or stdin",
		}},
		run: func(ctx context.Context, args []string) error {
			return importKey(ctx, e, args[0], endpoint, args[1], form, args[2:])
		},
	})
}

var keyPathForm = regexp.MustCompile(`^(.+)/keys/([^/]+)$`)

// keyPath splits MOUNT/keys/NAME.
func keyPath(path string) (mount, name string, err error) {
	path = cleanPath(path)
	parts := keyPathForm.FindStringSubmatch(path)
	if parts == nil {
		return "", "", mistake("The path %s is not of the form MOUNT/keys/NAME", path)
	}
	return parts[1], parts[2], nil
}

func importKey(ctx context.Context, e *env, path, endpoint, source, form string, params []string) error {
	mount, _, err := keyPath(path)
	if err != nil {
		return err
	}
	path = cleanPath(path)
	key, err := e.keyToImport(source, form)
	if err != nil {
		return err
	}
	data, err := e.parseData(params)
	if err != nil {
		return err
	}
	name, _ := data["hash_function"].(string)
	h, known := keywrap.Hash(name)
	if !known {
		return mistake("Unknown hash function: %s", name).hint("use SHA1, SHA224, SHA256, SHA384 or SHA512")
	}
	public, err := e.wrappingKey(ctx, mount)
	if err != nil {
		return err
	}
	wrapped, err := keywrap.Wrap(public, h, key)
	if err != nil {
		return mistake("The key has %d bytes; %d to %d can be imported", len(key.Reveal()), keywrap.MinKey, keywrap.MaxKey)
	}
	data["ciphertext"] = base64.StdEncoding.EncodeToString(wrapped)
	resp, err := e.call(ctx, http.MethodPut, path+"/"+endpoint, data)
	if err != nil {
		return failed(err, "Error importing a key to %s", path)
	}
	return e.showAnswer(resp, "Success! Imported a key to: "+path)
}

// wrappingKey reads the key that a mount's imported keys are wrapped with.
func (e *env) wrappingKey(ctx context.Context, mount string) (*rsa.PublicKey, error) {
	path := mount + "/wrapping_key"
	resp, err := e.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, failed(err, "Error reading %s", path)
	}
	text, _ := resp.Data["public_key"].(string)
	if block, _ := pem.Decode([]byte(text)); block != nil {
		if parsed, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			if public, ok := parsed.(*rsa.PublicKey); ok {
				return public, nil
			}
		}
	}
	return nil, refused("The answer at %s holds no RSA public key", path)
}

// keyToImport reads the key argument. Errors do not quote it.
func (e *env) keyToImport(source, form string) (secret.Bytes, error) {
	text := []byte(source)
	var err error
	switch file, inFile := strings.CutPrefix(source, "@"); {
	case inFile:
		if text, err = os.ReadFile(file); err != nil {
			return secret.Bytes{}, mistake("Failed to read the key: %s", err)
		}
	case source == "-":
		if text, err = e.takeStdin(); err != nil {
			return secret.Bytes{}, err
		}
	case form != keyBase64:
		return secret.Bytes{}, mistake("A key of format %s is read from a file (@file) or stdin (-)", form)
	}
	switch form {
	case keyBase64:
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			return secret.Bytes{}, mistake("The key is not base64: %s", err).hint("-key-format says in which other form it is")
		}
		return secret.NewBytes(key), nil
	case keyRaw:
		return secret.NewBytes(text), nil
	case keyPEM:
		return pemKey(text)
	}
	return secret.Bytes{}, mistake("Invalid key format: %s", form).hint("use base64, raw or pem")
}

// pemKey is the PKCS #8 form of a private key in PEM.
func pemKey(text []byte) (secret.Bytes, error) {
	block, rest := pem.Decode(text)
	if block == nil || len(block.Headers) > 0 || strings.TrimSpace(string(rest)) != "" {
		return secret.Bytes{}, mistake("The key has to be one unencrypted PEM block")
	}
	var pair any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		return secret.NewBytes(block.Bytes), nil // the server says whether it can be read: it knows types that we do not
	case "RSA PRIVATE KEY":
		pair, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		pair, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return secret.Bytes{}, mistake("A PEM block of type %q is not a private key", block.Type)
	}
	if err == nil {
		var encoded []byte
		if encoded, err = x509.MarshalPKCS8PrivateKey(pair); err == nil {
			return secret.NewBytes(encoded), nil
		}
	}
	return secret.Bytes{}, mistake("The %s cannot be read", strings.ToLower(block.Type))
}
