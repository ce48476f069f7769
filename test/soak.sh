#!/usr/bin/env bash
# The long campaigns, outside CI: hours. ROUNDS says how often (default 20).
# Each round starts the simulator at another seed, so the rounds differ, and runs
# FAULT_ROUNDS (default 10) rounds of every fault against the etcd API.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-20}
fault_rounds=${FAULT_ROUNDS:-10}
[ "$(id -u)" = 0 ] || { echo "test/soak.sh: the laboratory makes network namespaces and needs root" >&2; exit 1; }
go build -o bin/simulate ./witness/sim/simulate
for i in $(seq 1 "$rounds"); do
  echo "== soak round $i of $rounds"
  bin/simulate -seed "$((i * 1000003))" -schedules 100000 -steps 1000 -workers 2
  bin/simulate -seed "$((i * 1000003))" -schedules 10000 -corosync -workers 2
  go test -count=1 -timeout 2h -run TestSchedules -v ./fencing -args -schedules 100000 -first-seed "$((i * 1000003))"
  go test -count=1 ./witness/node ./witness/etcdapi ./fencing/...
  QUORATE_SOAK_ROUNDS=$fault_rounds go test -tags integration -count=1 -timeout 6h -run 'TestLinearizable|TestLeases|TestLocks' -v ./test/etcd
  QUORATE_PACEMAKER_ROUNDS=50 go test -tags integration -count=1 -timeout 2h -run 'TestLeaderDiesDuringRingCut|TestWitnessesIsolatedInTurn' -v ./test/pacemaker
  test/integration.sh all
done
make fuzz FUZZTIME=10m
