package cli

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"leasehold/client"
)

// kvMetadataAt is the place of a secret's metadata.
func (e *env) kvMetadataAt(ctx context.Context, mount, path string) (string, error) {
	s, err := e.kvAt(ctx, mount, path)
	if err == nil {
		err = s.needVersions("Metadata is")
	}
	return s.at("metadata"), err
}

func (e *env) kvMetadataGet() *cli.Command {
	var mount string
	return e.command(leaf{
		name: "get", args: "PATH", usage: "Show a secret's versions and settings", help: kvPathHelp,
		min: 1, max: 1,
		flags: []cli.Flag{mountFlag(&mount)},
		run: func(ctx context.Context, args []string) error {
			path, err := e.kvMetadataAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			return getMetadata(ctx, e, path)
		},
	})
}

func getMetadata(ctx context.Context, e *env, path string) error {
	resp, err := e.call(ctx, http.MethodGet, path, nil)
	if client.IsNotFound(err) {
		return noValue(err, path)
	}
	if err != nil {
		return failed(err, "Error reading %s", path)
	}
	if resp.Empty() {
		return noValue(nil, path)
	}
	versions, _ := resp.Data["versions"].(map[string]any)
	var numbers []int64
	settings := map[string]any{}
	for key, value := range resp.Data {
		if key != "versions" {
			settings[key] = value
		}
	}
	for text := range versions {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	sections := []section{{"Metadata Path", [][]string{{path}}}, {"Metadata", e.sortedRows(settings)}}
	for _, n := range numbers {
		version, _ := versions[strconv.FormatInt(n, 10)].(map[string]any)
		sections = append(sections, section{fmt.Sprintf("Version %d", n), e.metadataRows(version)})
	}
	return e.showSecret(resp, sections...)
}

func (e *env) kvMetadataPut() *cli.Command {
	return e.metadataChange("put", "Set a secret's settings, also before it has data", http.MethodPut, nil)
}

func (e *env) kvMetadataPatch() *cli.Command {
	var removed []string
	return e.metadataChange("patch", "Change a secret's settings; custom metadata is merged", http.MethodPatch, &removed,
		repeated("remove-custom-metadata", "key to remove; may be given more than once", "",
			func(v []string) error { removed = v; return nil }))
}

// metadataChange makes put and patch. removed, where it is not nil, are keys of the custom metadata that are to go.
func (e *env) metadataChange(name, usage, method string, removed *[]string, more ...cli.Flag) *cli.Command {
	var mount string
	body := fields{}
	return e.command(leaf{
		name: name, args: "PATH", usage: usage, help: kvPathHelp,
		min: 1, max: 1,
		flags: append([]cli.Flag{
			mountFlag(&mount),
			body.number("max-versions", "max_versions", "versions to keep; 0: what the mount says"),
			body.boolean("cas-required", "cas_required", "refuse writes without check-and-set"),
			body.duration("delete-version-after", "delete_version_after", "time after which a new version is deleted; 0: never", false),
			body.pairs("custom-metadata", "custom_metadata", "KEY=VALUE to keep beside the secret; may be given more than once"),
		}, more...),
		run: func(ctx context.Context, args []string) error {
			path, err := e.kvMetadataAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			if removed != nil && len(*removed) > 0 {
				body["custom_metadata"] = withRemoved(body["custom_metadata"], *removed)
			}
			resp, err := e.call(ctx, method, path, body)
			if client.IsNotFound(err) {
				return noValue(nil, path).hint("kv metadata put makes it")
			}
			if err != nil {
				return failed(err, "Error writing data to %s", path)
			}
			return e.showAnswer(resp, "Success! Data written to: "+path)
		},
	})
}

// withRemoved is custom metadata in which null stands for what is to go.
func withRemoved(given any, removed []string) map[string]any {
	merged := map[string]any{}
	set, _ := given.(map[string]string)
	for key, value := range set {
		merged[key] = value
	}
	for _, key := range removed {
		merged[key] = nil
	}
	return merged
}

func (e *env) kvMetadataDelete() *cli.Command {
	var mount string
	return e.command(leaf{
		name: "delete", args: "PATH", usage: "Erase a secret with all its versions, for good", help: kvPathHelp,
		min: 1, max: 1,
		flags: []cli.Flag{mountFlag(&mount)},
		run: func(ctx context.Context, args []string) error {
			path, err := e.kvMetadataAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			resp, err := e.call(ctx, http.MethodDelete, path, nil)
			if err != nil {
				return failed(err, "Error deleting %s", path)
			}
			return e.showAnswer(resp, "Success! Data deleted (if it existed) at: "+path)
		},
	})
}
