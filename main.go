// Command leasehold is the credential broker: server, command line and client in one binary.
package main

import (
	"os"

	"leasehold/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
