package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"quorate/witness"
	"quorate/witness/kv"
	"quorate/witness/node/memnet"
)

// lab is a cluster in memory, meant for a synctest bubble: virtual time, the
// real transport, Raft and peer port over memnet.
type lab struct {
	t     *testing.T
	net   *memnet.Net
	dir   string
	peers map[string]string
	disks map[string]*disk
	live  map[string]*running
	tune  func(*Options)
}

// disk outlives the process of its node.
type disk struct {
	log   *stallStore
	snaps *raft.InmemSnapshotStore
}

type running struct {
	*Node
	cancel context.CancelFunc
	done   chan error
}

func newLab(t *testing.T, tune func(*Options), names ...string) *lab {
	l := &lab{
		t: t, net: memnet.New(), dir: t.TempDir(), peers: map[string]string{},
		disks: map[string]*disk{}, live: map[string]*running{}, tune: tune,
	}
	for _, n := range names {
		l.peers[n] = n
	}
	for _, n := range names {
		l.start(n)
	}
	t.Cleanup(l.stop)
	return l
}

func (l *lab) start(name string) *running {
	l.t.Helper()
	d := l.disks[name]
	if d == nil {
		d = &disk{log: newStallStore(), snaps: raft.NewInmemSnapshotStore()}
		l.disks[name] = d
	}
	ln, err := l.net.Listen(name)
	if err != nil {
		l.t.Fatal(err)
	}
	o := Options{
		Name: name, Cluster: "lab", DataDir: filepath.Join(l.dir, name),
		Listener: ln, Dial: l.net.Dialer(name), Peers: l.peers, Bootstrap: l.peers[name] != "",
		Join: l.peers[name] == "", Advertise: name,
		Meta:     map[string]string{"client": "http://" + name},
		LogStore: d.log, StableStore: d.log, Snapshots: d.snaps,
		Log: testLog(l.t, name),
	}
	LAN(&o)
	if l.tune != nil {
		l.tune(&o)
	}
	n, err := Open(o)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.run(name, n)
}

func (l *lab) run(name string, n *Node) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Node: n, cancel: cancel, done: make(chan error, 1)}
	l.live[name] = r
	go func() { r.done <- n.Run(ctx) }()
	return r
}

// crash ends a node so that nobody hears from it again, as kill -9 would.
func (l *lab) crash(name string) {
	l.net.Isolate(name)
	r := l.live[name]
	delete(l.live, name)
	r.cancel()
	<-r.done
	l.net.Rejoin(name)
}

func (l *lab) stop() {
	l.net.Heal()
	for name, r := range l.live {
		r.cancel()
		if err := <-r.done; err != nil {
			l.t.Errorf("node %s: %v", name, err)
		}
	}
}

// leader waits for a leader among the live nodes, except those named.
func (l *lab) leader(except ...string) *running {
	l.t.Helper()
	for range 3000 {
		for name, r := range l.live {
			if r.IsLeader() && !strings.Contains(strings.Join(except, " "), name) {
				return r
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	l.t.Fatal("no leader")
	return nil
}

func (l *lab) followers() []*running {
	lead := l.leader()
	var out []*running
	for _, r := range l.live {
		if r != lead {
			out = append(out, r)
		}
	}
	return out
}

// settle waits until all live nodes have the same state and compares hashes.
func (l *lab) settle() {
	l.t.Helper()
	lead := l.leader()
	until(l.t, "all nodes apply everything", func() bool {
		for _, r := range l.live {
			if r.State().Index != lead.State().Index {
				return false
			}
		}
		return true
	})
	for name, r := range l.live {
		if got, want := r.State().Hash(), lead.State().Hash(); got != want {
			l.t.Errorf("state of %s has hash %s, leader %s", name, got, want)
		}
	}
}

// until waits for a condition, generously.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 90*time.Second {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// put writes a key through n and repeats it until it is confirmed.
func put(t *testing.T, n *Node, key, value string) witness.Result {
	t.Helper()
	for range 60 {
		res, err := n.Propose(t.Context(), putCmd(key, value, 0))
		if err == nil {
			return res
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("put %s was never confirmed", key)
	return witness.Result{}
}

func putCmd(key, value string, lease int64) witness.Command {
	return witness.Txn{Req: kv.TxnRequest{Success: []kv.Op{{Put: &kv.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease}}}}}
}

// grant makes a lease and repeats until it is confirmed.
func grant(t *testing.T, n *Node, id, ttl int64) {
	t.Helper()
	until(t, fmt.Sprintf("lease %d is granted", id), func() bool {
		_, err := n.Propose(t.Context(), witness.LeaseGrant{ID: id, TTL: ttl})
		return err == nil || strings.Contains(err.Error(), "already exists")
	})
}

func testLog(t *testing.T, name string) *slog.Logger {
	if os.Getenv("QUORATE_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil)).With("node", name)
}

// stallStore is a disk in memory whose writes can be made to hang.
type stallStore struct {
	*raft.InmemStore
	gate chan struct{} // one token: the disk works
}

func newStallStore() *stallStore {
	s := &stallStore{InmemStore: raft.NewInmemStore(), gate: make(chan struct{}, 1)}
	s.gate <- struct{}{}
	return s
}

func (s *stallStore) stall() { <-s.gate }
func (s *stallStore) thaw()  { s.gate <- struct{}{} }
func (s *stallStore) pass() {
	<-s.gate
	s.gate <- struct{}{}
}

func (s *stallStore) StoreLog(l *raft.Log) error { s.pass(); return s.InmemStore.StoreLog(l) }
func (s *stallStore) StoreLogs(l []*raft.Log) error {
	s.pass()
	return s.InmemStore.StoreLogs(l)
}
func (s *stallStore) Set(k, v []byte) error { s.pass(); return s.InmemStore.Set(k, v) }
func (s *stallStore) SetUint64(k []byte, v uint64) error {
	s.pass()
	return s.InmemStore.SetUint64(k, v)
}

// counter reads a counter of the node by name and label value ("" = any).
func counter(t *testing.T, n *Node, name, label string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(n.metrics)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "quorate_node_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
