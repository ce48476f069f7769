//go:build integration

package patroni

import (
	"testing"
	"time"

	"quorate/test/probe"
)

// TestEtcdBaseline keeps the laboratory honest: over a real etcd, Patroni must
// do what it is known to do, seen by the same probes as in every other case.
func TestEtcdBaseline(t *testing.T) {
	s := etcdStack(t, t.Name())

	t.Run("planned switchover", func(t *testing.T) {
		o := s.observe(t)
		old := s.leader(t)
		to := s.cluster.Replica(old)
		start := time.Now()
		if _, err := s.cluster.Patronictl(t.Context(), "switchover", scope,
			"--master", old.Name, "--candidate", to.Name, "--force"); err != nil {
			t.Fatal(err)
		}
		o.waitWrite(t, start, "writes on "+to.Name, func(a probe.Ack) bool { return a.Node == to.Host.IP() })
		if err := s.cluster.WaitHealthy(t.Context()); err != nil {
			t.Fatal(err)
		}
		o.stop()
		t.Logf("write outage %s", o.outageAt(start))
		o.assertOneWriter(t)
		o.assertNoneLost(t)
	})

	t.Run("power loss of the primary", func(t *testing.T) {
		o := s.observe(t)
		old := s.leader(t)
		start := time.Now()
		if err := old.Host.KillAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		o.waitWrite(t, start, "writes on another host", func(a probe.Ack) bool { return a.Node != old.Host.IP() })
		o.stop()
		released, err := o.keys.ReleasedFrom(old.Name, start)
		if err != nil {
			t.Error(err)
		}
		t.Logf("leader key gone after %s, write outage %s, %d of %d acknowledged rows lost",
			released.At.Sub(start).Round(time.Millisecond), o.outageAt(start), o.lost(t), len(o.writes.Acked()))
		o.assertOneWriter(t)
		if err := s.cluster.Start(old); err != nil {
			t.Fatal(err)
		}
		if err := s.cluster.WaitHealthy(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
