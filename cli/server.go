package cli

import "github.com/urfave/cli/v2"

func (e *env) server() *cli.Command { return e.command(leaf{name: "server", local: true}) }
