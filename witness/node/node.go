package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"quorate/witness"
)

// Node is one witness of a cluster. Its methods may be called from any
// goroutine; before and after [Node.Run] they answer as without a leader.
type Node struct {
	opts     Options
	id       identity
	stores   *stores
	cache    *raft.LogCache
	port     *port
	links    *links
	book     *peerBook
	handlers handlers
	machine  *machine
	events   *eventQueue
	metrics  *metrics
	verifier verifier
	slot     chan struct{} // held while an entry is stamped and queued

	raft       atomic.Pointer[raft.Raft]
	lead       atomic.Pointer[leadership]
	followed   atomic.Pointer[following]
	verified   atomic.Pointer[time.Time] // start of the last successful round
	current    atomic.Pointer[time.Time] // when the state was last known to be the present one
	background tasks
	ran        atomic.Bool
}

// maxQueued bounds the entries that wait to be taken into the log. Raft writes
// those that wait together with one write, so there must be room for more than
// one. (Its BatchApplyCh would do the same, but a shutdown leaves what is in
// that buffer without an answer.) Stamps of entries that wait together may be
// out of order by their wait: Apply never lets the clock run back.
const maxQueued = 128

// Open checks the options, takes the data directory and the peer port, and
// starts nothing. It refuses a directory of another witness or cluster, a
// damaged log and a disk that takes no writes, and says what to do about it.
func Open(o Options) (*Node, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	id, err := claim(&o)
	if err != nil {
		return nil, err
	}
	book, err := openPeerBook(o.DataDir)
	if err != nil {
		return nil, err
	}
	st, err := openStores(&o)
	if err != nil {
		return nil, err
	}
	ln := o.Listener
	if ln == nil {
		if ln, err = net.Listen("tcp", o.Listen); err != nil {
			return nil, errors.Join(fmt.Errorf("cannot open the peer port: %w", err), st.close())
		}
	}
	cache, err := raft.NewLogCache(512, st.log)
	if err != nil {
		return nil, errors.Join(err, st.close(), ln.Close())
	}
	n := &Node{opts: o, id: id, stores: st, cache: cache, book: book, machine: newMachine(), slot: make(chan struct{}, maxQueued)}
	n.followed.Store(newFollowing())
	n.handlers.m = n.ownHandlers()
	n.port = newPort(ln, &o)
	n.port.self = n.greeting
	n.port.meet = book.meet
	n.port.named = n.nameAt
	n.port.rpc = n.serveCalls
	n.links = &links{port: n.port, addr: n.addressOf, tasks: &n.background, peers: map[string]*peerLink{}}
	n.metrics = newMetrics(n)
	n.events = newEventQueue(n.metrics.dropped)
	n.machine.emit = n.events.put
	n.machine.observe = func(d time.Duration) { n.metrics.apply.Observe(d.Seconds()) }
	if o.Registerer != nil {
		if err := o.Registerer.Register(n.metrics); err != nil {
			return nil, errors.Join(fmt.Errorf("cannot register metrics: %w", err), n.Close())
		}
	}
	return n, nil
}

// Close releases what Open took, for a node that never ran. Run closes by itself.
func (n *Node) Close() error {
	if !n.ran.CompareAndSwap(false, true) {
		return nil
	}
	n.port.close()
	return n.stores.close()
}

func (n *Node) greeting() greeting {
	return greeting{
		Version: greetingVersion, Cluster: n.opts.Cluster, ClusterID: n.State().ClusterID,
		From: n.opts.Name, Disk: n.id.Disk,
	}
}

// rt returns the running raft, or nil.
func (n *Node) rt() *raft.Raft { return n.raft.Load() }

// State returns the state after the last applied entry. It is immutable.
func (n *Node) State() *witness.State { return n.machine.cur.Load().state }

// Changed returns a channel that is closed when a state newer than the present
// one is published. Take the channel before the state, or a change between the
// two is missed.
func (n *Node) Changed() <-chan struct{} { return n.machine.cur.Load().changed }

// waitApplied waits until the entry with this index is part of the state.
func (n *Node) waitApplied(ctx context.Context, index uint64) error {
	for {
		p := n.machine.cur.Load()
		if p.state.Index >= index {
			return nil
		}
		select {
		case <-p.changed:
		case <-ctx.Done():
			return asNoQuorum(ctx.Err(), "this witness has not caught up to entry %d in time", index)
		}
	}
}

// OnEvents sets the function that gets the events of every applied entry, in
// order, from one goroutine. Set it before Run. After a restart the entries
// since the last snapshot are applied, and reported, again: their index tells.
// A function that is too slow loses the oldest events; they are counted.
func (n *Node) OnEvents(f func(index uint64, s *witness.State, evs []witness.Event)) {
	n.events.handle = f
}

// asNoQuorum makes err a no-quorum error with a message, unless it already is
// an error for the edge.
func asNoQuorum(err error, format string, args ...any) error {
	var e *witness.Error
	if errors.As(err, &e) {
		return e
	}
	return &witness.Error{Code: witness.CodeNoQuorum, Msg: fmt.Sprintf(format, args...)}
}
