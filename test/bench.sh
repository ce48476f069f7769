#!/bin/sh
# Measures Quorate and its peer in one run; needs root. Prints one line per
# measurement and appends it to out/bench.jsonl.
#   QUORATE_BENCH_RUNS=5     how often each fault is brought about on each side
#   QUORATE_BENCH_PEER=only  measure the peer alone
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
	echo "test/bench.sh: the laboratory makes network namespaces and needs root" >&2
	exit 1
fi
test/install.sh
mkdir -p out
QUORATE_BENCH_RUNS=${QUORATE_BENCH_RUNS:-5}
export QUORATE_BENCH_RUNS
"${GO:-go}" test -tags integration -count=1 -timeout 60m -run '^TestBench' -v ./test/etcd
"${GO:-go}" test -tags integration -count=1 -timeout 60m -run '^TestBench' -v ./test/pacemaker
"${GO:-go}" test -tags integration -count=1 -timeout 30m -run '^TestBench' -v ./test/fencing
"${GO:-go}" test -tags integration -count=1 -timeout 30m -run '^TestBench' -v ./fencing/redfish
"${GO:-go}" test -tags integration -count=1 -timeout 60m -run '^TestBench' -v ./test/qdevice
exec "${GO:-go}" test -tags integration -count=1 -timeout 120m -run '^TestBench' -v ./test/patroni
