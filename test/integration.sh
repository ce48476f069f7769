#!/bin/sh
# Runs the integration tests against real peers; needs root. The argument picks
# what to run: a suite by name, "lab" for the laboratory itself, or "all".
set -eu
cd "$(dirname "$0")/.."

suite=${1:-all}
if [ "$(id -u)" -ne 0 ]; then
	echo "test/integration.sh: the laboratory makes network namespaces and needs root" >&2
	exit 1
fi
test/install.sh

# Everything that has integration tests below the folders of a suite.
packages() {
	for folder in "$@"; do
		if [ -d "$folder" ]; then
			grep -rl --include='*_test.go' '^//go:build integration' "$folder" | xargs -r -n1 dirname
		fi
	done | sort -u | sed 's#^#./#'
}

case $suite in
all) found=$(packages test witness fencing dnsfailover cmd hw image) ;;
lab | patroni) found=$(packages "test/$suite") ;;
etcd) found=$(packages test/etcd witness/kv witness/etcdapi) ;;
fencing) found=$(packages test/fencing fencing) ;;
dns) found=$(packages test/dns dnsfailover) ;;
pacemaker) found=$(packages test/pacemaker test/qdevice witness/qnetd cmd/fence_witness) ;;
*) found=$(packages "test/$suite") ;;
esac
if [ -z "$found" ]; then
	echo "test/integration.sh: there is no suite \"$suite\"" >&2
	exit 1
fi
mkdir -p out
# One package at a time: the suites measure time and share the processors.
# shellcheck disable=SC2086 # the list is meant to be split
exec "${GO:-go}" test -tags integration -count=1 -p 1 -timeout 60m $found
