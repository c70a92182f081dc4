#!/usr/bin/env bash
# Runs every fuzz target for the given time: scripts/fuzz.sh 1m
set -euo pipefail
time=${1:-1m}
grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r package; do
	grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$package"/*_test.go | sed 's/^func //' | while read -r target; do
		echo "== $package $target"
		go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" "$package"
	done
done
