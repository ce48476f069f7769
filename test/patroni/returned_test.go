//go:build integration

package patroni

import (
	"testing"
	"time"

	"quorate/test/probe"
)

// TestHolderReturnsToAHeldCluster cuts the primary off for longer than its TTL
// while its BMC is silent, and then lets it back: nobody was granted meanwhile,
// so it must take up its key again, with the same epoch, by what an unmodified
// Patroni does by itself.
func TestHolderReturnsToAHeldCluster(t *testing.T) {
	s := witnessStack(t, t.Name(), variant{})
	o := s.observe(t)
	before := s.view(t)
	old := s.leader(t)
	if err := s.lab.Isolate(t.Context(), s.bmcs[old.Name].Host); err != nil {
		t.Fatal(err)
	}
	if err := s.lab.Isolate(t.Context(), old.Host); err != nil {
		t.Fatal(err)
	}
	s.waitView(t, "the cluster to be held", func(v ClusterView) bool { return v.State == "held" })
	healed := time.Now()
	if err := s.lab.Heal(t.Context(), old.Host); err != nil {
		t.Fatal(err)
	}
	after := s.waitView(t, old.Name+" to hold its key with a live lease", func(v ClusterView) bool { return v.State == "ok" })
	if after.Holder != old.Name || after.Epoch != before.Epoch {
		t.Errorf("%s holds epoch %d, want %s with epoch %d", after.Holder, after.Epoch, old.Name, before.Epoch)
	}
	o.waitWrite(t, time.Now(), "writes on "+old.Name, func(a probe.Ack) bool { return a.Node == old.Host.IP() })
	o.stop()
	t.Logf("writes again %s after the network healed", o.outageAt(healed).To.Sub(healed).Round(time.Millisecond))
	o.assertOneWriter(t)
	assertPhases(t, s.lastRun(t), "failover", "lease-dead", "reinstated")
}
