package cli

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// mountKind is what the commands for secrets engines and those for auth methods differ in.
type mountKind struct {
	noun    string
	one     string // the noun with its article
	path    string // of the list and of single mounts
	tune    string // prefix of the tune paths
	remount string // prefix of the paths in a move
	enabled string // success text of enable: type, path
	auth    bool
}

var (
	secretsKind = mountKind{noun: "secrets engine", one: "a secrets engine", path: "sys/mounts", tune: "sys/mounts/",
		enabled: "Success! Enabled the %s secrets engine at: %s/"}
	authKind = mountKind{noun: "auth method", one: "an auth method", path: "sys/auth", tune: "sys/mounts/auth/", remount: "auth/",
		enabled: "Success! Enabled %s auth method at: %s/", auth: true}
)

// mountFlags are the flags that enable and tune share. config is the mount's configuration; top holds what stands
// beside it.
func mountFlags(kind mountKind, top, config fields) []cli.Flag {
	flags := []cli.Flag{
		top.text("description", "description", "text for people"),
		top.pairs("options", "options", "KEY=VALUE for the engine; repeatable"),
		&cli.StringFlag{Name: "version", Usage: "version of the engine", Action: func(_ *cli.Context, v string) error {
			top["version"] = v
			return nil
		}},
		config.duration("default-lease-ttl", "default_lease_ttl", "lifetime of leases that ask for none; system for the system's", true),
		config.duration("max-lease-ttl", "max_lease_ttl", "limit of lifetimes; system for the system's", true),
		config.list("audit-non-hmac-request-keys", "audit_non_hmac_request_keys", "request field that audit shows plainly; repeatable"),
		config.list("audit-non-hmac-response-keys", "audit_non_hmac_response_keys", "answer field that audit shows plainly; repeatable"),
		config.text("listing-visibility", "listing_visibility", "unauth or hidden"),
		config.list("passthrough-request-headers", "passthrough_request_headers", "header handed to the engine; repeatable"),
		config.list("allowed-response-headers", "allowed_response_headers", "header that the engine may answer with; repeatable"),
		config.text("plugin-version", "plugin_version", "version of the plugin"),
	}
	if kind.auth {
		flags = append(flags, config.text("token-type", "token_type", "default-service, default-batch, service or batch"))
	}
	return flags
}

// applyVersion moves -version into the options, where the API has it.
func applyVersion(body fields) {
	version, ok := body["version"]
	if !ok {
		return
	}
	delete(body, "version")
	options, _ := body["options"].(map[string]string)
	if options == nil {
		options = map[string]string{}
	}
	options["version"] = fmt.Sprint(version)
	body["options"] = options
}

func (e *env) mountEnable(kind mountKind) *cli.Command {
	body, config := fields{}, fields{}
	var path, plugin string
	flags := append(mountFlags(kind, body, config),
		&cli.StringFlag{Name: "path", Usage: "where (default: the type)", Destination: &path},
		&cli.StringFlag{Name: "plugin-name", Usage: "name of the plugin, with type plugin", Destination: &plugin},
		body.boolean("local", "local", "not replicated"),
		body.boolean("seal-wrap", "seal_wrap", "wrap stored values with the seal"),
		body.boolean("external-entropy-access", "external_entropy_access", "use the seal's randomness"),
	)
	if !kind.auth {
		flags = append(flags, config.boolean("force-no-cache", "force_no_cache", "never cache"))
	}
	return e.command(leaf{
		name: "enable", args: "TYPE", usage: "Enable " + kind.one,
		min: 1, max: 1,
		flags: flags,
		run: func(ctx context.Context, args []string) error {
			mountType := args[0]
			if mountType == "plugin" && plugin != "" {
				mountType = plugin
			}
			at := cleanPath(path)
			if at == "" {
				at = mountType
			}
			applyVersion(body)
			body["type"] = mountType
			if len(config) > 0 {
				body["config"] = config
			}
			resp, err := e.call(ctx, http.MethodPut, kind.path+"/"+at, body)
			if err != nil {
				return failed(err, "Error enabling %s", kind.noun)
			}
			return e.showAnswer(resp, fmt.Sprintf(kind.enabled, mountType, at))
		},
	})
}

