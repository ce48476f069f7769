//go:build integration

package patroni

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/test/lab"
	"quorate/test/probe"
)

// tolerated is the longest gap between writes that is no outage: these cases run
// on loaded machines, and a real outage lasts many times as long.
const tolerated = 2 * time.Second

// assertNoOutage fails the test if writes stopped or moved after the instant, or if
// PostgreSQL was demoted even for a moment: a promotion begins a new timeline.
func (o *observers) assertNoOutage(t *testing.T, from time.Time) {
	t.Helper()
	acked := o.writes.Acked()
	first := slices.IndexFunc(acked, func(a probe.Ack) bool { return a.At.After(from) })
	if first < 0 {
		t.Fatal("no write was acknowledged any more")
	}
	acked = acked[max(0, first-1):]
	for _, outage := range probe.Outages(acked, tolerated) {
		attempts := "no attempt failed"
		if o.writes.FailedBetween(outage.From, outage.To) {
			attempts = "attempts failed"
		}
		t.Errorf("write outage of %s, in which %s", outage, attempts)
	}
	accepted := o.writers.Accepted()
	accepted = slices.DeleteFunc(accepted, func(a probe.Accept) bool { return a.End.Before(from) })
	for i := range accepted {
		if a, b := &accepted[0], &accepted[i]; a.Host != b.Host || a.Timeline != b.Timeline {
			t.Errorf("%s wrote on timeline %d and then %s on timeline %d: there was a demotion", a.Host, a.Timeline, b.Host, b.Timeline)
			break
		}
	}
	t.Logf("%d writes, longest gap %s", len(acked), probe.Longest(probe.Outages(acked, 0)).Duration())
}

// watchFor lets the case run on for the given time while the probes look.
func watchFor(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(d):
	}
}

func TestOneWitnessIsolated(t *testing.T) {
	s := witnessStack(t, t.Name(), variant{fast: "on"})
	leader, err := s.witnesses.WaitLeader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.witnesses.Nodes, func(n *Witness) bool { return n != leader })
	for _, alone := range []*Witness{s.witnesses.Nodes[i], leader} {
		role := "follower"
		if alone == leader {
			role = "leader"
		}
		t.Run(role, func(t *testing.T) { s.isolateWitness(t, alone) })
	}
}

