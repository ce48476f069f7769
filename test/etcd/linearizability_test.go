//go:build integration

package etcd

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const keys = 5

// soakVariable lengthens the campaigns: the number of rounds of faults.
const soakVariable = "QUORATE_SOAK_ROUNDS"

// soakRounds is 0 in CI.
func soakRounds() int {
	n, err := strconv.Atoi(os.Getenv(soakVariable))
	if err != nil {
		return 0
	}
	return n
}

// worker is a client that does one operation after the other and records them.
type worker struct {
	id     int
	cli    *clientv3.Client
	h      *history
	random *rand.Rand
	count  int
	seen   map[string]string // what it believes the keys are
	stale  bool              // its reads are serializable: for the negative control
}

// run works until ctx ends.
func (w *worker) run(ctx context.Context) {
	w.seen = map[string]string{}
	for ctx.Err() == nil {
		key := fmt.Sprintf("/linear/%d", w.random.IntN(keys))
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 4*time.Second)
		w.count++
		value := fmt.Sprintf("%d-%d", w.id, w.count)
		switch n := w.random.IntN(100); {
		case n < 35:
			w.read(call, key)
		case n < 60:
			w.do(call, operation{Kind: put, Key: key, Value: value})
		case n < 65:
			w.do(call, operation{Kind: remove, Key: key})
		case n < 90:
			w.do(call, operation{Kind: swap, Key: key, Expect: w.seen[key], Value: value})
		default:
			w.both(call, value)
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(w.random.Int64N(int64(20 * time.Millisecond)))):
		}
	}
}

func (w *worker) read(ctx context.Context, key string) {
	var opts []clientv3.OpOption
	if w.stale {
		opts = append(opts, clientv3.WithSerializable())
	}
	o := operation{Client: w.id, Kind: read, Key: key, Call: w.h.now()}
	resp, err := w.cli.Get(ctx, key, opts...)
	if err != nil {
		return // a read without an answer says nothing
	}
	o.Return, o.Revision = w.h.now(), resp.Header.Revision
	if len(resp.Kvs) > 0 {
		o.Before, o.Mod = string(resp.Kvs[0].Value), resp.Kvs[0].ModRevision
	}
	w.record(o)
}

// do carries out a write in a transaction of one operation.
func (w *worker) do(ctx context.Context, o operation) {
	o.Client = w.id
	txn := w.cli.Txn(ctx)
	switch {
	case o.Kind == put:
		txn = txn.Then(clientv3.OpPut(o.Key, o.Value, clientv3.WithPrevKV()))
	case o.Kind == remove:
		txn = txn.Then(clientv3.OpDelete(o.Key, clientv3.WithPrevKV()))
	case o.Expect == "":
		txn = txn.If(clientv3.Compare(clientv3.CreateRevision(o.Key), "=", 0)).Then(clientv3.OpPut(o.Key, o.Value, clientv3.WithPrevKV())).Else(clientv3.OpGet(o.Key))
	default:
		txn = txn.If(clientv3.Compare(clientv3.Value(o.Key), "=", o.Expect)).Then(clientv3.OpPut(o.Key, o.Value, clientv3.WithPrevKV())).Else(clientv3.OpGet(o.Key))
	}
	o.Call = w.h.now()
	resp, err := txn.Commit()
	w.record(w.answered(o, resp, err, 0))
}

// both puts the same value to two keys in one transaction.
func (w *worker) both(ctx context.Context, value string) {
	first := w.random.IntN(keys)
	ops := []operation{
		{Client: w.id, Kind: put, Key: fmt.Sprintf("/linear/%d", first), Value: value + "-a"},
		{Client: w.id, Kind: put, Key: fmt.Sprintf("/linear/%d", (first+1)%keys), Value: value + "-b"},
	}
	call := w.h.now()
	resp, err := w.cli.Txn(ctx).Then(clientv3.OpPut(ops[0].Key, ops[0].Value, clientv3.WithPrevKV()), clientv3.OpPut(ops[1].Key, ops[1].Value, clientv3.WithPrevKV())).Commit()
	for i := range ops {
		ops[i].Call = call
		w.record(w.answered(ops[i], resp, err, i))
	}
}

// answered completes a write by its answer. After an error its fate is open.
func (w *worker) answered(o operation, resp *clientv3.TxnResponse, err error, i int) operation {
	if err != nil {
		o.Unknown, o.Return = true, never
		return o
	}
	o.Return, o.Revision, o.Swapped = w.h.now(), resp.Header.Revision, o.Kind == swap && resp.Succeeded
	r := resp.Responses[i]
	before := r.GetResponsePut().GetPrevKv()
	if d := r.GetResponseDeleteRange(); d != nil && len(d.PrevKvs) > 0 {
		before = d.PrevKvs[0]
	}
	if g := r.GetResponseRange(); g != nil && len(g.Kvs) > 0 {
		before = g.Kvs[0]
	}
	if before != nil {
		o.Before, o.Mod = string(before.Value), before.ModRevision
	}
	return o
}

func (w *worker) record(o operation) {
	w.h.add(o)
	switch {
	case o.Unknown:
	case o.Kind == put || o.Swapped:
		w.seen[o.Key] = o.Value
	case o.Kind == remove:
		w.seen[o.Key] = ""
	default:
		w.seen[o.Key] = o.Before
	}
}

