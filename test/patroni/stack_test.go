//go:build integration

package patroni

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quorate/test/lab"
	"quorate/test/probe"
)

const (
	// bound is for what must happen in a case; none is near it on an idle machine.
	bound = 120 * time.Second
	// interval is how often the probes look.
	interval = 20 * time.Millisecond
)

// stack is a database cluster over a store in a lab.
type stack struct {
	lab       *lab.Lab
	client    *lab.Host
	cluster   *Cluster
	endpoints []string
	finder    probe.Finder
	witnesses *Witnesses // nil over etcd
	bmcs      map[string]*BMC
}

// newLab makes a lab whose logs are in out/lab/<name> and a host for clients.
func newLab(t *testing.T, name string) (*lab.Lab, *lab.Host) {
	t.Helper()
	dir := filepath.Join(root(t), "out", "lab", strings.ReplaceAll(name, "/", "-"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	acts, err := os.Create(filepath.Join(dir, "lab.log"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.New(t.Context(), lab.Options{LogDir: dir, Logger: slog.New(slog.NewTextHandler(acts, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if err := l.Cleanup(ctx); err != nil {
			t.Error(err)
		}
		_ = acts.Close()
		if t.Failed() {
			t.Logf("the logs of this case are in %s", dir)
			tails(t, dir)
		}
	})
	client, err := l.Host(t.Context(), "client", "10.77.0.50")
	if err != nil {
		t.Fatal(err)
	}
	return l, client
}

// etcdStack is a healthy cluster over a real etcd.
func etcdStack(t *testing.T, name string) *stack {
	t.Helper()
	l, client := newLab(t, name)
	etcd, err := NewEtcd(t.Context(), l, client)
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{lab: l, client: client, endpoints: etcd.Endpoints()}
	s.database(t, Settings{Endpoints: s.endpoints})
	s.finder = probe.Static(s.cluster.IPs())
	return s
}

func (s *stack) database(t *testing.T, settings Settings) {
	t.Helper()
	cluster, err := NewCluster(t.Context(), s.lab, s.client, settings)
	if err != nil {
		t.Fatal(err)
	}
	s.cluster = cluster
	if err := cluster.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// leader is the member that leads now.
func (s *stack) leader(t *testing.T) *Member {
	t.Helper()
	m, err := s.cluster.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// observers are the probes that run beside a case.
type observers struct {
	writes  *probe.Writes
	writers *probe.Writers
	keys    *KeyWatch
	names   *probe.Names // nil over etcd

	cancel context.CancelFunc
	group  *sync.WaitGroup
}

// observe starts the probes and waits until rows are acknowledged. They end with
// stop, or with the test.
func (s *stack) observe(t *testing.T) *observers {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(s.lab.LogDir(), "probe.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	o := &observers{
		writes: &probe.Writes{
			Find: s.finder, Dial: s.client.DialContext, Port: postgresPort, Interval: interval, Log: log,
		},
		writers: &probe.Writers{Targets: s.cluster.Targets(), Interval: interval},
		keys:    &KeyWatch{Endpoints: s.endpoints, Client: s.client},
		group:   &sync.WaitGroup{},
	}
	var ctx context.Context
	ctx, o.cancel = context.WithCancel(context.Background())
	o.run(ctx, o.writes.Run)
	o.run(ctx, o.writers.Run)
	o.run(ctx, o.keys.Run)
	if s.witnesses != nil {
		o.names = &probe.Names{
			Name: primaryName, Servers: s.witnesses.DNS(), Dial: s.client.DialContext, Interval: interval,
		}
		o.run(ctx, o.names.Run)
	}
	t.Cleanup(func() {
		o.stop()
		_ = log.Close()
	})
	start := time.Now()
	o.waitWrite(t, start, "the first acknowledged writes", func(probe.Ack) bool { return true })
	o.wait(t, "the leader key", func() bool { return len(o.keys.Events()) > 0 })
	o.wait(t, "the first accepted local write", func() bool { return len(o.writers.Accepted()) > 0 })
	return o
}

func (o *observers) run(ctx context.Context, run func(context.Context) error) {
	o.group.Go(func() { _ = run(ctx) }) // a probe ends only by its context
}

// stop ends the probes and waits for them.
func (o *observers) stop() {
	o.cancel()
	o.group.Wait()
}

// waitWrite waits for an acknowledged write after the given instant.
func (o *observers) waitWrite(t *testing.T, since time.Time, what string, want func(probe.Ack) bool) probe.Ack {
	t.Helper()
	var found probe.Ack
	o.wait(t, what, func() bool {
		for _, a := range o.writes.Acked() {
			if a.At.After(since) && want(a) {
				found = a
				return true
			}
		}
		return false
	})
	return found
}

func (o *observers) wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	err := lab.Until(t.Context(), bound, what, func(context.Context) error {
		if !done() {
			return io.ErrNoProgress
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// outageAt returns the outage that contains the instant, or began after it.
func (o *observers) outageAt(at time.Time) probe.Outage {
	var after []probe.Ack
	acked := o.writes.Acked()
	for i, a := range acked {
		if a.At.After(at) {
			after = acked[max(0, i-1):]
			break
		}
	}
	return probe.Longest(probe.Outages(after, 0))
}

// assertOneWriter fails the test for every proof that two hosts accepted writes.
func (o *observers) assertOneWriter(t *testing.T) {
	t.Helper()
	accepted := o.writers.Accepted()
	t.Logf("%d local writes were accepted", len(accepted))
	for _, conflict := range probe.Conflicts(accepted) {
		t.Error(conflict)
	}
}

// lost counts the acknowledged rows that the present primary does not have.
func (o *observers) lost(t *testing.T) int {
	t.Helper()
	lost, err := o.writes.Lost(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(lost)
}

// assertNoneLost fails the test if an acknowledged row is gone.
func (o *observers) assertNoneLost(t *testing.T) {
	t.Helper()
	if n := o.lost(t); n > 0 {
		t.Errorf("%d of %d acknowledged rows are lost", n, len(o.writes.Acked()))
	}
}

// tails puts the end of every log of a failed case into the test's output.
func tails(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Error(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		t.Logf("--- end of %s\n%s", filepath.Base(file), strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
}
