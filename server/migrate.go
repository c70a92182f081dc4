package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"leasehold/internal/clock"
	"leasehold/server/config"
	"leasehold/store"
	"leasehold/store/transfer"
)

// MigrateOptions are what the command line gives to [Migrate].
type MigrateOptions struct {
	Config string              // the file with storage_source and storage_destination
	Getenv func(string) string // nil: os.Getenv
	Reset  bool                // throw away what an unfinished migration has copied, and begin anew

	// Begin is told what the configuration says, before anything is opened. Names have no secrets in them. Required.
	Begin func(source, destination string, warnings []string)
	// Report is told how it goes. Required.
	Report func(MigrateProgress)
}

// MigrateProgress is how far a migration came.
type MigrateProgress = transfer.Progress

// MigrateSummary is what a migration did.
type MigrateSummary = transfer.Summary

// The phases of a migration.
const (
	MigrateOpened    = transfer.Opened
	MigrateCopying   = transfer.Copying
	MigrateComparing = transfer.Comparing
)

// Migrate is the command `leasehold operator migrate`: it moves a store to another database, while no server runs on either.
// An error is for the operator, and says what to do.
func Migrate(ctx context.Context, opts MigrateOptions) (MigrateSummary, error) {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	cfg, err := config.LoadMove(opts.Config, opts.Getenv)
	if err != nil {
		return MigrateSummary{}, err
	}
	if file := cfg.Source.File(); file != "" {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return MigrateSummary{}, fmt.Errorf("storage_source: there is no store at %s", file)
		} else if err != nil {
			return MigrateSummary{}, fmt.Errorf("storage_source: %w", err)
		}
	}
	if sameFile(cfg.Source.File(), cfg.Destination.File()) {
		return MigrateSummary{}, errors.New("storage_source and storage_destination are the same file")
	}
	source, err := moverOf(cfg.Source)
	if err != nil {
		return MigrateSummary{}, fmt.Errorf("storage_source: %w", err)
	}
	destination, err := moverOf(cfg.Destination)
	if err != nil {
		return MigrateSummary{}, fmt.Errorf("storage_destination: %w", err)
	}
	opts.Begin(source.String(), destination.String(), cfg.Warnings)
	return transfer.Move(ctx, transfer.Config{
		Source: source, Destination: destination, Migrations: Migrations(),
		Reset: opts.Reset, Clock: clock.System{}, Report: opts.Report,
	})
}

func sameFile(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	first, errFirst := os.Stat(a)
	second, errSecond := os.Stat(b)
	return errFirst == nil && errSecond == nil && os.SameFile(first, second)
}

func moverOf(s config.Storage) (store.Mover, error) {
	dialect, err := dialectOf(s)
	if err != nil {
		return nil, err
	}
	mover, ok := dialect.(store.Mover)
	if !ok {
		return nil, fmt.Errorf("a store in %s cannot be moved", dialect.Name())
	}
	return mover, nil
}
