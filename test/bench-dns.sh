#!/bin/sh
# Measures our DNS server beside Debian's NSD, Knot and gdnsd: the same zone and
# questions, one core, in turn in each round. Prints one line per measurement and
# appends it to out/bench.jsonl.
#   QUORATE_BENCH_RUNS=5     rounds
set -eu
cd "$(dirname "$0")/.."

QUORATE_PACKAGES="gdnsd dnsperf" test/install.sh
mkdir -p out
QUORATE_BENCH_RUNS=${QUORATE_BENCH_RUNS:-5}
export QUORATE_BENCH_RUNS
exec "${GO:-go}" test -tags integration -count=1 -timeout 60m -run '^TestBench' -v ./test/dns
