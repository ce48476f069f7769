package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// patience bounds every wait of these tests; a busy machine elects slowly.
const patience = 60 * time.Second

// trio is three real witnesses in this process, on loopback.
type trio struct {
	*testing.T
	ctx   context.Context
	etcd  [3]string
	data  [3]string
	conns [3]*clientv3.Client
	nodes [3]*Services
	stop  [3]func()
}

func startTrio(t *testing.T) *trio {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	c := &trio{T: t, ctx: ctx}
	peers := map[string]string{}
	for i := range 3 {
		peers[fmt.Sprint("w", i+1)] = freeAddr(t)
		c.etcd[i] = freeAddr(t)
	}
	for i := range 3 {
		name := fmt.Sprint("w", i+1)
		cfg := Config{
			Node: name, Data: filepath.Join(t.TempDir(), name), Peers: peers, Peer: PeerConfig{Listen: peers[name]},
			Etcd: EtcdConfig{ListenConfig: ListenConfig{Listen: c.etcd[i]}}, HTTP: ListenConfig{Listen: "127.0.0.1:0"},
		}
		c.data[i] = cfg.Data
		cfg.setDefaults()
		nctx, stop := context.WithCancel(context.Background())
		ready, done := make(chan *Services, 1), make(chan error, 1)
		go func() {
			done <- Run(nctx, Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Ready: func(s *Services) { ready <- s }})
		}()
		c.stop[i] = sync.OnceFunc(func() {
			stop()
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		t.Cleanup(c.stop[i])
		c.nodes[i] = <-ready
	}
	for i, addr := range c.etcd {
		conn, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		c.conns[i] = conn
		c.eventually(name(i)+" serves", func() error { _, err := conn.Get(ctx, "x"); return err })
	}
	return c
}

func name(i int) string { return fmt.Sprint("w", i+1) }

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (c *trio) eventually(what string, do func() error) {
	c.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = do(); err == nil {
			return
		}
	}
	c.Fatalf("not within %s: %s: %v", patience, what, err)
}

// leader is the index of the node that leads.
func (c *trio) leader() int {
	c.Helper()
	at := -1
	c.eventually("a leader", func() error {
		for i, n := range c.nodes {
			if n.Backend.IsLeader() {
				at = i
				return nil
			}
		}
		return fmt.Errorf("nobody leads")
	})
	return at
}

// move gives leadership to the next node, by the etcd API of any node.
func (c *trio) move() {
	c.Helper()
	to := (c.leader() + 1) % 3
	c.eventually("leadership of "+name(to), func() error {
		if _, err := c.conns[(to+1)%3].MoveLeader(c.ctx, c.nodes[to].Backend.MemberID()); err != nil && !c.nodes[to].Backend.IsLeader() {
			return err
		}
		return nil
	})
}

// Nodes at one revision agree on every key, whoever leads, also at a revision that is
// past by now and after a compaction.
func TestMoveLeaderAndHashOfAllNodes(t *testing.T) {
	c := startTrio(t)
	var rev int64
	for i := range 30 {
		if i%10 == 5 {
			c.move()
		}
		c.eventually("a put", func() error {
			r, err := c.conns[i%3].Put(c.ctx, fmt.Sprint("k", i%7), fmt.Sprint(i))
			if err == nil {
				rev = r.Header.Revision
			}
			return err
		})
	}
	same := func(rev int64) {
		t.Helper()
		var first *clientv3.HashKVResponse
		for i, conn := range c.conns {
			var h *clientv3.HashKVResponse
			c.eventually(name(i)+" has the revision", func() (err error) { h, err = conn.HashKV(c.ctx, c.etcd[i], rev); return err })
			if first == nil {
				first = h
			}
			if h.Hash != first.Hash || h.HashRevision != rev || h.Hash == 0 {
				t.Errorf("%s at %d: %+v, but the first says %+v", name(i), rev, h, first)
			}
		}
	}
	same(rev)
	same(rev - 5)
	c.eventually("a compaction", func() error { _, err := c.conns[0].Compact(c.ctx, rev-3); return err })
	same(rev - 2)
	same(rev)
}

