#!/usr/bin/env bash
# Real peers in network namespaces. Usage: test/integration.sh [all|patroni|etcd|fencing|dns]
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
[ "$(id -u)" = 0 ] || { echo "integration tests make network namespaces and install Debian packages: run them as root"; exit 1; }
declare -A sets=(
  [etcd]="./witness/kv/... ./witness/etcdapi/..."
  [fencing]="./fencing/..."
  [dns]="./dnsfailover/..."
  [patroni]="./test/..."
)
if [ "$what" = all ]; then order="etcd fencing dns patroni"; else order=$what; fi
for set in $order; do
  [ -n "${sets[$set]:-}" ] || { echo "no integration tests called '$set'; there are: ${!sets[*]} all"; exit 1; }
done
for set in $order; do
  echo "== integration: $set"
  test/install.sh "$set"
  # shellcheck disable=SC2086
  go test -tags integration -count=1 -p 1 -timeout 40m ${sets[$set]}
done
