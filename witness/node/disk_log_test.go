package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"quorate/witness/node/raftlog"
)

// A follower that was away for longer than the log reaches back gets a snapshot,
// and its log goes on behind it; then it restarts from both.
func TestSnapshotInstallOnDisk(t *testing.T) {
	r := newReal(t, func(o *Options) { o.SnapshotThreshold, o.TrailingLogs = 50, 10 }, "a", "b", "c")
	name := r.follower().opts.Name
	for i := range 20 {
		put(t, r.leader().Node, fmt.Sprintf("/before/%d", i), "v")
	}
	r.settle()
	r.stop(name)
	for i := range 200 {
		put(t, r.leader().Node, fmt.Sprintf("/away/%d", i), "v")
	}
	behind := func() bool {
		first, err := r.leader().stores.log.FirstIndex()
		return err == nil && first > 100
	}
	until(t, "the leader has compacted its log", func() bool {
		if behind() {
			return true
		}
		if err := r.leader().rt().Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			t.Fatal(err)
		}
		return behind()
	})
	r.start(name)
	r.settle()
	for i := range 20 {
		put(t, r.leader().Node, fmt.Sprintf("/after/%d", i), "v")
	}
	r.settle()
	n := r.live[name]
	first, err := n.stores.log.FirstIndex()
	if err != nil || first < 50 {
		t.Errorf("the log of the late follower begins with %d (%v): it got no snapshot", first, err)
	}
	r.stop(name)
	n = r.start(name)
	r.settle()
	if n.State().KV.Len() != 240 {
		t.Errorf("%d keys after the restart", n.State().KV.Len())
	}
}

// A leader that was cut off has entries that nobody else has. They are removed
// from its log when it returns, and it restarts from what is left.
func TestConflictingSuffixOnDisk(t *testing.T) {
	r := newReal(t, nil, "a", "b", "c")
	for round := range 3 {
		old := r.leader()
		name := old.opts.Name
		put(t, old.Node, fmt.Sprintf("/common/%d", round), "v")
		before, err := old.stores.log.LastIndex()
		if err != nil {
			t.Fatal(err)
		}
		old.port.isolate(true)
		for i := range 5 {
			go func() { _, _ = old.Propose(t.Context(), putCmd(fmt.Sprintf("/lost/%d/%d", round, i), "v", 0)) }()
		}
		until(t, "the one that is cut off has entries of its own", func() bool {
			last, err := old.stores.log.LastIndex()
			return err == nil && last >= before+1
		})
		var next *running
		until(t, "another leader", func() bool {
			for other, n := range r.live {
				if other != name && n.IsLeader() && n.VerifyLeader(t.Context()) == nil {
					next = n
				}
			}
			return next != nil
		})
		for i := range 10 {
			put(t, next.Node, fmt.Sprintf("/kept/%d/%d", round, i), "v")
		}
		old.port.isolate(false)
		r.settle()
		r.stop(name)
		r.start(name)
		r.settle()
	}
	for name, n := range r.live {
		if n.State().KV.Get("/lost/0/0") != nil {
			t.Errorf("%s holds an entry that no majority had", name)
		}
		if n.State().KV.Get("/kept/2/9") == nil {
			t.Errorf("%s lacks an entry that a majority had", name)
		}
	}
}

// Witnesses of an earlier version kept log and vote in one raft-boltdb. They go
// on from there, one after the other.
func TestDirectoryOfAnEarlierVersion(t *testing.T) {
	olds := map[string]*raftboltdb.BoltStore{}
	r := newReal(t, func(o *Options) {
		if olds[o.Name] == nil {
			if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
				t.Fatal(err)
			}
			b, err := raftboltdb.NewBoltStore(filepath.Join(o.DataDir, "raft.db"))
			if err != nil {
				t.Fatal(err)
			}
			olds[o.Name] = b
			// As the earlier version: the identity, then this one file.
			if _, err := create(filepath.Join(o.DataDir, identityFile), &Options{DataDir: t.TempDir(), Name: o.Name, Cluster: o.Cluster}); err != nil {
				t.Fatal(err)
			}
			o.LogStore, o.StableStore = b, b
		}
	}, "a", "b", "c")
	for i := range 30 {
		put(t, r.leader().Node, fmt.Sprintf("/k/%d", i), strings.Repeat("v", 1000))
	}
	cluster := r.leader().State().ClusterID
	for name, b := range olds {
		r.stop(name)
		term, err := b.GetUint64([]byte("CurrentTerm"))
		if err != nil || term == 0 {
			t.Fatalf("term %d, %v", term, err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		n := r.start(name)
		if _, ok := n.stores.log.LogStore.(*raftlog.Store); !ok {
			t.Fatalf("the log of %s is a %T", name, n.stores.log.LogStore)
		}
		if now, err := n.stores.stable.GetUint64([]byte("CurrentTerm")); err != nil || now < term {
			t.Errorf("%s is in term %d (%v) and was in %d", name, now, err, term)
		}
		put(t, r.leader().Node, "/moved/"+name, "v")
		r.settle()
	}
	if s := r.leader().State(); s.KV.Len() != 33 || s.ClusterID != cluster {
		t.Errorf("%d keys, cluster %x (was %x)", s.KV.Len(), s.ClusterID, cluster)
	}
}
