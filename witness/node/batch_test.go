package node

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// countingStore counts the writes of the log.
type countingStore struct {
	raft.LogStore
	writes atomic.Int64
}

func (s *countingStore) StoreLogs(l []*raft.Log) error {
	s.writes.Add(1)
	return s.LogStore.StoreLogs(l)
}

// TestProposalsShareAWrite holds back the leader's disk while many clients
// propose: what waits together is written together, or every put would pay for
// all those before it.
func TestProposalsShareAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters := map[string]*countingStore{}
		l := newLab(t, func(o *Options) {
			counters[o.Name] = &countingStore{LogStore: o.LogStore}
			o.LogStore = counters[o.Name]
		}, "a", "b", "c")
		lead := l.leader()
		name := lead.opts.Name
		l.disks[name].log.stall()
		const clients = 40
		before := counters[name].writes.Load()
		var work sync.WaitGroup
		for i := range clients {
			work.Go(func() {
				if _, err := lead.Propose(t.Context(), putCmd("/k", string(rune('a'+i)), 0)); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(100 * time.Millisecond) // in the bubble: all of them wait
		l.disks[name].log.thaw()
		work.Wait()
		if n := counters[name].writes.Load() - before; n > clients/4 {
			t.Errorf("%d proposals that waited together took %d writes of the log", clients, n)
		}
	})
}
