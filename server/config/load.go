package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// maxFileBytes bounds a configuration file.
const maxFileBytes = 1 << 20

// Load reads the files and directories in order, then the environment. env is like os.Getenv. The result is not
// validated yet: flags come on top of it.
func Load(paths []string, env func(string) string) (*Config, error) {
	l := &loader{config: Default()}
	for _, path := range paths {
		files, err := expand(path)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if err := l.load(file); err != nil {
				return nil, err
			}
		}
	}
	if err := l.config.applyEnvironment(env); err != nil {
		return nil, err
	}
	if err := l.config.applySealEnvironment(env); err != nil {
		return nil, err
	}
	return l.config, nil
}

// expand is the file itself, or the .hcl and .json files of a directory in the order of their names.
func expand(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, &Error{File: path, Text: reason(err)}
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		return nil, &Error{File: path, Text: reason(err)}
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".hcl" || ext == ".json") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, &Error{File: path, Text: "the directory holds no .hcl or .json file"}
	}
	return files, nil
}

// reason is the system's part of a file error, without the path, which stands in front already.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// loader reads files into one configuration.
type loader struct {
	config *Config
	file   string // the one being read
	sealed string // the type of the seal block that is in force; "": there was none
}

func (l *loader) load(file string) error {
	src, err := readFile(file)
	if err != nil {
		return err
	}
	return l.read(file, src)
}

func readFile(file string) ([]byte, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, &Error{File: file, Text: reason(err)}
	}
	if len(src) > maxFileBytes {
		return nil, &Error{File: file, Text: "the file is larger than 1 MiB"}
	}
	return src, nil
}

func (l *loader) read(file string, src []byte) error {
	return l.readKeys(file, src, l.topLevel(), idleTopLevel)
}

// readKeys reads a file whose top level has other keys than a server's.
func (l *loader) readKeys(file string, src []byte, known fields, idle []string) error {
	l.file = file
	root, err := parse(src)
	if err != nil {
		line := 0
		var where *lineError
		if errors.As(err, &where) {
			line = where.line
		}
		return l.fail(line, "%s", err)
	}
	return l.decode("", root.entries, known, idle)
}

// idleTopLevel are keys that such files carry and that change nothing here.
var idleTopLevel = []string{
	"cache_size", "cluster_cipher_suites", "detect_deadlocks", "disable_cache", "disable_clustering",
	"disable_indexing", "disable_performance_standby", "disable_printable_check", "disable_sealwrap", "disable_sentinel_trace",
	"disable_standby_reads", "enable_response_header_raft_node_id", "ha_backend", "ha_storage", "imprecise_lease_role_tracking",
	"initialize", "introspection_endpoint", "license_path", "log_rotate_bytes", "log_rotate_duration", "log_rotate_max_files",
	"plugin", "plugin_auto_download", "plugin_auto_register", "plugin_download_behavior",
	"plugin_download_max_size", "plugin_file_permissions", "plugin_file_uid", "raw_storage_endpoint", "reporting",
	"service_registration", "ui",
	"unsafe_cross_namespace_identity", "unsafe_relative_paths", "user_lockout",
}

func (l *loader) topLevel() fields {
	c := l.config
	return fields{
		"storage":                         l.storage,
		"backend":                         l.storage,
		"listener":                        l.listeners,
		"seal":                            l.seal,
		"api_addr":                        textField(&c.APIAddr),
		"redirect_addr":                   textField(&c.APIAddr),
		"cluster_addr":                    textField(&c.ClusterAddr),
		"cluster_name":                    textField(&c.ClusterName),
		"default_lease_ttl":               durationField(&c.DefaultLeaseTTL),
		"max_lease_ttl":                   durationField(&c.MaxLeaseTTL),
		"default_max_request_duration":    durationField(&c.MaxRequestDuration),
		"disable_mlock":                   notField(&c.LockMemory),
		"unsafe_allow_api_audit_creation": boolField(&c.APIAudit),
		"allow_audit_log_prefixing":       boolField(&c.AuditPrefixing),
		"allow_unauthenticated_workflows": boolField(&c.UnauthenticatedFlows),
		"enable_response_header_hostname": boolField(&c.ShowHostname),
		"pid_file":                        textField(&c.PIDFile),
		"plugin_directory":                textField(&c.PluginDirectory),
		"log_level":                       levelField(&c.LogLevel),
		"log_format":                      formatField(&c.LogFormat),
		"log_file":                        textField(&c.LogFile),
		"log_requests_level":              requestLevelField(&c.RequestLogLevel),
		"telemetry":                       l.telemetry,
		"audit":                           unsupported("enable audit devices through the API"),
	}
}

