package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

// Main runs the command that args name (args[0] is the program) and returns the exit code.
//
// The environment is the process's own. SIGINT and SIGTERM end a client command; the server handles them itself.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	e := &env{
		program: filepath.Base(args[0]),
		stdin:   stdin,
		stdout:  stdout,
		stderr:  stderr,
		getenv:  os.Getenv,
	}
	return e.main(context.Background(), args)
}

func (e *env) main(ctx context.Context, args []string) int {
	app := &cli.App{
		Name:                      e.program,
		Usage:                     "Credentials that end with their lease",
		Version:                   release,
		HideVersion:               true, // the flag is ours: it answers like the version command
		CustomAppHelpTemplate:     programHelp,
		Writer:                    e.stdout,
		ErrWriter:                 e.stderr,
		Commands:                  e.commands(),
		DisableSliceFlagSeparator: true, // a comma in k=v belongs to the value
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageError,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "show the version"},
		},
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return printVersion(e)
			}
			return unknownCommand(c)
		},
	}
	return e.finish(app.RunContext(ctx, args))
}

// interruptible ends ctx at the first SIGINT or SIGTERM; the second one ends the process.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// unknownCommand shows the usage of the group (or program) that c stands in.
func unknownCommand(c *cli.Context) error {
	c.App.Writer = c.App.ErrWriter
	given := c.Args().First()
	if len(c.Lineage()) < 3 { // the program's own context has a parent, too
		_ = cli.ShowAppHelp(c)
	} else {
		_ = cli.ShowSubcommandHelp(c)
	}
	if given == "" {
		return &failure{code: exitUnknown}
	}
	return &failure{code: exitUnknown, text: fmt.Sprintf("Unknown command: %s",
		strings.TrimSpace(strings.TrimPrefix(c.Command.HelpName, c.App.Name)+" "+given))}
}

// usageError turns what the flag parser says into our kind of error.
func usageError(c *cli.Context, err error, _ bool) error {
	name := c.App.Name
	if c.Command != nil && c.Command.HelpName != "" {
		name = c.Command.HelpName
	}
	return mistake("%s", err).hint("%s -h shows the flags", name)
}
