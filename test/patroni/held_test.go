//go:build integration

package patroni

import (
	"strings"
	"testing"
	"time"

	"quorate/test/probe"
)

func TestUnreachableBMCHolds(t *testing.T) {
	s := witnessStack(t, t.Name(), variant{})
	o := s.observe(t)
	old := s.leader(t)
	if err := s.lab.Isolate(t.Context(), s.bmcs[old.Name].Host); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := old.Host.KillAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	held := s.waitView(t, "the cluster to be held", func(v ClusterView) bool { return v.State == "held" })
	t.Logf("held after %s", since(start, time.Now()))

	// It stays held for another whole TTL: etcd would have released long ago.
	deadline := time.Now().Add(ttlSeconds * time.Second)
	for time.Now().Before(deadline) {
		watchFor(t, 200*time.Millisecond)
		if event, err := o.keys.ReleasedFrom(old.Name, start); err == nil {
			t.Fatalf("the leader key went to %q without proof", event.Leader)
		}
	}
	for _, a := range o.writes.Acked() {
		if a.Node != old.Host.IP() {
			t.Fatalf("%s accepted a write though nobody was granted", a.Node)
		}
	}
	view := s.view(t)
	if view.Holder != old.Name || view.Epoch != held.Epoch {
		t.Errorf("%s holds epoch %d, want still %s and epoch %d", view.Holder, view.Epoch, old.Name, held.Epoch)
	}

	explanation, err := s.witnesses.Ctl(t.Context(), "cluster", "explain", scope, "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"held", old.Host.Name(), "not proven off", "witnessctl fence confirm-off " + old.Host.Name()} {
		if !strings.Contains(explanation, part) {
			t.Errorf("explain does not say %q:\n%s", part, explanation)
		}
	}

	confirmed := time.Now()
	if _, err := s.witnesses.Ctl(t.Context(), "fence", "confirm-off", old.Host.Name(),
		"--by", "alice", "--reason", "pulled both power cords"); err != nil {
		t.Fatal(err)
	}
	o.waitWrite(t, confirmed, "writes on another host", func(a probe.Ack) bool { return a.Node != old.Host.IP() })
	o.stop()
	t.Logf("writes again %s after the confirmation", o.outageAt(start).To.Sub(confirmed).Round(time.Millisecond))
	o.assertOneWriter(t)

	run := s.lastRun(t)
	assertPhases(t, run, "failover", "lease-dead", "held", "proven-off", "released", "granted")
	var story strings.Builder
	for _, p := range run.Phases {
		story.WriteString(p.Text + "\n")
	}
	if !strings.Contains(story.String(), "by alice") || !strings.Contains(story.String(), "pulled both power cords") {
		t.Errorf("the history does not record who confirmed and why:\n%s", story.String())
	}
	events, err := s.witnesses.Ctl(t.Context(), "events", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(events, "confirmed-off") || !strings.Contains(events, "pulled both power cords") {
		t.Error("the events do not record the confirmation")
	}
}