func (e *env) mountDisable(kind mountKind) *cli.Command {
	var force bool
	return e.command(leaf{
		name: "disable", args: "PATH", usage: "Disable " + kind.one + ": its leases are revoked, its data is deleted",
		min: 1, max: 1,
		flags: []cli.Flag{forceFlag(&force, "do not ask for the path on a terminal")},
		run: func(ctx context.Context, args []string) error {
			path := cleanPath(args[0])
			if !force {
				what := fmt.Sprintf("Disabling the %s at %s/ revokes all its leases and deletes its data.", kind.noun, path)
				if err := e.confirm(ctx, what, path); err != nil {
					return err
				}
			}
			resp, err := e.call(ctx, http.MethodDelete, kind.path+"/"+path, nil)
			if err != nil {
				return failed(err, "Error disabling %s at %s/", kind.noun, path)
			}
			return e.showAnswer(resp, fmt.Sprintf("Success! Disabled the %s (if it existed) at: %s/", kind.noun, path))
		},
	})
}

func (e *env) mountTune(kind mountKind) *cli.Command {
	body := fields{} // tune has no config object: all fields are on one level
	flags := mountFlags(kind, body, body)
	lockout := fields{}
	if kind.auth {
		flags = append(flags,
			lockout.number("user-lockout-threshold", "lockout_threshold", "failed logins until a user is locked out"),
			lockout.duration("user-lockout-duration", "lockout_duration", "how long a user is locked out", false),
			lockout.duration("user-lockout-counter-reset-duration", "lockout_counter_reset_duration", "after which failed logins are forgotten", false),
			lockout.boolean("user-lockout-disable", "lockout_disable", "never lock out"),
		)
	}
	return e.command(leaf{
		name: "tune", args: "PATH", usage: "Change the settings of " + kind.one,
		min: 1, max: 1,
		flags: flags,
		run: func(ctx context.Context, args []string) error {
			path := cleanPath(args[0])
			applyVersion(body)
			if len(lockout) > 0 {
				body["user_lockout_config"] = lockout
			}
			resp, err := e.call(ctx, http.MethodPut, kind.tune+path+"/tune", body)
			if err != nil {
				return failed(err, "Error tuning %s %s", kind.noun, path)
			}
			return e.showAnswer(resp, fmt.Sprintf("Success! Tuned the %s at: %s/", kind.noun, path))
		},
	})
}

func (e *env) mountMove(kind mountKind) *cli.Command {
	return e.command(leaf{
		name: "move", args: "SOURCE DESTINATION", usage: "Move " + kind.one + " to another path: its leases are revoked",
		min: 2, max: 2,
		run: func(ctx context.Context, args []string) error {
			return moveMount(ctx, e, kind, cleanPath(args[0]), cleanPath(args[1]))
		},
	})
}

// moveMount starts a move and waits for its end.
func moveMount(ctx context.Context, e *env, kind mountKind, from, to string) error {
	const action = "Error moving %s %s/ to %s/"
	resp, err := e.call(ctx, http.MethodPut, "sys/remount", fields{"from": kind.remount + from, "to": kind.remount + to})
	if err != nil {
		return failed(err, action, kind.noun, from, to)
	}
	var move struct {
		ID string `json:"migration_id"`
	}
	if err := resp.Decode(&move); err != nil {
		return failed(err, action, kind.noun, from, to)
	}
	if err := e.success("Success! Started moving %s %s/ to %s/, with migration ID %s", kind.noun, from, to, move.ID); err != nil {
		return err
	}
	for {
		resp, err := e.call(ctx, http.MethodGet, "sys/remount/status/"+move.ID, nil)
		if err != nil {
			return failed(err, action, kind.noun, from, to)
		}
		var answer struct {
			Info struct {
				Status string `json:"status"`
			} `json:"migration_info"`
		}
		if err := resp.Decode(&answer); err != nil {
			return failed(err, action, kind.noun, from, to)
		}
		switch answer.Info.Status {
		case "success":
			return e.success("Success! Finished moving %s %s/ to %s/, with migration ID %s", kind.noun, from, to, move.ID)
		case "failure":
			return refused("Failure! The %s %s/ was not moved to %s/; migration ID %s", kind.noun, from, to, move.ID)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return failed(ctx.Err(), "Stopped waiting; the server goes on moving %s/ to %s/", from, to)
		}
	}
}

// mount is what the list shows of one.
type mount struct {
	Type              string         `json:"type"`
	Description       string         `json:"description"`
	Accessor          string         `json:"accessor"`
	UUID              string         `json:"uuid"`
	Local             bool           `json:"local"`
	SealWrap          bool           `json:"seal_wrap"`
	ExternalEntropy   bool           `json:"external_entropy_access"`
	Options           map[string]any `json:"options"`
	Config            mountConfig    `json:"config"`
	PluginVersion     string         `json:"plugin_version"`
	RunningVersion    string         `json:"running_plugin_version"`
	RunningSHA256     string         `json:"running_sha256"`
	DeprecationStatus string         `json:"deprecation_status"`
}

