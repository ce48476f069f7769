package reconcile

import (
	"context"
	"sync"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/kv"
)

// cluster is a log that commits at once, shared by nodes of which one leads.
type cluster struct {
	mu      sync.Mutex
	state   *witness.State
	changed chan struct{}
	began   time.Time
	leader  string
	term    uint64
	since   map[int64]time.Duration // lease → time since its renewal
	alive   []string                // witnesses that the leader hears; empty: itself alone
}

func newCluster() *cluster {
	return &cluster{state: witness.New(), changed: make(chan struct{}), began: time.Now(), term: 1, since: map[int64]time.Duration{}}
}

func (c *cluster) now() witness.Time { return time.Since(c.began) }

func (c *cluster) apply(cmd witness.Command) (witness.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next, res, _ := c.state.Apply(witness.Entry{Index: c.state.Index + 1, Term: c.term, Stamp: witness.Stamp{Time: c.now()}, Cmd: cmd})
	c.state = next
	close(c.changed)
	c.changed = make(chan struct{})
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
}

func (c *cluster) must(t *testing.T, cmds ...witness.Command) {
	t.Helper()
	for _, cmd := range cmds {
		if _, err := c.apply(cmd); err != nil {
			t.Fatalf("%s: %v", witness.Kind(cmd), err)
		}
	}
}

func (c *cluster) lead(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader, c.term = name, c.term+1
	close(c.changed)
	c.changed = make(chan struct{})
}

// node is one witness of the cluster.
type node struct {
	*cluster
	name     string
	cutOff   bool // it cannot reach a quorum
	failures int  // proposals that fail before one works
}

var _ Node = (*node)(nil)

func (n *node) Name() string { return n.name }

func (n *node) State() *witness.State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state
}

func (n *node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

func (n *node) IsLeader() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leader == n.name
}

func (n *node) VerifyLeader(context.Context) error {
	if n.cutOff || !n.IsLeader() {
		return witness.ErrNoQuorum
	}
	return nil
}

func (n *node) Barrier(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cutOff {
		return witness.ErrNoQuorum
	}
	return nil
}

func (n *node) ProposeLocal(ctx context.Context, cmd witness.Command) (witness.Result, error) {
	if !n.IsLeader() {
		return witness.Result{}, witness.ErrNoQuorum
	}
	return n.Propose(ctx, cmd)
}

func (n *node) Propose(_ context.Context, cmd witness.Command) (witness.Result, error) {
	if _, ok := cmd.(witness.Finished); ok && n.failures > 0 {
		n.failures--
		return witness.Result{}, witness.ErrNoQuorum
	}
	return n.apply(cmd)
}

func (n *node) View() witness.View {
	v := witness.View{State: n.State(), Now: n.now(), Voters: []string{"w1", "w2", "w3"}, Alive: []string{n.name}}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.alive {
		if other != n.name {
			v.Alive = append(v.Alive, other)
		}
	}
	return v
}

// lives says which witnesses are left.
func (c *cluster) lives(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alive = names
}

func (n *node) SinceRenewal(lease int64) (time.Duration, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d, ok := n.since[lease]
	return d, ok
}

// hands is an executor that counts what it does and answers as told.
type hands struct {
	mu     sync.Mutex
	done   []string
	answer witness.Finished
	hold   chan struct{} // if not nil, an action lasts until it is closed
}

func (h *hands) Execute(ctx context.Context, _ *witness.State, a *witness.Action) witness.Finished {
	h.mu.Lock()
	h.done = append(h.done, a.Kind+" "+a.Host)
	h.mu.Unlock()
	if h.hold != nil {
		select {
		case <-h.hold:
		case <-ctx.Done():
			return witness.Finished{Outcome: witness.Unknown, Reason: "interrupted"}
		}
	}
	return h.answer
}

func (h *hands) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.done)
}

var proven = witness.Finished{Outcome: witness.Confirmed, Grade: witness.GradeObserved, Reason: "read Off twice"}

// patroni sets up a cluster held by pg1 on h1, with two healthy replicas.
func (c *cluster) patroni(t *testing.T, fast string) {
	t.Helper()
	cfg := witness.Config{Devices: []witness.Device{{Name: "bmc", Driver: "fake"}}}
	spec := witness.ClusterSpec{Name: "demo", Kind: witness.KindPatroni, Fast: fast}
	for _, n := range []string{"1", "2", "3"} {
		cfg.Hosts = append(cfg.Hosts, witness.Host{Name: "h" + n, Addresses: []string{"10.0.0." + n}, Fence: []witness.FenceStep{{Level: 1, Device: "bmc"}}})
		spec.Members = append(spec.Members, witness.MemberSpec{Name: "pg" + n, Host: "h" + n})
	}
	cfg.Clusters = []witness.ClusterSpec{spec}
	c.must(t, witness.Configure{Config: cfg})
	for i, n := range []string{"1", "2", "3"} {
		c.must(t, witness.LeaseGrant{ID: int64(i + 1), TTL: 30},
			witness.Txn{Req: kv.PutTxn(kv.PutRequest{Key: []byte("/service/demo/members/pg" + n), Value: []byte(`{"role":"replica","state":"running"}`), Lease: int64(i + 1)})})
	}
	c.must(t, witness.Txn{Req: kv.PutTxn(kv.PutRequest{Key: []byte("/service/demo/leader"), Value: []byte("pg1"), Lease: 1})})
}

func (c *cluster) holder() *witness.Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Cluster("demo")
}