// unsupported refuses a key that would be dangerous to ignore.
func unsupported(instead string) field {
	return func(node) error { return fmt.Errorf("not supported: %s", instead) }
}

// block takes the one labelled block that a value is: storage "file" { ... }.
func (l *loader) block(n node, expected string) (entry, error) {
	labelled := flatten(n)
	if len(labelled) != 1 {
		return entry{}, errExpected(expected)
	}
	e := labelled[0]
	if e.value.kind == list && len(e.value.items) == 1 {
		e.value = e.value.items[0]
	}
	if e.value.kind != object {
		return entry{}, errExpected(expected)
	}
	return e, nil
}

func (l *loader) storage(n node) error {
	e, err := l.block(n, `one block such as: storage "file" { path = "/srv/leasehold" }`)
	if err != nil {
		return err
	}
	s := Storage{Type: e.key}
	known := fields{}
	var idle []string
	switch s.Type {
	case "sqlite", "file":
		known["path"] = textField(&s.Path)
	case "raft":
		known["path"] = textField(&s.Path)
		idle = []string{
			"node_id", "performance_multiplier", "trailing_logs", "snapshot_threshold", "snapshot_interval", "max_entry_size",
			"max_transaction_size", "autopilot_reconcile_interval", "autopilot_update_interval", "retry_join",
			"retry_join_as_non_voter",
		}
		l.warn(e.line, `storage "raft" is kept by one node in a local file, like "file": nodes do not replicate to each other`)
	case "inmem":
		idle = []string{"path"}
	case "postgresql":
		known = fields{
			"connection_url": secretField(&s.URL), "schema": textField(&s.Schema), "max_parallel": intField(&s.MaxConns),
			"max_idle_connections": intField(&s.MaxIdleConns), "max_connect_retries": intField(&s.ConnectRetries),
		}
		idle = []string{"table", "ha_enabled", "ha_table", "skip_create_table"} // there is no such table, and nodes are always many
	}
	if err := l.decode(fmt.Sprintf("storage %q: ", s.Type), e.value.entries, known, idle); err != nil {
		return err
	}
	l.config.Storage = s
	return nil
}