// etcd#17642: a change of leader made TimeToLive answer with nonsense. Here it is a
// number that can be true, or an error.
func TestTimeToLiveDuringLeaderChanges(t *testing.T) {
	c := startTrio(t)
	const ttl = 600
	var l *clientv3.LeaseGrantResponse
	c.eventually("a lease", func() (err error) { l, err = c.conns[0].Grant(c.ctx, ttl); return err })
	ctx, cancel := context.WithCancel(c.ctx)
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := 0
	for i, conn := range c.conns {
		wg.Go(func() {
			for ctx.Err() == nil {
				r, err := conn.TimeToLive(ctx, l.ID)
				if err != nil {
					continue
				}
				mu.Lock()
				answers++
				mu.Unlock()
				if r.TTL <= ttl-200 || r.TTL > ttl || r.GrantedTTL != ttl {
					t.Errorf("%s says that %d s are left of %d", name(i), r.TTL, r.GrantedTTL)
					return
				}
			}
		})
	}
	for range 4 {
		mu.Lock()
		before := answers
		mu.Unlock()
		c.move()
		c.eventually("answers", func() error {
			mu.Lock()
			defer mu.Unlock()
			if answers < before+20 {
				return fmt.Errorf("%d", answers-before)
			}
			return nil
		})
	}
	cancel()
	wg.Wait()
}

// etcd#9496: a new leader was busy with its leases. Here all of them are renewed by it,
// and none is lost.
func TestPromotionWithManyLeases(t *testing.T) {
	c := startTrio(t)
	const leases, clients = 2000, 16
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			for id := n + 1; id <= leases; id += clients {
				c.eventually("a lease", func() error {
					_, err := pb.NewLeaseClient(c.conns[n%3].ActiveConnection()).LeaseGrant(c.ctx, &pb.LeaseGrantRequest{ID: int64(id), TTL: 600})
					if err != nil && c.nodes[0].Backend.State().KV != nil {
						if _, ok := c.nodes[0].Backend.State().KV.Lease(int64(id)); ok {
							return nil // an earlier try has made it
						}
					}
					return err
				})
			}
		})
	}
	wg.Wait()
	c.move()
	begin := time.Now()
	c.eventually("a put", func() error { _, err := c.conns[0].Put(c.ctx, "a", ""); return err })
	for n := range clients {
		wg.Go(func() {
			for id := n + 1; id <= leases; id += clients {
				c.eventually("a renewal", func() error { _, err := c.conns[n%3].KeepAliveOnce(c.ctx, clientv3.LeaseID(id)); return err })
			}
		})
	}
	wg.Wait()
	t.Logf("first write and %d renewals %s after the promotion", leases, time.Since(begin).Round(time.Millisecond))
}

// patroni#3420: the term of a member that was alone rose with each of its candidacies,
// and Patroni then took all others for stale. Ours is that of the last applied entry.
func TestTermOfAWitnessAlone(t *testing.T) {
	c := startTrio(t)
	last := (c.leader() + 1) % 3
	before := c.nodes[last].Backend.Term()
	for i := range 3 {
		if i != last {
			c.stop[i]()
		}
	}
	c.eventually("the witness knows that it is alone", func() error {
		if (&etcdBackend{c.nodes[last].Backend}).Status().HasLeader {
			return fmt.Errorf("it still has a leader")
		}
		return nil
	})
	// Many election timeouts, in each of which it would stand if it did not ask first.
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		r, err := c.conns[last].Get(c.ctx, "x", clientv3.WithSerializable())
		if err != nil {
			t.Fatal(err)
		}
		// A handing over of leadership by those that stopped counts; candidacies do not.
		if r.Header.RaftTerm > before+2 {
			t.Fatalf("term %d, it was %d with the others", r.Header.RaftTerm, before)
		}
	}
}
