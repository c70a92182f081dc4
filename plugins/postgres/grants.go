package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"leasehold/plugins"
)

var _ plugins.Granter = (*Database)(nil)

// grantsSQL tells memberships, rights and objects, the latter two of the connection's database and of what all databases share. It
// reads the index of pg_shdepend, which knows every place where the role stands in an access list.
const grantsSQL = `
SELECT line FROM (
	SELECT 1 AS part, 'GRANT ' || pg_catalog.quote_ident(g.rolname::pg_catalog.text) || ' TO ' || pg_catalog.quote_ident(r.rolname::pg_catalog.text) ||
	       CASE WHEN m.admin_option THEN ' WITH ADMIN OPTION' ELSE '' END AS line
	  FROM pg_catalog.pg_roles r
	  JOIN pg_catalog.pg_auth_members m ON m.member = r.oid
	  JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
	 WHERE r.rolname = $1
	UNION ALL
	SELECT CASE d.deptype WHEN 'o'::pg_catalog."char" THEN 3 ELSE 2 END,
	       CASE WHEN d.deptype = 'o'::pg_catalog."char" THEN 'ALTER ' || pg_catalog.upper(o.type) || ' ' || o.identity || ' OWNER TO '
	            ELSE 'GRANT ' || coalesce(a.rights, '...') || ' ON ' || pg_catalog.upper(o.type) || ' ' || o.identity || ' TO '
	       END || pg_catalog.quote_ident(r.rolname::pg_catalog.text)
	  FROM pg_catalog.pg_roles r
	  JOIN pg_catalog.pg_shdepend d ON d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass::pg_catalog.oid AND d.refobjid = r.oid
	  JOIN pg_catalog.pg_database db ON db.datname = pg_catalog.current_database()
	 CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) o
	 CROSS JOIN LATERAL (
	       SELECT pg_catalog.string_agg(x.privilege_type || CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', ' ORDER BY x.privilege_type) AS rights
	         FROM pg_catalog.aclexplode(CASE d.classid
	              WHEN 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid THEN
	                   CASE WHEN d.objsubid = 0 THEN (SELECT c.relacl FROM pg_catalog.pg_class c WHERE c.oid = d.objid)
	                        ELSE (SELECT t.attacl FROM pg_catalog.pg_attribute t WHERE t.attrelid = d.objid AND t.attnum::pg_catalog.int4 = d.objsubid) END
	              WHEN 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid THEN (SELECT n.nspacl FROM pg_catalog.pg_namespace n WHERE n.oid = d.objid)
	              WHEN 'pg_catalog.pg_database'::pg_catalog.regclass::pg_catalog.oid THEN (SELECT b.datacl FROM pg_catalog.pg_database b WHERE b.oid = d.objid)
	              WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid THEN (SELECT p.proacl FROM pg_catalog.pg_proc p WHERE p.oid = d.objid)
	              WHEN 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid THEN (SELECT y.typacl FROM pg_catalog.pg_type y WHERE y.oid = d.objid)
	              WHEN 'pg_catalog.pg_default_acl'::pg_catalog.regclass::pg_catalog.oid THEN (SELECT f.defaclacl FROM pg_catalog.pg_default_acl f WHERE f.oid = d.objid)
	              END) x
	        WHERE x.grantee = r.oid) a
	 WHERE r.rolname = $1 AND d.deptype IN ('a'::pg_catalog."char", 'o'::pg_catalog."char") AND d.dbid IN (0::pg_catalog.oid, db.oid)
	UNION ALL
	SELECT 4, '-- and ' || pg_catalog.count(*)::pg_catalog.text || ' more in database ' || pg_catalog.quote_ident(e.datname::pg_catalog.text)
	  FROM pg_catalog.pg_roles r
	  JOIN pg_catalog.pg_shdepend d ON d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass::pg_catalog.oid AND d.refobjid = r.oid
	  JOIN pg_catalog.pg_database e ON e.oid = d.dbid
	 WHERE r.rolname = $1 AND e.datname <> pg_catalog.current_database()
	 GROUP BY e.datname) told
 ORDER BY part, line`

// Grants tells the role's memberships, its rights, and what it owns. Of other databases than the connection's it only tells how much
// there is.
func (d *Database) Grants(ctx context.Context, name string) ([]string, error) {
	const op = "list grants"
	conn, err := d.acquire(ctx, op)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	rows, _ := conn.Query(ctx, grantsSQL, name)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, d.fail(op, sentClass(err), fmt.Errorf("read the catalogue: %w", err))
	}
	return lines, nil
}