func (l *loader) listeners(n node) error {
	for _, e := range flatten(n) {
		blocks := []node{e.value}
		if e.value.kind == list {
			blocks = e.value.items
		}
		for _, b := range blocks {
			if b.kind != object || (e.key != "tcp" && e.key != "unix") {
				return at(e.line, `expected a block such as: listener "tcp" { ... }, or "unix"`)
			}
			if err := l.listener(e.key, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// idleListener are listener keys that change nothing here.
var idleListener = []string{
	"agent_api", "cluster_address", "max_json_array_element_count", "max_json_depth",
	"max_json_object_entry_count", "max_json_string_value_length", "proxy_api", "proxy_protocol_authorized_addrs",
	"purpose", "require_request_header", "role", "tls_prefer_server_cipher_suites",
	"x_forwarded_for_client_cert_header_decoders", "x_forwarded_for_client_cert_decoders",
	"x_forwarded_for_client_cert_keep_not_forwarded", "x_forwarded_for_client_cert_keep_unauthorized",
}

func (l *loader) listener(network string, n node) error {
	out := NewListener(network)
	t := out.TLS
	useTLS := network == "tcp" // a unix socket has TLS only when it is configured
	known := fields{
		"address":                                  textField(&out.Address),
		"tls_disable":                              notField(&useTLS),
		"tls_cert_file":                            textField(&t.CertFile),
		"tls_key_file":                             textField(&t.KeyFile),
		"tls_min_version":                          tlsVersionField(&t.MinVersion),
		"tls_max_version":                          tlsVersionField(&t.MaxVersion),
		"tls_cipher_suites":                        cipherSuitesField(&t.CipherSuites),
		"tls_client_ca_file":                       textField(&t.ClientCAFile),
		"tls_require_and_verify_client_cert":       boolField(&t.RequireClientCerts),
		"tls_disable_client_certs":                 notField(&t.AskForClientCerts),
		"http_read_header_timeout":                 durationField(&out.ReadHeaderTimeout),
		"http_read_timeout":                        durationField(&out.ReadTimeout),
		"http_write_timeout":                       durationField(&out.WriteTimeout),
		"http_idle_timeout":                        durationField(&out.IdleTimeout),
		"max_request_size":                         intField(&out.MaxRequestBytes),
		"max_request_duration":                     durationField(&out.MaxRequestDuration),
		"max_request_json_memory":                  intField(&out.MaxJSONBytes),
		"max_request_json_strings":                 intField(&out.MaxJSONStrings),
		"x_forwarded_for_authorized_addrs":         networksField(&out.ForwardedFor.Authorized),
		"x_forwarded_for_hop_skips":                intField(&out.ForwardedFor.HopSkips),
		"x_forwarded_for_reject_not_present":       boolField(&out.ForwardedFor.RejectAbsent),
		"x_forwarded_for_reject_not_authorized":    boolField(&out.ForwardedFor.RejectNotAuthorized),
		"cors_enabled":                             boolField(&out.CORS.Enabled),
		"cors_allowed_origins":                     listField(&out.CORS.AllowedOrigins),
		"cors_allowed_headers":                     listField(&out.CORS.AllowedHeaders),
		"cors_allow_credentials":                   boolField(&out.CORS.AllowCredentials),
		"custom_response_headers":                  headersField(&out.Headers),
		"disable_unauthed_rekey_endpoints":         notField(&out.UnauthenticatedRekey),
		"disable_unauthed_generate_root_endpoints": notField(&out.UnauthenticatedGenerateRoot),
		"proxy_protocol_behavior":                  unsupported("the proxy protocol is not spoken; use x_forwarded_for_authorized_addrs"),
		"x_forwarded_for_client_cert_header":       unsupported("client certificates are taken from the connection only"),
	}
	for _, key := range []string{
		"ca_directory", "test_ca_directory", "ca_root", "cache_path", "email", "domains", "key_type", "eab_key_id", "eab_mac_key",
		"disable_http_challenge", "disable_alpn_challenge",
	} {
		known["tls_acme_"+key] = unsupported("use tls_cert_file and tls_key_file")
	}
	maps.Copy(known, l.exposure(network, &out.Exposure))
	if network == "unix" {
		known["socket_mode"] = modeField(&out.SocketMode)
		known["socket_user"] = textField(&out.SocketUser)
		known["socket_group"] = textField(&out.SocketGroup)
	}
	if err := l.decode(fmt.Sprintf("listener %q: ", network), n.entries, known, idleListener); err != nil {
		return err
	}
	if network == "unix" && t.CertFile != "" && !slices.ContainsFunc(n.entries, func(e entry) bool { return e.key == "tls_disable" }) {
		useTLS = true
	}
	if !useTLS {
		out.TLS = nil
	}
	l.config.Listeners = append(l.config.Listeners, out)
	return nil
}

// applyEnvironment puts the variables over what the files said. See [Variable] for their names.
func (c *Config) applyEnvironment(env func(string) string) error {
	for _, v := range []struct {
		names []string
		read  field
	}{
		{[]string{"API_ADDR", "REDIRECT_ADDR", "ADVERTISE_ADDR"}, textField(&c.APIAddr)},
		{[]string{"CLUSTER_ADDR"}, textField(&c.ClusterAddr)},
		{[]string{"LOG_LEVEL"}, levelField(&c.LogLevel)},
		{[]string{"LOG_FORMAT"}, formatField(&c.LogFormat)},
		{[]string{"RAFT_PATH"}, func(n node) error {
			if c.Storage.Type == "raft" {
				c.Storage.Path = n.text
			}
			return nil
		}},
		{[]string{"PG_CONNECTION_URL"}, secretField(&c.Storage.URL)},
	} {
		for _, name := range v.names {
			full, value := lookup(env, name)
			if value == "" {
				continue
			}
			if err := v.read(node{kind: text, text: value}); err != nil {
				return &Error{Text: fmt.Sprintf("environment variable %s: %s", full, err)}
			}
			break
		}
	}
	return nil
}

// prefixes are what the names of variables begin with, in the order in which they are looked for.
var prefixes = []string{"LEASEHOLD_", "BAO_", "VAULT_"}

// Variable is the value of LEASEHOLD_name, else of BAO_name, else of VAULT_name. An empty one counts as not set.
func Variable(env func(string) string, name string) string {
	_, value := lookup(env, name)
	return value
}

func lookup(env func(string) string, name string) (full, value string) {
	for _, prefix := range prefixes {
		if value := env(prefix + name); value != "" {
			return prefix + name, value
		}
	}
	return "", ""
}
