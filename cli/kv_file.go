package cli

import (
	"context"
	"net/http"
	"os"
	"path"

	"github.com/urfave/cli/v2"

	"leasehold/cli/secretfile"
	"leasehold/client"
)

// fileFormatFlag is -format of import and export: the file's, not the output's.
func fileFormatFlag(to *string) cli.Flag {
	return &cli.StringFlag{Name: "format", Usage: secretfile.Formats + "; told by the file's name if not given", Destination: to}
}

// fileFormat is the format that is named, or else told by the file's name.
func fileFormat(given, file string) (secretfile.Format, error) {
	if given != "" {
		f, known := secretfile.Named(given)
		if !known {
			return "", mistake("Invalid file format: %s", given).hint("formats: %s", secretfile.Formats)
		}
		return f, nil
	}
	f, known := secretfile.OfFile(file)
	if !known {
		return "", mistake("The name %s does not tell the file's format", file).hint("-format names it: %s", secretfile.Formats)
	}
	return f, nil
}

func (e *env) kvImport() *cli.Command {
	var mount, format string
	var dryRun bool
	options := fields{}
	return e.command(leaf{
		name: "import", args: "PATH FILE", usage: "Write a secret from a file: dotenv, JSON, YAML, Kubernetes Secret",
		help: kvPathHelp + " FILE is - for stdin. The file is the whole secret: keys that it lacks are gone\nin the new version.",
		min:  2, max: 2, ownFormat: true,
		flags: []cli.Flag{
			mountFlag(&mount), fileFormatFlag(&format), casFlag(options),
			&cli.BoolFlag{Name: "dry-run", Usage: "show which keys would change, never values; write nothing", Destination: &dryRun},
		},
		run: func(ctx context.Context, args []string) error {
			data, err := e.readSecretFile(args[1], format)
			if err != nil {
				return err
			}
			s, err := e.kvAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			if dryRun {
				return e.previewImport(ctx, s, data, options)
			}
			return putSecret(ctx, e, s, data, options)
		},
	})
}

func (e *env) readSecretFile(file, given string) (map[string]any, error) {
	format, err := fileFormat(given, file)
	if err != nil {
		return nil, err
	}
	var text []byte
	if file == "-" {
		if text, err = e.takeStdin(); err != nil {
			return nil, err
		}
	} else if text, err = os.ReadFile(file); err != nil {
		return nil, mistake("Failed to read the secret: %s", err)
	}
	data, err := secretfile.Decode(format, text)
	if err != nil {
		return nil, mistake("Failed to import %s: %s", file, err)
	}
	if given == "" && secretfile.IsManifest(data) {
		return nil, mistake("%s is the manifest of a Kubernetes Secret", file).
			hint("-format=kubernetes imports what it holds, -format=%s the manifest itself", format)
	}
	return data, nil
}

// previewImport shows what an import would change. A version that is deleted counts as empty.
func (e *env) previewImport(ctx context.Context, s kvSecret, data map[string]any, options fields) error {
	options, err := casOption(s, options)
	if err != nil {
		return err
	}
	current, _, err := findVersion(ctx, e, s, "")
	if err != nil {
		return err
	}
	if n, ok := options["cas"].(int64); ok && n != current.number {
		return refused("The import would be refused: the current version of %s is %d, not %d", s.at("data"), current.number, n)
	}
	next := kvVersion{secret: s, data: data}
	if s.versioned {
		next.number = current.number + 1
	}
	return e.showChanges(current, next, false)
}

func (e *env) kvExport() *cli.Command {
	var o exportOptions
	var mount string
	return e.command(leaf{
		name: "export", args: "PATH FILE", usage: "Write a secret to a file: dotenv, JSON, YAML, Kubernetes Secret",
		help: kvPathHelp + " FILE is - for stdout; a file is readable by its owner alone.\n" +
			"A secret that the format cannot hold exactly is refused.",
		min: 2, max: 2, ownFormat: true,
		flags: []cli.Flag{
			mountFlag(&mount), fileFormatFlag(&o.format), versionFlag(&o.version), forceFlag(&o.force, "replace FILE if it exists"),
			&cli.StringFlag{Name: "name", Usage: "name of the Kubernetes Secret; the last part of PATH if not given", Destination: &o.name},
		},
		run: func(ctx context.Context, args []string) error {
			format, err := fileFormat(o.format, args[1])
			if err != nil {
				return err
			}
			s, err := e.kvAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			return exportSecret(ctx, e, s, format, args[1], o)
		},
	})
}

type exportOptions struct {
	format, version, name string
	force                 bool
}

func exportSecret(ctx context.Context, e *env, s kvSecret, format secretfile.Format, file string, o exportOptions) error {
	if e.dryRun() {
		q, err := versionQuery(s, o.version)
		if err == nil {
			_, err = e.send(ctx, client.Request{Method: http.MethodGet, Path: s.at("data"), Query: q})
		}
		return err
	}
	v, err := readData(ctx, e, s, o.version)
	if err != nil {
		return err
	}
	if o.name == "" {
		o.name = path.Base(s.at("data"))
	}
	text, err := secretfile.Encode(format, v.data, o.name)
	if err != nil {
		return mistake("Failed to export %s: %s", s.at("data"), err)
	}
	if file == "-" {
		return e.print(string(text))
	}
	out, err := createFile(file, o.force)
	if err != nil {
		return err
	}
	defer out.discard()
	if _, err := out.Write(text); err != nil {
		return mistake("Failed to write the output: %s", err)
	}
	if err := out.finish(); err != nil {
		return err
	}
	return e.success("Success! Data exported to: %s", file)
}
