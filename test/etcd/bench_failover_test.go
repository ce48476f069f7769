//go:build integration

package etcd

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"quorate/test/lab"
)

const (
	askEvery = 20 * time.Millisecond // how often each survivor is asked to write
	askLimit = 5 * time.Second
)

// benchFailover measures the time from the death of the leader to the first
// write that a survivor takes: its process killed, and its host gone silently.
func benchFailover(t *testing.T, l *lab.Lab, sides [2]*cluster, deaths int) {
	t.Helper()
	tuned := etcdServers(t, l, "f", 50, "--heartbeat-interval", "20", "--election-timeout", "200")
	var killed, vanished, killedTuned, vanishedTuned times
	for round := range deaths {
		phase := rand.N(300 * time.Millisecond)
		for _, s := range []struct {
			c    *cluster
			into []*times
			gone []*times
			side int
		}{
			{sides[0], []*times{&killed, &killedTuned}, []*times{&vanished, &vanishedTuned}, 0},
			{sides[1], []*times{&killed}, []*times{&vanished}, 1},
			{tuned, []*times{&killedTuned}, []*times{&vanishedTuned}, 1},
		} {
			d := s.c.outage(phase, false)
			for _, m := range s.into {
				m[s.side] = append(m[s.side], d)
			}
			if round%3 != 0 {
				continue
			}
			d = s.c.outage(phase, true)
			for _, m := range s.gone {
				m[s.side] = append(m[s.side], d)
			}
		}
	}
	killed.publish(t, "etcd-leader-killed", "to the first write; ours heartbeat 300 ms, etcd default", 50, 100)
	killedTuned.publish(t, "etcd-leader-killed-tuned", "to the first write; ours heartbeat 300 ms, etcd tuned 20/200 ms", 50, 100)
	vanished.publish(t, "etcd-leader-vanished", "to the first write; ours heartbeat 300 ms, etcd default", 50, 100)
	vanishedTuned.publish(t, "etcd-leader-vanished-tuned", "to the first write; ours heartbeat 300 ms, etcd tuned 20/200 ms", 50, 100)
}

// outage kills the leader and returns the time to the first write that was
// begun and confirmed after it. It leaves the cluster whole.
func (c *cluster) outage(phase time.Duration, vanish bool) time.Duration {
	c.t.Helper()
	leader := c.waitLeader()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	var mu sync.Mutex
	var dead, first time.Time
	var work sync.WaitGroup
	for _, n := range c.followers(leader) {
		cli := c.dial(c.client, n.endpoint())
		defer cli.Close()
		work.Go(func() {
			tick := time.NewTicker(askEvery)
			defer tick.Stop()
			for ctx.Err() == nil {
				begin := time.Now()
				work.Go(func() {
					call, stop := context.WithTimeout(ctx, askLimit)
					defer stop()
					_, err := cli.Put(call, "/outage", value)
					mu.Lock()
					defer mu.Unlock()
					if err == nil && !dead.IsZero() && begin.After(dead) && first.IsZero() {
						first = time.Now()
					}
				})
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	c.sleep(500*time.Millisecond + phase)
	if vanish {
		c.isolate(leader)
	}
	c.kill(leader)
	mu.Lock()
	dead = time.Now()
	mu.Unlock()
	err := lab.Until(ctx, healthy, "a write", func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if first.IsZero() {
			return errors.New("none yet")
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	cancel()
	work.Wait()
	if vanish {
		c.heal(leader)
	}
	c.start(leader)
	c.waitWhole()
	took := first.Sub(dead)
	c.t.Logf("%s died (host gone: %t) at %s: first write after %s", leader.name, vanish, dead.UTC().Format("15:04:05.000"), took.Round(time.Millisecond))
	return took
}

// waitWhole waits until all nodes have applied the same, so that the next death
// finds three of them.
func (c *cluster) waitWhole() {
	c.t.Helper()
	err := lab.Until(c.t.Context(), healthy, "three nodes of one state", func(ctx context.Context) error {
		var applied, leaders [3]uint64
		for i, n := range c.nodes {
			st, err := c.status(ctx, n)
			if err != nil {
				return err
			}
			applied[i], leaders[i] = st.RaftAppliedIndex, st.Leader
		}
		if applied[0] != applied[1] || applied[1] != applied[2] || leaders[0] == 0 || leaders[0] != leaders[1] || leaders[1] != leaders[2] {
			return errors.New("they differ")
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.sleep(time.Second)
}
