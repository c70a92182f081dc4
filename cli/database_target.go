package cli

import (
	"encoding/json"
	"net"
	"net/url"
	"regexp"
	"strings"
)

// The kinds of database that the commands know the words of.
const (
	postgresKind = "postgresql"
	mysqlKind    = "mysql"
	mssqlKind    = "mssql"
)

// databaseKind is the kind of a plugin, by the name of the plugin, of the database, or of its client; "" is none that is known.
func databaseKind(name string) string {
	switch strings.TrimSuffix(strings.ToLower(name), "-database-plugin") {
	case "postgresql", "postgres", "pg":
		return postgresKind
	case "mysql", "mariadb", "mysql-aurora", "mysql-rds", "mysql-legacy":
		return mysqlKind
	case "mssql", "sqlserver":
		return mssqlKind
	}
	return ""
}

// pluginOf is the plugin's name for a kind, or for a name that is one already.
func pluginOf(name string) string {
	if kind := databaseKind(name); kind != "" && !strings.HasSuffix(name, "-plugin") {
		return kind + "-database-plugin"
	}
	return name
}

// target is where a database is, as a connection's settings say it.
type target struct {
	kind     string
	host     string
	port     string
	socket   string // MySQL: a file in place of host and port
	database string
	options  url.Values // as the connection's URL has them
}

// defaultPorts are those of the databases.
var defaultPorts = map[string]string{postgresKind: "5432", mysqlKind: "3306", mssqlKind: "1433"}

// connectionSettings are what a read of config/NAME tells.
type connectionSettings struct {
	Plugin  string                     `json:"plugin_name"`
	Details map[string]json.RawMessage `json:"connection_details"`
}

func (s connectionSettings) text(name string) string {
	var text string
	if json.Unmarshal(s.Details[name], &text) != nil {
		return ""
	}
	return text
}

// target reads the connection's address. It may hold what this program cannot read: then ok is false.
func (s connectionSettings) target() (t target, ok bool) {
	address := s.text("connection_url")
	switch kind := databaseKind(s.Plugin); kind {
	case postgresKind:
		if strings.Contains(address, "://") {
			t, ok = urlTarget(address)
		} else {
			t, ok = pairsTarget(blankPairs(address), "host", "port", "dbname")
		}
		t.kind = kind
	case mysqlKind:
		t, ok = mysqlTarget(address)
	case mssqlKind:
		if strings.Contains(address, "://") {
			t, ok = urlTarget(address)
			t.database = t.options.Get("database")
			t.options.Del("database")
		} else {
			t, ok = pairsTarget(semicolonPairs(address), "server", "port", "database")
		}
		t.kind = kind
	}
	if t.port == "" && t.socket == "" {
		t.port = defaultPorts[t.kind]
	}
	return t, ok && (t.host != "" || t.socket != "")
}

// inURL takes an address apart by hand: it may name several hosts, and has placeholders that no URL may have.
var inURL = regexp.MustCompile(`^[a-zA-Z]+://(?:[^/?#]*@)?([^/?#@]*)(?:/([^?#]*))?(?:\?([^#]*))?$`)

// urlTarget reads scheme://user:password@host:port/database?options. Of several hosts it is the first.
func urlTarget(address string) (t target, ok bool) {
	parts := inURL.FindStringSubmatch(address)
	if parts == nil {
		return target{options: url.Values{}}, false
	}
	first, _, _ := strings.Cut(parts[1], ",")
	t.host, t.port = splitHost(first)
	var err error
	if t.database, err = url.PathUnescape(parts[2]); err != nil {
		return t, false
	}
	if t.options, err = url.ParseQuery(parts[3]); err != nil {
		t.options = url.Values{}
	}
	for _, secret := range []string{"user", "password", "sslpassword"} {
		t.options.Del(secret)
	}
	return t, true
}

// splitHost reads host:port, where either may be missing and the host may be an IPv6 address in brackets.
func splitHost(text string) (host, port string) {
	if host, port, err := net.SplitHostPort(text); err == nil {
		return host, port
	}
	return strings.Trim(text, "[]"), ""
}

// inDSN is what follows the user of a MySQL address: net(address)/database?options.
var inDSN = regexp.MustCompile(`^(?:.*@)?(tcp6?|unix)\(([^()]*)\)/([^/?]*)(?:\?(.*))?$`)

func mysqlTarget(address string) (t target, ok bool) {
	t.kind = mysqlKind
	parts := inDSN.FindStringSubmatch(address)
	if parts == nil {
		return t, false
	}
	if parts[1] == "unix" {
		t.socket = parts[2]
	} else {
		first, _, _ := strings.Cut(parts[2], ",")
		t.host, t.port = splitHost(strings.TrimSpace(first))
	}
	var err error
	if t.database, err = url.PathUnescape(parts[3]); err != nil {
		return t, false
	}
	if t.options, err = url.ParseQuery(parts[4]); err != nil {
		t.options = url.Values{}
	}
	return t, true
}

// pairsTarget reads an address of keys and values. The values may be quoted.
func pairsTarget(pairs map[string]string, host, port, database string) (target, bool) {
	t := target{port: pairs[port], database: pairs[database], options: url.Values{}}
	first, _, _ := strings.Cut(pairs[host], ",")
	t.host = strings.TrimPrefix(first, "tcp:")
	for name, value := range pairs {
		switch name {
		case "sslmode", "encrypt", "trustservercertificate":
			t.options.Set(name, value)
		}
	}
	return t, t.host != ""
}

var blankPair = regexp.MustCompile(`(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s']*)`)

func blankPairs(text string) map[string]string {
	pairs := map[string]string{}
	for _, m := range blankPair.FindAllStringSubmatch(text, -1) {
		value := m[2]
		if strings.HasPrefix(value, "'") {
			value = strings.NewReplacer(`\'`, `'`, `\\`, `\`).Replace(value[1 : len(value)-1])
		}
		pairs[strings.ToLower(m[1])] = value
	}
	return pairs
}

func semicolonPairs(text string) map[string]string {
	pairs := map[string]string{}
	for pair := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(pair, "=")
		pairs[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
	}
	return pairs
}
