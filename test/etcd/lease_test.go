//go:build integration

package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	leaseTTL      = 6 // seconds
	leaseElection = 300 * time.Millisecond
	// leaseBound is how long a lease may outlive its keeper while the leader stays.
	leaseBound = leaseTTL*time.Second + 2*leaseElection + time.Second
	// slack is what a loaded machine may add to it here.
	slack = 5 * time.Second
)

// keeper renews one lease, through one node as long as that one answers.
type keeper struct {
	id      clientv3.LeaseID
	key     string
	clients []*clientv3.Client

	stop chan struct{} // closed: stop renewing

	mu       sync.Mutex
	renewed  time.Time // when the last renewal that was answered had begun
	answered time.Time // and when its answer came
	longest  time.Duration
	lost     error
	gone     time.Time // when its key was seen to be deleted
}

// run renews until stop is closed, three times in a TTL, and more often while
// nobody answers. It holds what Patroni holds: the lease lives at least a TTL
// beyond the beginning of a renewal that was answered.
func (k *keeper) run(ctx context.Context) {
	at := 0
	for {
		begin := time.Now()
		call, cancel := context.WithTimeout(ctx, 2*time.Second)
		resp, err := k.clients[at].KeepAliveOnce(call, k.id)
		cancel()
		wait := leaseTTL * time.Second / 3
		switch {
		case err == nil && resp.TTL > 0:
			k.mu.Lock()
			k.longest = max(k.longest, begin.Sub(k.renewed))
			k.renewed, k.answered = begin, time.Now()
			k.mu.Unlock()
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			k.mu.Lock()
			k.lost = fmt.Errorf("lease %x: not found %s after a renewal that was answered had begun", k.id, time.Since(k.renewed))
			k.mu.Unlock()
			return
		default:
			at = (at + 1) % len(k.clients)
			wait = 100 * time.Millisecond
		}
		select {
		case <-k.stop:
			return
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// keepers are leases with their keepers and a watch of their keys.
type keepers struct {
	c    *cluster
	all  []*keeper
	work sync.WaitGroup
}

func keep(c *cluster, count int) *keepers {
	c.t.Helper()
	var clients []*clientv3.Client
	for _, n := range c.nodes {
		clients = append(clients, c.dial(c.client, n.endpoint()))
	}
	all := c.dial(c.client, c.endpoints()...)
	ks := &keepers{c: c}
	ctx, cancel := context.WithCancel(c.t.Context())
	watched := all.Watch(ctx, "/lease/", clientv3.WithPrefix())
	for i := range count {
		begin := time.Now()
		grant, err := all.Grant(ctx, leaseTTL)
		if err != nil {
			c.t.Fatal(err)
		}
		k := &keeper{id: grant.ID, key: fmt.Sprintf("/lease/%d", i), stop: make(chan struct{}), renewed: begin, answered: begin}
		if _, err := all.Put(ctx, k.key, "", clientv3.WithLease(k.id)); err != nil {
			c.t.Fatal(err)
		}
		for j := range clients { // each begins at another node
			k.clients = append(k.clients, clients[(i+j)%len(clients)])
		}
		ks.all = append(ks.all, k)
		ks.work.Go(func() { k.run(ctx) })
	}
	byKey := map[string]*keeper{}
	for _, k := range ks.all {
		byKey[k.key] = k
	}
	ks.work.Go(func() { ks.watch(watched, byKey) })
	c.t.Cleanup(func() {
		cancel()
		ks.work.Wait()
	})
	return ks
}

// watch notes when keys vanish, and calls it at once if one vanished early.
func (ks *keepers) watch(events clientv3.WatchChan, byKey map[string]*keeper) {
	for resp := range events {
		now := time.Now()
		for _, e := range resp.Events {
			k := byKey[string(e.Kv.Key)]
			if e.Type != clientv3.EventTypeDelete || k == nil {
				continue
			}
			k.mu.Lock()
			k.gone = now
			if age := now.Sub(k.renewed); age < leaseTTL*time.Second {
				ks.c.t.Errorf("lease %x vanished %s after a renewal had begun that was answered; TTL %ds", k.id, age, leaseTTL)
			}
			k.mu.Unlock()
		}
	}
}

// unharmed checks that no lease is lost that was renewed in time.
func (ks *keepers) unharmed(when string) {
	ks.c.t.Helper()
	var longest time.Duration
	for _, k := range ks.all {
		k.mu.Lock()
		longest = max(longest, k.longest)
		if (k.lost != nil || !k.gone.IsZero()) && k.longest < leaseTTL*time.Second {
			ks.c.t.Errorf("%s: lease %x is gone though it was renewed every %s at most: %v", when, k.id, k.longest, k.lost)
		}
		k.mu.Unlock()
	}
	ks.c.t.Logf("%s: longest time between two answered renewals %s", when, longest.Round(time.Millisecond))
}

// outlived waits until the leases whose keepers have stopped are gone and
// returns by how much the last one outlived its last answered renewal.
func (ks *keepers) outlived(stopped []*keeper, bound time.Duration) time.Duration {
	ks.c.t.Helper()
	var longest time.Duration
	for _, k := range stopped {
		for {
			k.mu.Lock()
			gone, answered := k.gone, k.answered
			k.mu.Unlock()
			if !gone.IsZero() {
				longest = max(longest, gone.Sub(answered))
				break
			}
			if time.Since(answered) > bound {
				ks.c.t.Errorf("lease %x is still there %s after its last renewal", k.id, time.Since(answered))
				return bound
			}
			ks.c.sleep(20 * time.Millisecond)
		}
	}
	return longest
}

// halt stops a number of keepers and forgets them.
func (ks *keepers) halt(count int) []*keeper {
	stopped := ks.all[len(ks.all)-count:]
	ks.all = ks.all[:len(ks.all)-count]
	for _, k := range stopped {
		close(k.stop)
	}
	return stopped
}

// TestLeases keeps leases alive through all witnesses while the leader is
// paused, changed every half TTL, and cut off: none may vanish early. Each
// witness lives in a time namespace of its own, so that the monotonic clocks of
// two leaders have nothing in common. A clock cannot be stepped on one machine
// without stepping everybody's.
func TestLeases(t *testing.T) {
	c := witnesses(t, newLab(t), nil, []string{"unshare", "-T", "--monotonic=100000"}, []string{"unshare", "-T", "--monotonic=5000000"})
	ks := keep(c, 90)
	for range max(1, soakRounds()) {
		ks.faults()
	}
	c.waitLeader()
	c.sleep(leaseTTL * time.Second / 2)
	ks.unharmed("at the end")
	took := ks.outlived(ks.halt(40), leaseBound+slack)
	t.Logf("leader stays: the last of 40 leases ended %s after its last renewal (bound %s)", took.Round(time.Millisecond), leaseBound)
}

func (ks *keepers) faults() {
	c := ks.c
	pauses := []time.Duration{300 * time.Millisecond, time.Second, 5 * time.Second}
	if soakRounds() > 0 {
		pauses = append(pauses, 40*time.Second)
	}
	for _, d := range pauses {
		c.pause(c.waitLeader(), d)
		c.sleep(time.Second)
		ks.unharmed(fmt.Sprintf("leader paused for %s", d))
	}
	for range 4 {
		n := c.waitLeader()
		c.kill(n)
		c.sleep(leaseTTL * time.Second / 2)
		c.start(n)
	}
	ks.unharmed("leader changed every half TTL")
	for range 2 {
		n := c.waitLeader()
		c.isolate(n)
		c.sleep(leaseTTL * time.Second)
		c.heal(n)
		c.sleep(time.Second)
		ks.unharmed("leader cut off for a TTL")
	}
}

// TestLeaseEndsDespiteLeaderChanges tells how long leases without a keeper live
// if the leader changes every half TTL. They must end once that stops; what the
// changes cost is logged.
func TestLeaseEndsDespiteLeaderChanges(t *testing.T) {
	c := witnesses(t, newLab(t))
	ks := keep(c, 12)
	c.sleep(leaseTTL * time.Second)
	stopped := ks.halt(10)
	changing := 0
	for range 4 {
		n := c.waitLeader()
		c.kill(n)
		c.sleep(leaseTTL * time.Second / 2)
		c.start(n)
		changing++
	}
	c.waitLeader()
	took := ks.outlived(stopped, time.Duration(changing)*leaseTTL*time.Second+leaseBound+slack)
	ks.unharmed("those with a keeper")
	t.Logf("leader changed %d times, every %ds: the last of 10 leases ended %s after its last renewal (bound if the leader stays: %s)",
		changing, leaseTTL/2, took.Round(time.Millisecond), leaseBound)
}
