package crash

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"leasehold/internal/testdb"
)

// postgres is a target.
type postgres struct {
	*testdb.Server
	admin *pgx.Conn
}

func newPostgres(t *testing.T) *postgres {
	t.Helper()
	p := &postgres{Server: testdb.Postgres(t)}
	p.admin = p.Conn(t)
	return p
}

func (p *postgres) name() string { return "pg" }

func (p *postgres) connection() map[string]any {
	return map[string]any{
		"plugin_name":    "postgresql-database-plugin",
		"connection_url": "postgresql://{{username}}:{{password}}@" + p.Addr + "/" + p.Database + "?sslmode=disable",
	}
}

func (p *postgres) setup() []string {
	return []string{
		`SET log_statement = 'none'`,
		`CREATE ROLE broker SUPERUSER LOGIN PASSWORD '` + brokerPassword + `'`,
		`SET log_statement = 'all'`,
		`CREATE TABLE orders (id int)`,
	}
}

func (p *postgres) exec(statement string) error {
	_, err := p.admin.Exec(context.Background(), statement)
	return err
}

func (p *postgres) creation() string {
	return `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}";`
}

func (p *postgres) users() ([]string, error) {
	rows, err := p.admin.Query(context.Background(), `SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%' ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (p *postgres) login(c creds) error {
	config, err := pgx.ParseConfig(p.URL())
	if err != nil {
		return err
	}
	config.User, config.Password = c.user, c.password
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		return err
	}
	return conn.Close(context.Background())
}

func (p *postgres) log() (path, evidence string) { return p.LogFile, "CREATE ROLE" }
