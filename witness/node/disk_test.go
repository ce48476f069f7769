package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quorate/witness"
)

// real is a cluster over loopback TCP with its logs on disk.
type real struct {
	t     *testing.T
	dir   string
	peers map[string]string
	lns   map[string]net.Listener
	live  map[string]*running
	tune  func(*Options)
}

func newReal(t *testing.T, tune func(*Options), names ...string) *real {
	r := &real{t: t, dir: t.TempDir(), peers: map[string]string{}, lns: map[string]net.Listener{}, live: map[string]*running{}, tune: tune}
	for _, n := range names {
		r.listen(n)
		r.peers[n] = r.lns[n].Addr().String()
	}
	for _, n := range names {
		r.start(n)
	}
	t.Cleanup(func() {
		for n := range r.live {
			r.stop(n)
		}
	})
	return r
}

func (r *real) listen(name string) {
	addr := r.peers[name]
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.lns[name] = ln
}

func (r *real) options(name string) Options {
	o := Options{
		Name: name, Cluster: "real", DataDir: filepath.Join(r.dir, name), Listener: r.lns[name],
		Peers: r.peers, Bootstrap: r.peers[name] != "", Join: r.peers[name] == "",
		Log: testLog(r.t, name),
	}
	LAN(&o)
	if r.tune != nil {
		r.tune(&o)
	}
	return o
}

func (r *real) start(name string) *running {
	r.t.Helper()
	if r.lns[name] == nil {
		r.listen(name)
	}
	n, err := Open(r.options(name))
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &running{Node: n, cancel: cancel, done: make(chan error, 1)}
	go func() { run.done <- n.Run(ctx) }()
	r.live[name] = run
	return run
}

func (r *real) stop(name string) {
	r.t.Helper()
	run := r.live[name]
	delete(r.live, name)
	delete(r.lns, name)
	run.cancel()
	if err := <-run.done; err != nil {
		r.t.Errorf("node %s: %v", name, err)
	}
}

func (r *real) leader() *running {
	r.t.Helper()
	var lead *running
	until(r.t, "there is a leader", func() bool {
		for _, n := range r.live {
			if n.IsLeader() && n.VerifyLeader(r.t.Context()) == nil {
				lead = n
				return true
			}
		}
		return false
	})
	return lead
}

func (r *real) follower() *running {
	lead := r.leader()
	for _, n := range r.live {
		if n != lead {
			return n
		}
	}
	return nil
}

func (r *real) settle() {
	r.t.Helper()
	lead := r.leader()
	until(r.t, "all nodes hold the same state", func() bool {
		for _, n := range r.live {
			if n.State().Index != lead.State().Index || n.State().Hash() != lead.State().Hash() {
				return false
			}
		}
		return true
	})
}

func TestRestartOnDisk(t *testing.T) {
	r := newReal(t, nil, "a", "b", "c")
	f := r.follower()
	for i := range 20 {
		put(t, f.Node, fmt.Sprintf("/k/%d", i), "v")
	}
	name := f.opts.Name
	cluster := f.State().ClusterID
	r.stop(name)
	put(t, r.leader().Node, "/while-away", "v")
	f = r.start(name)
	put(t, f.Node, "/back", "v")
	r.settle()
	if f.State().KV.Len() != 22 || f.State().ClusterID != cluster {
		t.Errorf("after the restart: %d keys, cluster %x (was %x)", f.State().KV.Len(), f.State().ClusterID, cluster)
	}
	// The whole cluster stops and comes back.
	for n := range map[string]bool{"a": true, "b": true, "c": true} {
		r.stop(n)
	}
	for _, n := range []string{"a", "b", "c"} {
		r.start(n)
	}
	if err := r.follower().Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.settle()
	if s := r.leader().State(); s.KV.Len() != 22 || s.ClusterID != cluster {
		t.Errorf("after all restarted: %d keys, cluster %x", s.KV.Len(), s.ClusterID)
	}
}

