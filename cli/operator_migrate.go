package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"leasehold/server"
)

// migrateOptions are the flags of operator migrate.
type migrateOptions struct {
	config   string
	reset    bool
	start    string
	logLevel string
}

func (e *env) operatorMigrate() *cli.Command {
	var o migrateOptions
	return e.command(leaf{
		name: "migrate", usage: "Move the store to another database, while no server runs",
		help: "FILE has two blocks, such as:\n\n" +
			"   storage_source \"file\" { path = \"/srv/leasehold\" }\n" +
			"   storage_destination \"postgresql\" { connection_url = \"postgresql://leasehold@db.example.com/leasehold\" }\n\n" +
			"The source is only read. The destination is empty, or holds the first part of this very migration: when it was\n" +
			"interrupted, the same command goes on where it stopped. Every row is compared in the end. No unseal key is needed,\n" +
			"and the keys stay as they are.",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "`FILE` with the blocks storage_source and storage_destination", Destination: &o.config},
			&cli.BoolFlag{Name: "reset", Usage: "throw away what an unfinished migration has copied, and begin anew", Destination: &o.reset},
			&cli.StringFlag{Name: "log-level", Usage: "info shows progress, warn and error do not", Value: "info", Destination: &o.logLevel},
			&cli.StringFlag{Name: "start", Usage: "not supported: an interrupted migration goes on by itself", Destination: &o.start},
			&cli.IntFlag{Name: "max-parallel", Usage: "accepted, without effect: one connection reads, one writes"},
		},
		local: true,
		run: func(ctx context.Context, _ []string) error {
			ctx, stop := interruptible(ctx)
			defer stop()
			return migrate(ctx, e, o)
		},
	})
}

func migrate(ctx context.Context, e *env, o migrateOptions) error {
	if o.config == "" {
		return mistake("Must specify a config file using -config").hint("%s operator migrate -help shows what is in it", e.program)
	}
	if o.start != "" {
		return mistake("-start is not supported").hint("an interrupted migration goes on where it stopped when the same command is run again")
	}
	show, err := shownLevel(o.logLevel)
	if err != nil {
		return mistake("-log-level: %s", err)
	}
	p := &migrateProgress{out: e.stderr}
	summary, err := server.Migrate(ctx, server.MigrateOptions{
		Config: o.config, Getenv: e.getenv, Reset: o.reset,
		Begin: func(source, destination string, warnings []string) {
			for _, w := range warnings {
				p.line("warning: %s", w)
			}
			if show {
				p.line("source:      %s", source)
				p.line("destination: %s", destination)
			}
		},
		Report: func(now server.MigrateProgress) {
			if show {
				p.report(now)
			}
		},
	})
	switch {
	case errors.Is(err, context.Canceled):
		return mistake("Stopped before the end").hint("run the same command again: it goes on where it stopped")
	case err != nil:
		return mistake("Error migrating: %s", err)
	}
	p.line("The source is as it was. Point the servers' storage block at the destination, start them, and unseal them with the\n" +
		"keys that they had. Never start one on the source again: it would drop the logins that are renewed from now on.")
	return e.print(fmt.Sprintf("Success! Migrated %s rows of %d tables in %s, and compared every one.\n",
		thousands(summary.Rows), summary.Tables, span(summary.Took)))
}

// shownLevel reports whether progress is shown at a log level.
func shownLevel(name string) (bool, error) {
	var level slog.Level
	if strings.EqualFold(name, "trace") {
		return true, nil
	}
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return false, errors.New("want trace, debug, info, warn or error")
	}
	return level <= slog.LevelInfo, nil
}

// progressPause is how much time lies between two lines about the same table.
const progressPause = 2 * time.Second

// migrateProgress writes what happens, a line each: for a terminal as for the log of a job.
type migrateProgress struct {
	out   io.Writer
	step  string        // what is under way
	shown time.Duration // its time when it was last spoken of
}

func (p *migrateProgress) line(format string, args ...any) {
	_, _ = fmt.Fprintf(p.out, format+"\n", args...) // nobody is left to tell
}

func (p *migrateProgress) report(now server.MigrateProgress) {
	if now.Phase == server.MigrateOpened {
		p.line("%s rows in %d tables", thousands(now.Rows), now.Tables)
		return
	}
	doing, did := "copying", "copied"
	if now.Phase == server.MigrateComparing {
		doing, did = "comparing", "compared"
	}
	here := now.Done - now.Before // rows of this run
	switch step := doing + now.Table; {
	case now.Ended && now.Done == 0: // an empty table is not worth a line
	case now.Ended:
		p.line("%-10s %-24s %12s rows in %s", did, now.Table, thousands(now.Done), span(now.Elapsed))
	case step != p.step:
		p.step, p.shown = step, now.Elapsed
		if now.Before > 0 {
			p.line("%-10s %-24s %12s of %s rows are there already", doing, now.Table, thousands(now.Before), thousands(now.Rows))
		}
	case here > 0 && now.Elapsed-p.shown >= progressPause:
		p.shown = now.Elapsed
		left := time.Duration(float64(now.Elapsed) * float64(now.Rows-now.Done) / float64(here))
		p.line("%-10s %-24s %12s of %s rows, %s a second, %s to go", doing, now.Table, thousands(now.Done), thousands(now.Rows),
			thousands(int64(float64(here)/now.Elapsed.Seconds())), span(max(left, 0)))
	}
}

// span is a duration as people say it.
func span(d time.Duration) string {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// thousands is n with a comma between each three digits.
func thousands(n int64) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
