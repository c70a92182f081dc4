package cli

import (
	"context"

	"github.com/urfave/cli/v2"
)

// release is the program's version: sys/seal-status and the start-up text show it, too.
const release = "0.1.0"

func (e *env) versionCommand() *cli.Command {
	return e.command(leaf{
		name: "version", usage: "Print the version",
		local: true,
		run:   func(context.Context, []string) error { return printVersion(e) },
	})
}

func printVersion(e *env) error { return e.print("Leasehold v" + release + "\n") }