type mountConfig struct {
	DefaultLeaseTTL int64  `json:"default_lease_ttl"`
	MaxLeaseTTL     int64  `json:"max_lease_ttl"`
	ForceNoCache    bool   `json:"force_no_cache"`
	TokenType       string `json:"token_type"`
}

func (e *env) mountList(kind mountKind) *cli.Command {
	return e.command(leaf{
		name: "list", usage: "List the " + kind.noun + "s",
		run: func(ctx context.Context, _ []string) error { return listMounts(ctx, e, kind) },
	})
}

func listMounts(ctx context.Context, e *env, kind mountKind) error {
	resp, err := e.call(ctx, http.MethodGet, kind.path, nil)
	if err != nil {
		return failed(err, "Error listing %ss", kind.noun)
	}
	var mounts map[string]mount
	if err := resp.Decode(&mounts); err != nil {
		return failed(err, "Error listing %ss", kind.noun)
	}
	detailed, err := e.detailed()
	if err != nil {
		return err
	}
	rows := simpleMounts(kind, mounts)
	if detailed {
		rows = detailedMounts(kind, mounts)
	}
	return e.show(view{rows: rows, object: resp.Data})
}

func simpleMounts(kind mountKind, mounts map[string]mount) [][]string {
	rows := [][]string{{"Path", "Type", "Accessor", "Description"}}
	if kind.auth {
		rows[0] = append(rows[0], "Version")
	}
	for _, path := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[path]
		row := []string{path, m.Type, m.Accessor, orNA(m.Description)}
		if kind.auth {
			row = append(row, orNA(m.PluginVersion))
		}
		rows = append(rows, row)
	}
	return rows
}

func detailedMounts(kind mountKind, mounts map[string]mount) [][]string {
	header := []string{"Path", "Plugin", "Accessor", "Default TTL", "Max TTL", "Force No Cache"}
	if kind.auth {
		header[5] = "Token Type"
	}
	rows := [][]string{append(header, "Replication", "Seal Wrap", "External Entropy Access", "Options", "Description",
		"UUID", "Version", "Running Version", "Running SHA256", "Deprecation Status")}
	for _, path := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[path]
		sixth := fmt.Sprint(m.Config.ForceNoCache)
		if kind.auth {
			sixth = orNA(m.Config.TokenType)
		}
		if m.Options == nil {
			m.Options = map[string]any{}
		}
		rows = append(rows, []string{path, m.Type, m.Accessor, orSystem(m.Config.DefaultLeaseTTL),
			orSystem(m.Config.MaxLeaseTTL), sixth, replication(m.Local), fmt.Sprint(m.SealWrap),
			fmt.Sprint(m.ExternalEntropy), fmt.Sprint(m.Options), orNA(m.Description), m.UUID, orNA(m.PluginVersion),
			orNA(m.RunningVersion), orNA(m.RunningSHA256), orNA(m.DeprecationStatus)})
	}
	return rows
}

func orNA(text string) string {
	if text == "" {
		return "n/a"
	}
	return text
}

// orSystem shows a lifetime setting: 0 stands for the system's.
func orSystem(n int64) string {
	if n == 0 {
		return "system"
	}
	return seconds(n)
}

func replication(local bool) string {
	if local {
		return "local"
	}
	return "replicated"
}

func (e *env) authHelp() *cli.Command {
	return e.command(leaf{
		name: "help", args: "TYPE | PATH", usage: "Show how to log in by an auth method",
		min: 1, max: 1,
		run: func(ctx context.Context, args []string) error {
			return showLoginHelp(ctx, e, cleanPath(strings.TrimPrefix(args[0], "auth/")))
		},
	})
}

// showLoginHelp tells how to log in by a method's type, or by what is enabled at a path. Of a method that we know
// nothing about, the server's own help is shown.
func showLoginHelp(ctx context.Context, e *env, name string) error {
	path := name
	if _, known := loginMethods[name]; !known {
		resp, err := e.call(ctx, http.MethodGet, authKind.path, nil)
		if err != nil {
			return failed(err, "Error listing auth methods")
		}
		var mounts map[string]mount
		if err := resp.Decode(&mounts); err != nil {
			return failed(err, "Error listing auth methods")
		}
		m, ok := mounts[name+"/"]
		if !ok {
			return mistake("Error: no auth method is enabled at %s/, and none has this type", name)
		}
		name = m.Type
	}
	method, known := loginMethods[name]
	if !known {
		return pathHelp(ctx, e, "auth/"+path)
	}
	text := method.help(e.program, name, path)
	if e.structured() {
		return e.show(view{object: text})
	}
	return e.print(text)
}