func (s *stack) isolateWitness(t *testing.T, alone *Witness) {
	o := s.observe(t)
	before := s.view(t)
	primary, err := s.cluster.Member(before.Holder)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := s.lab.Isolate(t.Context(), alone.Host); err != nil {
		t.Fatal(err)
	}

	// Everything is asked from inside its own host: nobody else reaches it.
	err = lab.Until(t.Context(), bound, "the isolated witness to be read-only", func(ctx context.Context) error {
		status, err := s.witnesses.Status(ctx, alone.Host, alone)
		if err == nil && (!status.ReadOnly || status.Age <= 0) {
			err = fmt.Errorf("%+v", status)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Until(t.Context(), bound, "etcd clients to be refused", func(ctx context.Context) error {
		return refusesEtcd(ctx, alone)
	}); err != nil {
		t.Error(err)
	}
	names := probe.DNS{Name: primaryName, Servers: []string{alone.Host.IP() + ":53"}, Dial: alone.Host.DialContext}
	addresses, err := names.Find(t.Context())
	if err != nil || !slices.Equal(addresses, []string{primary.Host.IP()}) {
		t.Errorf("the isolated witness answers %v (%v), want its last good answer %s", addresses, err, primary.Host.IP())
	}

	watchFor(t, 1.5*ttlSeconds*time.Second) // a lost lease would show by now
	after := s.view(t)
	o.stop()
	o.assertNoOutage(t, start)
	o.assertOneWriter(t)
	o.assertNoneLost(t)
	if after.Holder != before.Holder || after.Epoch != before.Epoch {
		t.Errorf("%s holds epoch %d, want still %s and epoch %d", after.Holder, after.Epoch, before.Holder, before.Epoch)
	}

	if err := s.lab.Heal(t.Context(), alone.Host); err != nil {
		t.Fatal(err)
	}
	s.waitSameDigest(t)
}

// refusesEtcd sends a read as Patroni does and returns nil if the connection was
// closed without an answer.
func refusesEtcd(ctx context.Context, n *Witness) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := n.Host.DialTCP(ctx, net.JoinHostPort(n.Host.IP(), "2379"))
	if err != nil {
		return nil // refused at the door is refused as well
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	body := `{"key":"L3NlcnZpY2UvZGVtby8=","range_end":"L3NlcnZpY2UvZGVtbzA=","serializable":true}`
	_, err = fmt.Fprintf(conn, "POST /v3/kv/range HTTP/1.1\r\nHost: witness\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if err != nil {
		return nil // closed already
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	switch {
	case err == nil:
		_ = response.Body.Close()
		return fmt.Errorf("it answered %s", response.Status)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("it neither answered nor closed the connection")
	}
	return nil
}

func TestAllWitnessesKilledUnderFailsafeMode(t *testing.T) {
	s := witnessStack(t, t.Name(), variant{failsafe: true})
	o := s.observe(t)
	before := s.view(t)
	s.waitKey(t, "/"+namespace+"/"+scope+"/failsafe")
	start := time.Now()
	for _, n := range s.witnesses.Nodes {
		if err := n.Host.KillAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	watchFor(t, 2*ttlSeconds*time.Second)
	for _, n := range s.witnesses.Nodes {
		if err := s.witnesses.Start(n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.witnesses.WaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.waitProtected(t)
	watchFor(t, 1.5*ttlSeconds*time.Second) // the old lease would have ended by now
	after := s.view(t)
	o.stop()
	o.assertNoOutage(t, start)
	o.assertOneWriter(t)
	o.assertNoneLost(t)
	if after.Holder != before.Holder || after.Epoch != before.Epoch {
		t.Errorf("%s holds epoch %d, want still %s and epoch %d", after.Holder, after.Epoch, before.Holder, before.Epoch)
	}
	for name, bmc := range s.bmcs {
		if _, err := bmc.OffSince(start); err == nil {
			t.Errorf("the host of %s was powered off", name)
		}
	}
}

// waitKey waits until the store has the key.
func (s *stack) waitKey(t *testing.T, key string) {
	t.Helper()
	client, err := storeClient(s.client, s.endpoints[0])
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	err = lab.Until(t.Context(), bound, "the key "+key, func(ctx context.Context) error {
		reply, err := client.Get(ctx, key)
		if err == nil && len(reply.Kvs) == 0 {
			err = io.EOF
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWitnessReturns(t *testing.T) {
	s := witnessStack(t, t.Name(), variant{})
	leader, err := s.witnesses.WaitLeader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.witnesses.Nodes, func(n *Witness) bool { return n != leader })
	back := s.witnesses.Nodes[i]
	o := s.observe(t)
	start := time.Now()

	t.Run("restarted", func(t *testing.T) {
		if err := back.Host.KillAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		watchFor(t, loopSeconds*time.Second) // entries that it misses
		if err := s.witnesses.Start(back); err != nil {
			t.Fatal(err)
		}
		s.waitSameDigest(t)
	})
	t.Run("with a wiped disk", func(t *testing.T) {
		if err := back.Host.KillAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.member(t, "remove", back.Name) // its address goes to the new one
		if err := s.witnesses.Wipe(back, "w4"); err != nil {
			t.Fatal(err)
		}
		if err := s.witnesses.Start(back); err != nil {
			t.Fatal(err)
		}
		s.member(t, "add", back.Name, back.Host.IP()+":7400")
		s.waitSameDigest(t)
	})
	o.stop()
	o.assertNoOutage(t, start)
	o.assertOneWriter(t)
}

// member changes the set of witnesses, again until it succeeds: a change is
// refused while another one is not finished.
func (s *stack) member(t *testing.T, argv ...string) {
	t.Helper()
	err := lab.Until(t.Context(), bound, "member "+strings.Join(argv, " "), func(ctx context.Context) error {
		_, err := s.witnesses.Ctl(ctx, append([]string{"member"}, argv...)...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// waitSameDigest waits until every witness has a vote and has shown the same
// state hash at the same index, and fails the test at once if two differ at one
// index.
func (s *stack) waitSameDigest(t *testing.T) {
	t.Helper()
	var names []string
	for _, n := range s.witnesses.Nodes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	seen := map[uint64]map[string]string{} // index → witness → digest
	err := lab.Until(t.Context(), bound, "the same state hash on all witnesses", func(ctx context.Context) error {
		for _, n := range s.witnesses.Nodes {
			status, err := s.witnesses.Status(ctx, s.client, n)
			if err != nil {
				return err
			}
			if status.Node != n.Name || status.Digest == "" || !slices.Equal(status.Voters(), names) {
				return fmt.Errorf("%s answers %+v, want the voters %v", n.Name, status, names)
			}
			if seen[status.Index] == nil {
				seen[status.Index] = map[string]string{}
			}
			at := seen[status.Index]
			at[n.Name] = status.Digest
			for other, digest := range at {
				if digest != status.Digest {
					t.Fatalf("at index %d %s has the state hash %s and %s has %s", status.Index, other, digest, n.Name, status.Digest)
				}
			}
			if len(at) == len(s.witnesses.Nodes) {
				return nil
			}
		}
		return fmt.Errorf("not yet seen on all at one index: %v", seen)
	})
	if err != nil {
		t.Fatal(err)
	}
}
