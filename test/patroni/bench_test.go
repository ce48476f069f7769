//go:build integration

package patroni

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"quorate/test/probe"
)

// The benchmark runs only when QUORATE_BENCH_RUNS says how often. With
// QUORATE_BENCH_PEER=only it measures the real etcd alone.
const (
	runsVariable = "QUORATE_BENCH_RUNS"
	peerVariable = "QUORATE_BENCH_PEER"
)

// result is one line of out/bench.jsonl.
type result struct {
	Name  string    `json:"name"`
	Unit  string    `json:"unit"`
	Ours  float64   `json:"ours,omitempty"` // median
	Peer  float64   `json:"peer,omitempty"` // median
	Ratio float64   `json:"ratio,omitempty"`
	Each  []float64 `json:"ours_each,omitempty"`
	Etcd  []float64 `json:"peer_each,omitempty"`
	Note  string    `json:"note"`
	At    time.Time `json:"at"`
}

// TestBenchFailover measures write outages on both stores in turn: the same
// Patroni, the same faults at the same moment of Patroni's loop, one after the
// other on the same machine. Times are recorded, outcomes asserted.
func TestBenchFailover(t *testing.T) {
	runs, err := strconv.Atoi(os.Getenv(runsVariable))
	if err != nil || runs < 1 {
		t.Skipf("set %s to the number of runs", runsVariable)
	}
	peer := etcdStack(t, t.Name()+"/etcd")
	var ours *stack
	if os.Getenv(peerVariable) != "only" {
		ours = witnessStack(t, t.Name()+"/witnesses", variant{fast: "on"})
	}
	note := fmt.Sprintf("Patroni 3.0.2, ttl %d, loop_wait %d, retry_timeout %d; etcd 3.4 with 3 nodes", ttlSeconds, loopSeconds, retrySeconds)
	loss := result{Name: "patroni-power-loss", Unit: "s", Note: note}
	silent := result{Name: "patroni-silent-loss", Unit: "s", Note: note}
	switchover := result{Name: "patroni-switchover", Unit: "s", Note: note}
	for i := range runs {
		phase := rand.N(loopSeconds * time.Second) // of Patroni's loop, at which the fault comes
		both := []*stack{peer, ours}
		if i%2 == 1 {
			both = []*stack{ours, peer}
		}
		for _, s := range both {
			if s == nil {
				continue
			}
			watchFor(t, phase)
			for r, seconds := range map[*result]float64{
				&loss: s.powerLoss(t, false), &silent: s.powerLoss(t, true), &switchover: s.switchover(t),
			} {
				if s == peer {
					r.Etcd = append(r.Etcd, seconds)
				} else {
					r.Each = append(r.Each, seconds)
				}
			}
		}
	}
	for _, r := range []result{loss, silent, switchover} {
		r.publish(t)
	}
}

// powerLoss kills the primary's whole host and returns the write outage in
// seconds. It leaves the cluster whole again. A silent loss says no goodbye: the
// host is cut off first, so that nobody sees its connections being closed, as
// when the power of a real machine fails.
func (s *stack) powerLoss(t *testing.T, silent bool) float64 {
	t.Helper()
	l := s.loseOver(t, func(old *Member) {
		if silent {
			if err := s.lab.Isolate(t.Context(), old.Host); err != nil {
				t.Fatal(err)
			}
		}
		if err := old.Host.KillAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if err := s.lab.Heal(t.Context(), l.old.Host); err != nil {
		t.Fatal(err)
	}
	s.revive(t, l.old)
	return l.outage.Duration().Seconds()
}

// switchover moves the primary with the store's own tool and returns the write
// outage in seconds.
func (s *stack) switchover(t *testing.T) float64 {
	t.Helper()
	o := s.observe(t)
	old := s.leader(t)
	to := s.cluster.Replica(old)
	start := time.Now()
	var err error
	if s.witnesses != nil {
		_, err = s.witnesses.Ctl(t.Context(), "switchover", scope, "--to", to.Name, "--by", "alice", "--reason", "measurement")
	} else {
		_, err = s.cluster.Patronictl(t.Context(), "switchover", scope, "--master", old.Name, "--candidate", to.Name, "--force")
	}
	if err != nil {
		t.Fatal(err)
	}
	o.waitWrite(t, start, "writes on "+to.Name, func(a probe.Ack) bool { return a.Node == to.Host.IP() })
	if err := s.cluster.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.stop()
	o.assertOneWriter(t)
	o.assertNoneLost(t)
	return o.outageAt(start).Duration().Seconds()
}

// publish prints the result and appends it to out/bench.jsonl.
func (r result) publish(t *testing.T) {
	t.Helper()
	r.At, r.Ours, r.Peer = time.Now().UTC(), median(r.Each), median(r.Etcd)
	ours, ratio := "-", "-"
	if r.Ours > 0 {
		r.Ratio = r.Ours / r.Peer
		ours, ratio = fmt.Sprintf("%.2f%s", r.Ours, r.Unit), fmt.Sprintf("%.3f", r.Ratio)
	}
	fmt.Printf("%s ours=%s peer=%.2f%s ratio=%s\n", r.Name, ours, r.Peer, r.Unit, ratio)
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(root(t), "out", "bench.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

// median of the values; 0 for none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
