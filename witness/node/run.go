package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"quorate/witness/node/raftlog"
)

const (
	shutdownTime = 10 * time.Second // Raft may hang in a write; then we leave without it
	stallFactor  = 12               // disk stalls this many times longer than tolerated stop the node
)

// errDiskStalled ends Run when the disk does not come back.
var errDiskStalled = errors.New("the disk has not finished a write for a long time: this witness stops so that its supervisor or watchdog can act; replace the disk if it happens again")

// Run keeps the node going until ctx ends or it cannot go on. It owns all
// goroutines of the node and may be called once. It ends in this order:
//
//  1. hand leadership over, if there is another voter, so that nobody waits for a timeout;
//  2. end the own leadership: renewals and proposals are refused;
//  3. leave gossip;
//  4. cut the peer connections: a peer that hangs cannot hold up what follows;
//  5. stop Raft, and with it the peer port;
//  6. wait for the background work, and deliver the last events;
//  7. close the log.
func (n *Node) Run(ctx context.Context) error {
	if !n.ran.CompareAndSwap(false, true) {
		return errors.New("a node runs once: open a new one")
	}
	events := make(chan struct{})
	eventsDone := make(chan struct{})
	go func() {
		defer close(eventsDone)
		n.events.run(events)
	}()
	err := n.run(ctx)
	n.port.close()
	if !errors.Is(err, errDiskStalled) {
		n.background.wait()
	}
	close(events)
	<-eventsDone
	if errors.Is(err, errDiskStalled) {
		return err // closing the log would wait for the disk
	}
	if n.opts.Registerer != nil {
		n.opts.Registerer.Unregister(n.metrics)
	}
	return errors.Join(err, n.stores.close())
}

func (n *Node) run(parent context.Context) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	n.port.work.start(n.port.serve)
	if n.opts.TLS == nil && n.opts.Dial == nil {
		n.opts.Log.Warn("the peer port has no TLS: whoever can reach it can take part in decisions")
	}
	r, err := n.startRaft()
	if err != nil {
		return err
	}
	leadDone, lead := background(parentless(), func(ctx context.Context) { n.followLeadership(ctx, r) })
	helloDone, _ := background(ctx, n.greetPeers)
	followDone, _ := background(ctx, func(ctx context.Context) { n.followLeader(ctx, r) })
	wakeDone, _ := background(ctx, func(ctx context.Context) { n.watchLeader(ctx, r) })
	currentDone, _ := background(ctx, n.followCurrent)
	gossip, err := n.startGossip()
	if err == nil {
		err = n.watchDisk(ctx)
		if err == nil {
			n.handOver(r)
		}
	}
	cancel()
	lead()
	<-leadDone
	<-helloDone
	<-followDone
	<-wakeDone
	<-currentDone
	gossip.stop()
	n.port.isolate(true)
	return errors.Join(err, n.stopRaft(r))
}

// parentless is a context for work that outlives the caller's on purpose: the
// leadership ends after its hand-over.
func parentless() context.Context { return context.Background() }

func background(parent context.Context, f func(context.Context)) (done chan struct{}, cancel func()) {
	ctx, cancel := context.WithCancel(parent)
	done = make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return done, cancel
}

