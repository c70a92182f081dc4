package cli

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"leasehold/internal/secret"
)

// account is a user at a database, in the forms that clients take.
type account struct {
	target
	user     string
	password secret.Text
}

// The forms of -as. Each is one text, ready to be pasted.
const (
	asPsql   = "psql"
	asMysql  = "mysql"
	asSqlcmd = "sqlcmd"
	asJDBC   = "jdbc"
	asURL    = "url"
	asEnv    = "env"
)

// forms are those that a kind of database has, the first for people at a shell.
func forms(kind string) []string {
	switch kind {
	case postgresKind:
		return []string{asPsql, asJDBC, asURL, asEnv}
	case mysqlKind:
		return []string{asMysql, asJDBC, asURL, asEnv}
	case mssqlKind:
		return []string{asSqlcmd, asJDBC, asURL, asEnv}
	}
	return nil
}

// as is the account in one of its forms. Commands take the password from their environment: arguments are seen by other users of the
// machine.
func (a account) as(form string) string {
	if !slices.Contains(forms(a.kind), form) {
		return ""
	}
	switch form {
	case asJDBC:
		return a.jdbc()
	case asURL:
		return a.url()
	case asEnv:
		return a.env()
	}
	return a.command()
}

// command calls the database's own client at a POSIX shell.
func (a account) command() string {
	password := a.password.Reveal()
	var words []string
	word := func(name, value string) {
		if value != "" {
			words = append(words, name, shellQuote(value))
		}
	}
	switch a.kind {
	case postgresKind:
		words = []string{"PGPASSWORD=" + shellQuote(password)}
		if mode := a.options.Get("sslmode"); mode != "" {
			words = append(words, "PGSSLMODE="+shellQuote(mode))
		}
		words = append(words, "psql")
		word("-h", a.host)
		word("-p", a.port)
		word("-U", a.user)
		word("-d", a.database)
	case mysqlKind:
		words = []string{"MYSQL_PWD=" + shellQuote(password), "mysql"}
		word("-S", a.socket)
		word("-h", a.host)
		word("-P", a.port)
		word("-u", a.user)
		word("-D", a.database)
	case mssqlKind:
		words = []string{"SQLCMDPASSWORD=" + shellQuote(password), "sqlcmd"}
		word("-S", a.sqlcmdServer())
		word("-U", a.user)
		word("-d", a.database)
		if !a.verified() {
			words = append(words, "-C")
		}
	}
	return strings.Join(words, " ")
}

func (a account) sqlcmdServer() string { return "tcp:" + a.host + "," + a.port }

// verified reports whether the connection to SQL Server wants its certificate verified. The server's own default is not to.
func (a account) verified() bool {
	encrypt := strings.ToLower(option(a.options, "encrypt"))
	return encrypt == "true" || encrypt == "strict" || strings.EqualFold(option(a.options, "trustservercertificate"), "false")
}

// option is a parameter by its name, whatever its case.
func option(all url.Values, name string) string {
	for key, values := range all {
		if strings.EqualFold(key, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

// jdbc is the URL of a Java driver.
func (a account) jdbc() string {
	if a.kind == mssqlKind {
		text := "jdbc:sqlserver://" + a.address() + ";"
		for _, p := range [][2]string{{"databaseName", a.database}, {"user", a.user}, {"password", a.password.Reveal()}} {
			if p[1] != "" {
				text += p[0] + "=" + braced(p[1]) + ";"
			}
		}
		if a.verified() {
			return text + "encrypt=true;"
		}
		return text + "encrypt=true;trustServerCertificate=true;"
	}
	parameters := []string{"user=" + escaped(a.user), "password=" + escaped(a.password.Reveal())}
	if mode := a.options.Get("sslmode"); mode != "" && a.kind == postgresKind {
		parameters = append(parameters, "sslmode="+escaped(mode))
	}
	return "jdbc:" + a.kind + "://" + a.address() + "/" + escaped(a.database) + "?" + strings.Join(parameters, "&")
}

// braced is a value of a SQL Server JDBC URL: in braces nothing has a meaning but the closing one, which is written twice.
func braced(text string) string { return "{" + strings.ReplaceAll(text, "}", "}}") + "}" }

// escaped is percent-encoded for any part of a URL. A blank is %20: only in a query would + mean one.
func escaped(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

// address is host:port for a URL.
func (a account) address() string {
	host := a.host
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, a.port)
}

// url is the form that most libraries take.
func (a account) url() string {
	text := "://" + escaped(a.user) + ":" + escaped(a.password.Reveal()) + "@" + a.address()
	query := url.Values{}
	switch a.kind {
	case postgresKind:
		text = "postgresql" + text + "/" + escaped(a.database)
		if mode := a.options.Get("sslmode"); mode != "" {
			query.Set("sslmode", mode)
		}
	case mysqlKind:
		text = "mysql" + text + "/" + escaped(a.database)
	case mssqlKind:
		text = "sqlserver" + text
		if a.database != "" {
			query.Set("database", a.database)
		}
		if !a.verified() {
			query.Set("trustservercertificate", "true")
		}
	}
	if len(query) > 0 {
		text += "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
	}
	return text
}

// env are lines for a POSIX shell: the variables that the database's clients read, and DATABASE_URL, which many frameworks do.
func (a account) env() string {
	password := a.password.Reveal()
	var pairs [][2]string
	switch a.kind {
	case postgresKind:
		pairs = [][2]string{{"PGHOST", a.host}, {"PGPORT", a.port}, {"PGDATABASE", a.database}, {"PGUSER", a.user}, {"PGPASSWORD", password},
			{"PGSSLMODE", a.options.Get("sslmode")}}
	case mysqlKind:
		pairs = [][2]string{{"MYSQL_HOST", a.host}, {"MYSQL_TCP_PORT", a.port}, {"MYSQL_UNIX_PORT", a.socket}, {"MYSQL_DATABASE", a.database},
			{"MYSQL_USER", a.user}, {"MYSQL_PWD", password}}
	case mssqlKind:
		pairs = [][2]string{{"SQLCMDSERVER", a.sqlcmdServer()}, {"SQLCMDDBNAME", a.database}, {"SQLCMDUSER", a.user}, {"SQLCMDPASSWORD", password}}
	}
	var lines []string
	for _, p := range append(pairs, [2]string{"DATABASE_URL", a.url()}) {
		if p[1] != "" {
			lines = append(lines, "export "+p[0]+"="+shellQuote(p[1]))
		}
	}
	return strings.Join(lines, "\n")
}