// load runs three clients on each node, in the node's own host, so that a node
// that is cut off keeps its clients, and one that knows all nodes.
func (c *cluster) load(h *history, seed uint64, stale bool) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var work sync.WaitGroup
	for i := range 10 {
		from, endpoints := c.client, c.endpoints()
		if i < 9 {
			n := c.nodes[i%3]
			from, endpoints = n.host, []string{n.endpoint()}
		}
		w := &worker{id: i, cli: c.dial(from, endpoints...), h: h, random: rand.New(rand.NewPCG(seed, uint64(i))), stale: stale}
		work.Go(func() { w.run(ctx) })
	}
	return func() {
		cancel()
		work.Wait()
	}
}

// faults is one round of everything that may happen to a witness.
func (c *cluster) faults(random *rand.Rand, long bool) []func() {
	leader := c.waitLeader
	anyNode := func() *server { return c.nodes[random.IntN(3)] }
	revive := func(n *server, d time.Duration) {
		c.kill(n)
		c.sleep(d)
		c.start(n)
	}
	cut := func(n *server, d time.Duration) {
		c.isolate(n)
		c.sleep(d)
		c.heal(n)
	}
	all := []func(){
		func() { revive(leader(), time.Second) },
		func() { revive(anyNode(), 2*time.Second) },
		func() { c.pause(leader(), 300*time.Millisecond) },
		func() { c.pause(leader(), time.Second) },
		func() { c.pause(leader(), 5*time.Second) },
		func() { c.pause(anyNode(), time.Second) },
		func() { cut(leader(), 4*time.Second) },
		func() { cut(anyNode(), 3*time.Second) },
		func() { // one side of the triangle: leader and one follower lose each other
			l := leader()
			f := c.followers(l)[random.IntN(2)]
			if err := c.lab.Cut(c.t.Context(), l.host, f.host); err != nil {
				c.t.Error(err)
			}
			c.sleep(3 * time.Second)
			c.heal(f)
		},
		func() { // power loss of the site
			for _, n := range c.nodes {
				c.kill(n)
			}
			for _, n := range c.nodes {
				c.start(n)
			}
		},
	}
	if long {
		all = append(all, func() { c.pause(leader(), 40*time.Second) }, func() { cut(leader(), 20*time.Second) })
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// TestLinearizable drives the witnesses through kills, pauses and partitions
// under load and checks what the clients saw, by two independent checks.
// QUORATE_SOAK_ROUNDS makes it that many rounds, with a 40 s pause and long
// partitions in each.
func TestLinearizable(t *testing.T) {
	c := witnesses(t, newLab(t))
	rounds := max(2, soakRounds())
	for round := range rounds {
		seed := uint64(time.Now().UnixNano())
		random := rand.New(rand.NewPCG(seed, 1))
		h := &history{start: time.Now()}
		c.clear()
		stop := c.load(h, seed, false)
		for _, fault := range c.faults(random, soakRounds() > 0) {
			c.sleep(500 * time.Millisecond)
			fault()
		}
		c.waitLeader()
		c.sleep(2 * time.Second)
		stop()
		unknown := len(h.ops) - len(known(h.ops))
		t.Logf("round %d seed %d: %d operations, %d of unknown outcome", round, seed, len(h.ops), unknown)
		if len(h.ops) < 1000 {
			t.Errorf("only %d operations: nothing was tested", len(h.ops))
		}
		if r := linearizable(h.ops); r != porcupine.Ok {
			h.save(t)
			t.Errorf("porcupine says %s", r)
		}
		if err := checkRevisions(h.ops); err != nil {
			h.save(t)
			t.Error(err)
		}
	}
}

// clear removes what an earlier round has written: a history begins with nothing.
func (c *cluster) clear() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	c.waitLeader()
	if _, err := c.dial(c.client, c.endpoints()...).Delete(ctx, "/linear/", clientv3.WithPrefix()); err != nil {
		c.t.Fatal(err)
	}
}

func (h *history) save(t *testing.T) {
	t.Helper()
	path := filepath.Join(root(t), "out", "lab", fmt.Sprintf("history-%d.json", h.start.UnixNano()))
	raw, err := json.Marshal(h.ops)
	if err == nil {
		err = os.WriteFile(path, raw, 0o644)
	}
	t.Logf("the history is in %s (%v)", path, err)
}

// TestStaleReadsAreFound is the negative control: the same load with
// serializable reads, which a node that is cut off answers from its old state.
// Both checks have to find them.
func TestStaleReadsAreFound(t *testing.T) {
	c := witnesses(t, newLab(t))
	h := &history{start: time.Now()}
	stop := c.load(h, 1, true)
	c.sleep(time.Second)
	n := c.followers(c.waitLeader())[0]
	c.isolate(n)
	c.sleep(3 * time.Second)
	c.heal(n)
	stop()
	if r := linearizable(h.ops); r != porcupine.Illegal {
		h.save(t)
		t.Errorf("porcupine says %s of a history with stale reads", r)
	}
	if err := checkRevisions(h.ops); err == nil {
		h.save(t)
		t.Error("stale reads are called right")
	}
}
