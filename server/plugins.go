package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"leasehold/broker"
	"leasehold/broker/sys"
	"leasehold/database"
	"leasehold/kvcompat"
	"leasehold/plugins"
	"leasehold/plugins/external"
)

// catalog finds the programs of database plugins that were registered.
type catalog struct {
	broker    func() *broker.Broker
	directory string // of the programs; "": none can be launched
	log       *slog.Logger
}

func (c *catalog) find(ctx context.Context, name, version string) (p broker.Plugin, found bool, err error) {
	found, err = c.broker().Setting(ctx, broker.SettingPlugin, broker.PluginName(database.Kind, name, version), &p)
	return p, found, err
}

func (c *catalog) registered(ctx context.Context, name, version string) (bool, error) {
	_, found, err := c.find(ctx, name, version)
	return found, err
}

// driver launches a registered plugin. It looks into the catalogue before each start of a process, so what is registered anew is in
// force as soon as the former processes have ended.
func (c *catalog) driver(name, version string) plugins.Driver {
	return external.Driver{
		Name: name, Log: c.log,
		Program: func(ctx context.Context) (external.Program, error) {
			p, found, err := c.find(ctx, name, version)
			if err != nil {
				return external.Program{}, errors.New("the plugin catalogue could not be read")
			}
			if !found {
				return external.Program{}, fmt.Errorf("plugin not found in the catalog: %s %s", name, version)
			}
			path, err := external.Executable(c.directory, p.Command)
			if err != nil {
				return external.Program{}, err
			}
			sum, err := hex.DecodeString(p.SHA256)
			if err != nil {
				return external.Program{}, errors.New("the registered SHA-256 cannot be read: register the plugin anew")
			}
			return external.Program{Path: path, SHA256: sum, Args: p.Args, Env: p.Env}, nil
		},
	}
}

// plugins is what sys/plugins shows and asks of this process.
func (p *parts) plugins(version string) sys.Plugins {
	secrets := slices.Collect(maps.Keys(p.engines))
	secrets = slices.DeleteFunc(secrets, func(kind string) bool { return kind == database.Kind || kind == kvcompat.CubbyholeKind })
	return sys.Plugins{
		BuiltIn: map[string][]string{
			"auth": slices.Sorted(maps.Keys(p.methods)), database.Kind: slices.Sorted(maps.Keys(drivers)), "secret": slices.Sorted(slices.Values(secrets)),
		},
		Version: version,
		Check: func(command string) error {
			_, err := external.Executable(p.catalog.directory, command)
			return err
		},
		Reload: p.database.Reload,
	}
}
