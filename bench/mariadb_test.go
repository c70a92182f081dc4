package bench

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

// What the role does on MariaDB, which takes one statement at a time.
const (
	mariaCreate = `CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'`
	mariaGrant  = `GRANT SELECT ON shop.* TO '{{name}}'@'%'`
)

// BenchmarkMariaDB asks what BenchmarkIssue asks, of MariaDB: how near issuing credentials comes to bare go-sql-driver/mysql with the
// same two statements and as many connections. Aim: 0.85 of it.
//
// One credential costs: 2 store commits (intent, active), shared with others that wait; 1 View for token and generations, 1
// for role and connection; 6 round trips to MariaDB where the limit has 2 (look, time limits, the two statements, look again, mark); 3
// changes of its grant tables where the limit has 2; 2 audit lines.
func BenchmarkMariaDB(b *testing.B) {
	db := testdb.MariaDB(b, testdb.Durable())
	db.Exec(b, `CREATE DATABASE shop`)
	limit := db.DB(b)
	limit.SetMaxOpenConns(connections)
	limit.SetMaxIdleConns(connections)
	srv := audited(b, "database", map[string]any{"type": "database"})
	configureMariaDB(b, srv, db)
	write(b, srv, "database/roles/app", map[string]any{"db_name": "maria", "default_ttl": "24h", "creation_statements": mariaCreate + ";" + mariaGrant})
	for _, clients := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			compare(b, clients, "creds",
				func(ctx context.Context, i int) error { return bareMariaCreate(ctx, limit, name(b, i)) },
				func(context.Context, int) error {
					_, err := srv.Root(http.MethodGet, "database/creds/app", nil)
					return err
				})
			clearMariaDB(b, limit, srv)
		})
	}
}

// configureMariaDB writes a connection, maria, of the mount "database".
func configureMariaDB(b *testing.B, srv *proctest.Server, db *testdb.MariaServer) {
	b.Helper()
	write(b, srv, "database/config/maria", map[string]any{
		"plugin_name": "mysql-database-plugin", "connection_url": "{{username}}:{{password}}@tcp(" + db.Addr + ")/",
		"username": db.User, "password": db.Password, "allowed_roles": "*", "max_open_connections": connections,
	})
}

// bareMariaCreate is the limit.
func bareMariaCreate(ctx context.Context, db *sql.DB, name string) error {
	fill := strings.NewReplacer("{{name}}", name, "{{password}}", secret.Random(secret.Base62, 20).Reveal())
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for _, statement := range []string{mariaCreate, mariaGrant} {
		if _, err := conn.ExecContext(ctx, fill.Replace(statement)); err != nil {
			return err
		}
	}
	return nil
}

// clearMariaDB drops the users that a measurement leaves, so that each begins with none.
func clearMariaDB(b *testing.B, db *sql.DB, srv *proctest.Server) {
	b.Helper()
	write(b, srv, "sys/leases/revoke-prefix/database", map[string]any{"sync": true})
	spread(b, b.N, func(i int) error {
		_, err := db.ExecContext(b.Context(), fmt.Sprintf("DROP USER '%s'@'%%'", name(b, i)))
		return err
	})
}
