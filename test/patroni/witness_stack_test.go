//go:build integration

package patroni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"quorate/test/lab"
	"quorate/test/probe"
)

// variant is how a case's cluster differs from the usual one.
type variant struct {
	fast     string // default off
	failsafe bool
}

// witnessStack is a healthy database cluster over three witnesses, each database
// host with a BMC, guarded and fully protected.
func witnessStack(t *testing.T, name string, v variant) *stack {
	t.Helper()
	if v.fast == "" {
		v.fast = "off"
	}
	daemon, control := program(t, "cmd/witnessd"), program(t, "cmd/witnessctl")
	labbmc := program(t, "test/cmd/labbmc")
	l, client := newLab(t, name)
	witnesses, err := NewWitnesses(t.Context(), l, client, daemon, control)
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{lab: l, client: client, witnesses: witnesses, endpoints: witnesses.Etcd(), bmcs: map[string]*BMC{}}
	s.cluster, err = NewCluster(t.Context(), l, client, Settings{Endpoints: s.endpoints, Failsafe: v.failsafe})
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range s.cluster.Members {
		if s.bmcs[m.Name], err = NewBMC(t.Context(), l, i+1, m.Host, labbmc); err != nil {
			t.Fatal(err)
		}
	}
	if err := witnesses.Apply(t.Context(), s.cluster, s.bmcs, Policy{Fast: v.fast}); err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.finder = probe.DNS{Name: primaryName, Servers: witnesses.DNS(), Dial: client.DialContext}
	s.waitProtected(t)
	return s
}

// waitProtected waits until the witnesses call the cluster fully protected: they
// would fence its holder, and somebody could take over.
func (s *stack) waitProtected(t *testing.T) {
	t.Helper()
	err := lab.Until(t.Context(), bound, "full protection of the cluster", func(ctx context.Context) error {
		view, err := s.witnesses.Cluster(ctx)
		if err != nil {
			return err
		}
		ready := 0
		for _, m := range view.Members {
			if m.Ready {
				ready++
			}
		}
		if view.State != "ok" || view.Protection != "full" || ready != len(s.cluster.Members) {
			return fmt.Errorf("%+v", view)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// view is the cluster as a quorum of the witnesses knows it.
func (s *stack) view(t *testing.T) ClusterView {
	t.Helper()
	var view ClusterView
	err := lab.Until(t.Context(), bound, "an answer of the witnesses", func(ctx context.Context) error {
		var err error
		view, err = s.witnesses.Cluster(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// waitView waits until the cluster looks as wanted.
func (s *stack) waitView(t *testing.T, what string, want func(ClusterView) bool) ClusterView {
	t.Helper()
	var view ClusterView
	err := lab.Until(t.Context(), bound, what, func(ctx context.Context) error {
		var err error
		if view, err = s.witnesses.Cluster(ctx); err != nil {
			return err
		}
		if !want(view) {
			return fmt.Errorf("%+v", view)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// waitNames waits until every witness answers the primary's name with this address.
func (s *stack) waitNames(t *testing.T, o *observers, address string, since time.Time) map[string]time.Time {
	t.Helper()
	o.wait(t, "DNS on every witness to name "+address, func() bool {
		return len(o.names.FirstAnswer(address, since)) == len(s.witnesses.Nodes)
	})
	return o.names.FirstAnswer(address, since)
}

// lastRun waits until the newest run is over and returns it.
func (s *stack) lastRun(t *testing.T) Run {
	t.Helper()
	var run Run
	err := lab.Until(t.Context(), bound, "the end of the run", func(ctx context.Context) error {
		runs, err := s.witnesses.History(ctx)
		if err != nil {
			return err
		}
		if len(runs) == 0 {
			return errors.New("no run is recorded")
		}
		if run = runs[len(runs)-1]; run.State == "running" || run.State == "held" {
			return fmt.Errorf("it is %s: %+v", run.State, run.Phases)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// assertPhases fails the test unless the run completed and has the named phases
// in this order, others between them or not.
func assertPhases(t *testing.T, run Run, kind string, names ...string) {
	t.Helper()
	if run.Kind != kind || run.State != "completed" {
		t.Errorf("the run is a %s that is %s, want a completed %s", run.Kind, run.State, kind)
	}
	var have []string
	for _, p := range run.Phases {
		have = append(have, p.Name)
	}
	rest := have
	for _, name := range names {
		i := slices.Index(rest, name)
		if i < 0 {
			t.Errorf("the run's phases %v lack %v in this order", have, names)
			return
		}
		rest = rest[i+1:]
	}
}

// revive gives a fenced host its power back by the witnesses, starts Patroni on
// it, and waits until the cluster is whole again.
func (s *stack) revive(t *testing.T, m *Member) {
	t.Helper()
	if s.witnesses != nil {
		if _, err := s.witnesses.Ctl(t.Context(), "fence", "on", m.Host.Name(), "--by", "alice", "--reason", "repaired"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.cluster.Start(m); err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.witnesses != nil {
		s.waitProtected(t)
	}
}
