package cli

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/hcl/printer"
	"github.com/urfave/cli/v2"

	"leasehold/client"
)

func (e *env) policyList() *cli.Command {
	return e.command(leaf{
		name: "list", usage: "List the policies",
		run: func(ctx context.Context, _ []string) error { return listPolicies(ctx, e) },
	})
}

func listPolicies(ctx context.Context, e *env) error {
	resp, err := e.call(ctx, "LIST", "sys/policies/acl", nil)
	if err != nil {
		return failed(err, "Error listing policies")
	}
	var answer struct {
		Keys []string `json:"keys"`
	}
	if err := resp.Decode(&answer); err != nil {
		return failed(err, "Error listing policies")
	}
	if e.structured() {
		return e.show(view{object: answer.Keys})
	}
	return e.print(strings.Join(answer.Keys, "\n") + "\n")
}

func (e *env) policyRead() *cli.Command {
	return e.command(leaf{
		name: "read", args: "NAME", usage: "Print a policy",
		min: 1, max: 1,
		run: func(ctx context.Context, args []string) error { return readPolicy(ctx, e, args[0]) },
	})
}

func readPolicy(ctx context.Context, e *env, name string) error {
	name = policyName(name)
	resp, err := e.call(ctx, http.MethodGet, "sys/policies/acl/"+name, nil)
	if client.IsNotFound(err) {
		return refused("No policy named: %s", name)
	}
	if err != nil {
		return failed(err, "Error reading policy named %s", name)
	}
	if e.structured() || e.flags.field != "" {
		return e.showAnswer(resp, "")
	}
	var answer struct {
		Policy string `json:"policy"`
	}
	if err := resp.Decode(&answer); err != nil {
		return failed(err, "Error reading policy named %s", name)
	}
	return e.print(strings.TrimRight(answer.Policy, "\n") + "\n")
}

func (e *env) policyWrite() *cli.Command {
	return e.command(leaf{
		name: "write", args: "NAME PATH", usage: "Upload a policy from a file; - reads stdin",
		min: 2, max: 2,
		run: func(ctx context.Context, args []string) error { return writePolicy(ctx, e, args[0], args[1]) },
	})
}

func writePolicy(ctx context.Context, e *env, name, source string) error {
	name = policyName(name)
	var text []byte
	var err error
	if source == "-" {
		text, err = e.takeStdin()
	} else {
		text, err = os.ReadFile(source)
	}
	if err != nil {
		return mistake("Error opening policy file: %s", err)
	}
	resp, err := e.call(ctx, http.MethodPut, "sys/policies/acl/"+name, fields{"policy": string(text)})
	if err != nil {
		return failed(err, "Error uploading policy")
	}
	return e.showAnswer(resp, "Success! Uploaded policy: "+name)
}

func (e *env) policyDelete() *cli.Command {
	return e.command(leaf{
		name: "delete", args: "NAME", usage: "Delete a policy",
		min: 1, max: 1,
		run: func(ctx context.Context, args []string) error {
			name := policyName(args[0])
			resp, err := e.call(ctx, http.MethodDelete, "sys/policies/acl/"+name, nil)
			if err != nil {
				return failed(err, "Error deleting policy %s", name)
			}
			return e.showAnswer(resp, "Success! Deleted policy: "+name)
		},
	})
}

func (e *env) policyFmt() *cli.Command {
	return e.command(leaf{
		name: "fmt", args: "PATH", usage: "Format a policy file in place",
		min: 1, max: 1,
		run: func(_ context.Context, args []string) error { return formatPolicy(e, args[0]) },
	})
}

// formatPolicy replaces the file by renaming, so that a failure leaves it as it was.
func formatPolicy(e *env, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return mistake("Error reading source file: %s", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return mistake("Error reading source file: %s", err)
	}
	formatted, err := printer.Format(text)
	if err != nil {
		return mistake("Failed to parse policy: %s", err)
	}
	if err := replaceFile(path, formatted, info.Mode().Perm()); err != nil {
		return mistake("Error writing result: %s", err)
	}
	return e.success("Success! Formatted policy: %s", path)
}

// replaceFile writes beside path, then renames: a reader sees the old content or the new one.
func replaceFile(path string, content []byte, mode os.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // gone already when all went well
	_, err = temp.Write(content)
	if err == nil {
		err = temp.Chmod(mode)
	}
	if closing := temp.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	return err
}

// policyName is a name as the server keeps it.
func policyName(name string) string { return strings.ToLower(strings.TrimSpace(name)) }