func TestWipedDiskMustJoinUnderANewName(t *testing.T) {
	r := newReal(t, nil, "a", "b", "c")
	f := r.follower().opts.Name
	put(t, r.leader().Node, "/k", "v")
	// Everybody has met everybody, so the disks are known.
	until(t, "the members have met", func() bool {
		for _, n := range r.live {
			for _, m := range n.Members() {
				if m.Heard.IsZero() {
					return false
				}
			}
		}
		return true
	})
	r.stop(f)
	if err := os.RemoveAll(filepath.Join(r.dir, f)); err != nil {
		t.Fatal(err)
	}
	w := r.start(f) // same name, empty disk
	lead := r.leader()
	conn, err := w.port.dial(t.Context(), kindRPC, lead.opts.Name, r.peers[lead.opts.Name])
	if err == nil || !strings.Contains(err.Error(), "without its log") {
		t.Errorf("a witness with a wiped disk got through: %v, %v", conn, err)
	}
	if _, err := w.Propose(t.Context(), witness.Touch{}); !errors.Is(err, witness.ErrNoQuorum) {
		t.Errorf("a witness with a wiped disk proposed: %v", err)
	}
	if w.State().Index != 0 {
		t.Errorf("a witness with a wiped disk was sent entry %d", w.State().Index)
	}
	r.stop(f)
	if err := r.leader().RemoveMember(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	addr := r.peers[f]
	delete(r.peers, f)
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r.lns["d"] = ln
	d := r.start("d")
	until(t, "the new member is taken in", func() bool {
		err := r.leader().AddMember(t.Context(), "d", addr)
		return err == nil || strings.Contains(err.Error(), "a voter already")
	})
	put(t, d.Node, "/joined", "v")
	r.settle()
	if d.State().KV.Len() != 2 {
		t.Errorf("%d keys on the new member", d.State().KV.Len())
	}
}

// single makes a data directory of witness "a" of cluster "real" with some log.
func single(t *testing.T) Options {
	t.Helper()
	r := newReal(t, nil, "a")
	for i := range 50 {
		put(t, r.live["a"].Node, fmt.Sprintf("/k/%d", i), strings.Repeat("v", 500))
	}
	o := r.options("a")
	r.stop("a")
	o.Listener, o.Listen = nil, "127.0.0.1:0"
	return o
}

func TestOpenRefuses(t *testing.T) {
	good := single(t)
	stable := filepath.Join("raft", "stable.db")
	segments, err := fs.Glob(os.DirFS(good.DataDir), "raft/*.wal")
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %v: %v", segments, err)
	}
	// Each case gets its own copy: what bbolt gives up in a panic stays locked.
	damage := func(file string, f func([]byte) []byte) func(*Options) {
		return func(o *Options) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(good.DataDir)); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), f(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			o.DataDir = dir
		}
	}
	garbage := func([]byte) []byte { return []byte(strings.Repeat("garbage ", 4096)) }
	cut := func(b []byte) []byte { return b[:12000] }
	overwritten := func(b []byte) []byte {
		for i := 16384; i < len(b); i++ {
			b[i] ^= 0x5a
		}
		return b
	}
	for _, tc := range []struct {
		name string
		do   func(*Options)
		want string
	}{
		{"other name", func(o *Options) { o.Name = "b"; o.Peers = map[string]string{"b": "x:1"} }, `belongs to witness "a", this one is "b"`},
		{"other cluster", func(o *Options) { o.Cluster = "other" }, `belongs to the witness cluster "real"`},
		{"entries: garbage", damage(segments[0], garbage), "is damaged and cannot be used: remove this witness"},
		{"entries: cut short", damage(segments[0], cut), "is damaged and cannot be used"},
		{"entries: zeroed", damage(segments[0], func(b []byte) []byte { clear(b[8192:]); return b }), "is damaged and cannot be used"},
		{"entries: overwritten", damage(segments[0], overwritten), "is damaged and cannot be used"},
		{"list of segments: garbage", damage("raft/wal-meta.db", garbage), "is damaged and cannot be used"},
		{"list of segments: cut short", damage("raft/wal-meta.db", cut), "is damaged and cannot be used"},
		{"vote: garbage", damage(stable, garbage), "is damaged and cannot be used"},
		{"vote: cut short", damage(stable, cut), "is damaged and cannot be used"},
		{"vote: overwritten", damage(stable, overwritten), "is damaged and cannot be used"},
		{"a file in the way", func(o *Options) { o.DataDir = filepath.Join(o.DataDir, stable) }, "cannot create the data directory"},
		{"no disk to write to", func(o *Options) { o.DataDir = "/proc/self" }, "takes no writes; free space"},
		{"not among the peers", func(o *Options) { o.Peers = nil }, "is not among the initial peers"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := good
			tc.do(&o)
			n, err := Open(o)
			if err == nil {
				_ = n.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q does not say %q", err, tc.want)
			}
		})
	}
	t.Run("in use", func(t *testing.T) {
		n, err := Open(good)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		o := good
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "in use by another process") {
			t.Errorf("second open: %v", err)
		}
	})
	t.Run("full disk", func(t *testing.T) {
		o := good
		o.DataDir = fullDisk(t)
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "free space") {
			t.Errorf("full disk: %v", err)
		}
	})
}

func TestEmptyDirectoryNeedsBootstrapOrJoin(t *testing.T) {
	o := Options{Name: "a", DataDir: t.TempDir(), Listen: "127.0.0.1:0"}
	n, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "start the first witnesses of a cluster with bootstrap") {
		t.Errorf("Run: %v", err)
	}
}

// TestLogGoneIdentityKept: a witness whose log is gone has lost the memory of
// its votes, but would show its peers the old disk number.
func TestLogGoneIdentityKept(t *testing.T) {
	dir := t.TempDir()
	opts := Options{
		Name: "w1", Cluster: "c", DataDir: dir, Listen: "127.0.0.1:0", Advertise: "127.0.0.1:7", Bootstrap: true,
		Peers: map[string]string{"w1": "127.0.0.1:7", "w2": "127.0.0.1:8", "w3": "127.0.0.1:9"},
	}
	n, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "raft")); err != nil {
		t.Fatal(err)
	}
	if n, err = Open(opts); err == nil {
		_ = n.Close()
		t.Fatal("it opens with an empty log and the old disk number: its peers cannot tell")
	}
	if !strings.Contains(err.Error(), "join under a new name") {
		t.Errorf("the error does not say what to do: %v", err)
	}
}