func (n *Node) startRaft() (*raft.Raft, error) {
	logger := newHCLogger(n.opts.Log)
	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(n.opts.Name)
	cfg.HeartbeatTimeout = n.opts.HeartbeatTimeout
	cfg.ElectionTimeout = n.opts.ElectionTimeout
	cfg.LeaderLeaseTimeout = n.opts.LeaderLeaseTimeout
	cfg.CommitTimeout = min(cfg.CommitTimeout, n.opts.HeartbeatTimeout/6)
	cfg.SnapshotThreshold = n.opts.SnapshotThreshold
	cfg.TrailingLogs = n.opts.TrailingLogs
	cfg.ShutdownOnRemove = false
	cfg.NoLegacyTelemetry = true
	cfg.Logger = logger
	// No pipelining: in v1.8.0 a request that is handed over while the decoder of
	// answers ends waits for ever, and its follower is never replicated to again.
	trans := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: raftLayer{n.port}, MaxPool: 3, MaxRPCsInFlight: 1, Timeout: max(5*n.opts.ElectionTimeout, 2*time.Second), Logger: logger,
	})
	fail := func(err error) (*raft.Raft, error) {
		return nil, errors.Join(err, trans.Close())
	}
	old, err := raft.HasExistingState(n.cache, n.stores.stable, n.stores.snaps)
	if err != nil {
		return fail(fmt.Errorf("cannot read the log: %w", err))
	}
	switch {
	case old:
	case n.opts.Bootstrap:
		c := raft.Configuration{Servers: initialServers(n.opts.Peers)}
		if err := raft.BootstrapCluster(cfg, n.cache, n.stores.stable, n.stores.snaps, trans, c); err != nil {
			return fail(fmt.Errorf("cannot write the first entry of the log: %w", err))
		}
	case !n.opts.Join:
		return fail(fmt.Errorf("data directory %s is empty: start the first witnesses of a cluster with bootstrap and a new or replaced one with join", n.opts.DataDir))
	}
	r, err := raft.NewRaft(cfg, n.machine, n.cache, n.stores.stable, n.stores.snaps, trans)
	if err != nil {
		return fail(fmt.Errorf("cannot start from what is on disk; if it stays so, wipe the data directory and let this witness join under a new name: %w", err))
	}
	n.raft.Store(r)
	return r, nil
}

// stopRaft waits for Raft, unless Raft waits for the disk.
func (n *Node) stopRaft(r *raft.Raft) error {
	done := make(chan error, 1)
	go func() { done <- r.Shutdown().Error() }()
	select {
	case err := <-done:
		return err
	case <-time.After(shutdownTime):
		return errDiskStalled
	}
}

// handOver passes leadership on, if it can be done quickly.
func (n *Node) handOver(r *raft.Raft) {
	if r.State() != raft.Leader || len(votersOf(r)) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*n.opts.ElectionTimeout)
	defer cancel()
	if err := n.await(ctx, r.LeadershipTransfer()); err != nil {
		n.opts.Log.Info("leadership was not handed over; the others elect after a timeout", "err", err)
	}
}

// slowEvery is how often slow writes are worth a line in the log at most.
const slowEvery = 10 * time.Second

// watchDisk returns when ctx ends, with nil, or when the disk is lost. While a
// write takes too long the node keeps off its peers: hashicorp/raft would go on
// sending heartbeats and hold the leadership that it cannot exercise (specs:
// its issues 503, 612, 614, 666). The others elect; this node follows them as
// soon as the write ends.
func (n *Node) watchDisk(ctx context.Context) error {
	limit := n.opts.DiskTimeout
	away := false
	var slow time.Duration // slowest write that was not reported yet
	var reported time.Time
	for pause(ctx, max(limit/10, time.Millisecond)) {
		slow = max(slow, n.stores.log.watch.slowest())
		if slow >= n.opts.ElectionTimeout && time.Since(reported) >= slowEvery {
			n.opts.Log.Warn("the disk is slow: a log write took longer than an election, and every request waited for it", "took", slow)
			slow, reported = 0, time.Now()
		}
		age := n.stores.log.watch.age()
		switch {
		case n.stores.log.stuck.Load():
			return raftlog.ErrStuck
		case age > stallFactor*limit:
			return errDiskStalled
		case age > limit && !away:
			away = true
			n.metrics.stalls.Inc()
			n.port.isolate(true)
			n.opts.Log.Error("a log write does not end; this witness keeps off its peers until it does", "age", age)
		case age <= limit && away:
			away = false
			n.port.isolate(false)
			n.opts.Log.Info("the disk answers again; this witness rejoins its peers")
		}
	}
	return nil
}
