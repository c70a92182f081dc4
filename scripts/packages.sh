#!/usr/bin/env bash
# Installs the Debian packages that the tests and the demo need, if any is missing.
set -euo pipefail

wanted=(
	postgresql-15        # the target database, started by the tests themselves
	postgresql-client-15 # psql
	mariadb-server-core  # another target database
	mariadb-client-core  # mariadb
	redis-server         # the target of a public plugin
	python3-hvac         # a client people use
	gcc libc6-dev        # the race detector
)

missing=()
for package in "${wanted[@]}"; do
	dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
# A client people use comes from npm. Where Node is from elsewhere, Debian's npm does not install beside it.
{ command -v node && command -v npm; } >/dev/null || missing+=(nodejs npm)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "missing packages: ${missing[*]}" >&2
	echo "hint: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
	exit 1
fi

# The package would set up and start a cluster of its own; nobody needs that one.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
	mkdir -p /etc/postgresql-common
	echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"
