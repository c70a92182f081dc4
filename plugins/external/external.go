package external

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/types/known/structpb"

	"leasehold/internal/clock"
	"leasehold/plugins"
)

// Program is what is launched.
type Program struct {
	Path   string   // of the executable; absolute
	SHA256 []byte   // of its contents
	Args   []string // without its own name
	Env    []string // NAME=value; all that it gets but for what the protocol adds
}

// Driver opens databases of one external plugin. It implements [plugins.Driver].
type Driver struct {
	// Name is the plugin's, for the log.
	Name string
	// Program is asked before each start of a process. Its errors are shown to clients: they hold no secret.
	Program func(ctx context.Context) (Program, error)

	Clock clock.Clock  // nil: the system's
	Log   *slog.Logger // hears what the plugin writes on its standard error, without secrets; nil: nobody does
}

var _ plugins.Driver = Driver{}

// Open implements [plugins.Driver]. It starts nothing: what the plugin thinks of the settings is found out by [plugins.Database.Verify].
func (d Driver) Open(s plugins.Settings) (plugins.Database, error) {
	maxOpen, _, _, err := s.Pool()
	if err != nil {
		return nil, err
	}
	sent := make(map[string]any, len(s)+1)
	for name, value := range s {
		if sent[name], err = sendable(value); err != nil {
			return nil, fmt.Errorf("invalid %s: %w", name, err)
		}
	}
	// It is ours: the engine makes the names by it, and the plugin is to take them over.
	sent["username_template"] = givenName
	config, err := structpb.NewStruct(sent)
	if err != nil {
		return nil, errors.New("a setting is not a text of UTF-8") // the library's text quotes it
	}
	if d.Clock == nil {
		d.Clock = clock.System{}
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &database{
		driver: d, config: config, masks: settingMasks(s), maxOpen: maxOpen, turn: make(chan struct{}, 1),
		naming: map[string]*naming{plugins.TypePassword: {}, plugins.TypeRSA: {}, plugins.TypeCertificate: {}},
	}, nil
}

// givenName has a plugin name a user as it is told.
const givenName = "{{.DisplayName}}"

// Usernames implements [plugins.Driver]. The default name suits databases that are particular about names: it begins with a letter,
// is in upper case, as some plugins make every name, and short.
func (Driver) Usernames() plugins.Usernames {
	return plugins.Usernames{
		Template: `{{ printf "V_%s_%s" (random 12) (.RoleName | truncate 8 | replace "-" "_" | replace "." "_") | uppercase }}`,
	}
}

// CredentialTypes implements [plugins.Driver]. They are those of the protocol: which of them a plugin takes it tells when it is started.
func (Driver) CredentialTypes() []string {
	return []string{plugins.TypePassword, plugins.TypeRSA, plugins.TypeCertificate}
}
