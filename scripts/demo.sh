#!/usr/bin/env bash
# The main job, end to end, on a throwaway PostgreSQL: scripts/demo.sh path/to/leasehold
# Every command it runs is printed first, so that you can run it yourself. It leaves nothing behind.
set -euo pipefail

leasehold=$(realpath "$1")
pgbin=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
[ -x "$pgbin/initdb" ] || { echo "no PostgreSQL server found. hint: apt-get install postgresql-15" >&2; exit 1; }

work=$(mktemp -d)
chmod 755 "$work"
server='' # process id of the leasehold server
cleanup() {
	status=$?
	[ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
	[ ! -e "$work/pg/postmaster.pid" ] || as_postgres "$pgbin/pg_ctl" -D "$work/pg" -m immediate stop >/dev/null || true
	rm -rf "$work"
	[ "$status" -eq 0 ] || echo "the demo failed" >&2
}
trap cleanup EXIT

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
show() { printf '\033[36m$'; printf ' %q' "$@"; printf '\033[0m\n'; }
run() { show "$@"; "$@"; }
field() { sed -n "s/.*\"$1\": \"\\([^\"]*\\)\".*/\\1/p" "$2" | head -n 1; }

# PostgreSQL refuses to run as root.
as_postgres() { if [ "$(id -u)" -eq 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

say "A throwaway PostgreSQL, as a DBA would find it"
pgport=$(free_port)
dba_password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
mkdir "$work/pg"
printf '%s' "$dba_password" >"$work/dba_password"
[ "$(id -u)" -ne 0 ] || chown -R postgres "$work/pg" "$work/dba_password"
as_postgres "$pgbin/initdb" -D "$work/pg" -U dba --pwfile="$work/dba_password" --auth=scram-sha-256 -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions >/dev/null
as_postgres "$pgbin/pg_ctl" -D "$work/pg" -w -l "$work/pg/log" -o "-c listen_addresses=127.0.0.1 -p $pgport -k $work/pg" start >/dev/null
export PGHOST=127.0.0.1 PGPORT=$pgport PGDATABASE=postgres
PGUSER=dba PGPASSWORD=$dba_password psql -Xqc "CREATE TABLE orders (id int, item text); INSERT INTO orders VALUES (1, 'a lease'), (2, 'another');"
echo "PostgreSQL listens on 127.0.0.1:$pgport, with a table of orders in it."

say "A Leasehold server: one binary, one configuration file, one encrypted SQLite file"
port=$(free_port)
cat >"$work/leasehold.hcl" <<CONFIG
storage "sqlite" { path = "$work/leasehold.db" }
listener "tcp" {
  address     = "127.0.0.1:$port"
  tls_disable = true # a demo on loopback; use tls_cert_file and tls_key_file otherwise
}
CONFIG
run cat "$work/leasehold.hcl"
export VAULT_ADDR=http://127.0.0.1:$port HOME=$work
show export VAULT_ADDR="$VAULT_ADDR"
show leasehold server -config="$work/leasehold.hcl"
"$leasehold" server -config="$work/leasehold.hcl" >"$work/server.log" 2>&1 &
server=$!
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
	kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }
	sleep 0.05
done
PATH=$work/bin:$PATH
mkdir "$work/bin" && ln -s "$leasehold" "$work/bin/leasehold"

show leasehold operator init -key-shares=1 -key-threshold=1 -format=json
leasehold operator init -key-shares=1 -key-threshold=1 -format=json >"$work/init.json"
unseal_key=$(sed -n '/unseal_keys_b64/,/]/p' "$work/init.json" | sed -n 's/^ *"\([A-Za-z0-9+/=]*\)".*/\1/p' | head -n 1)
echo "(one unseal key and the root token, kept in a file of the demo)"
show leasehold operator unseal '<unseal key>'
leasehold operator unseal "$unseal_key" >/dev/null
VAULT_TOKEN=$(field root_token "$work/init.json")
export VAULT_TOKEN
run leasehold status

say "The DBA registers the connection and a role"
run leasehold secrets enable database
show leasehold write database/config/shop plugin_name=postgresql-database-plugin \
	connection_url="postgresql://{{username}}:{{password}}@127.0.0.1:$pgport/postgres" username=dba password=@dba_password allowed_roles=app
leasehold write database/config/shop plugin_name=postgresql-database-plugin \
	connection_url="postgresql://{{username}}:{{password}}@127.0.0.1:$pgport/postgres" username=dba password=@"$work/dba_password" allowed_roles=app
run leasehold write database/roles/app db_name=shop default_ttl=10m max_ttl=1h \
	creation_statements="CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON orders TO \"{{name}}\";"

say "An application asks for a login"
show leasehold read -format=json database/creds/app
leasehold read -format=json database/creds/app | tee "$work/creds.json"
lease=$(field lease_id "$work/creds.json")
user=$(field username "$work/creds.json")
password=$(field password "$work/creds.json")
login() { PGUSER=$user PGPASSWORD=$password psql -X "$@"; }

say "The login is real: the user exists in the database"
show psql -c 'SELECT current_user, * FROM orders'
login -c 'SELECT current_user, * FROM orders'

say "The lease counts down"
run leasehold lease lookup "$lease"
sleep 2
run leasehold lease lookup "$lease"

say "The application renews it"
run leasehold lease renew -increment=30m "$lease"

say "An operator sees it, and revokes it"
run leasehold list sys/leases/lookup/database/creds/app
run leasehold lease revoke -sync "$lease"

say "The login is refused: the user is gone from the database"
show psql -c 'SELECT 1'
if login -c 'SELECT 1'; then
	echo "the user can still log in" >&2
	exit 1
fi
left=$(PGUSER=dba PGPASSWORD=$dba_password psql -XAtc "SELECT count(*) FROM pg_roles WHERE rolname = '$user'")
echo "users named $user in pg_roles: $left"
[ "$left" -eq 0 ]

say "Done. The server, the database and their files are removed."
