package qdevice

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"quorate/witness/qnetd/client"
	"quorate/witness/qnetd/wire"
)

// Device is one node's quorum device. Its fields are set before [Device.Run] and
// not changed after.
type Device struct {
	Cluster    string
	NodeID     uint32
	Nodes      []uint32 // configured
	Algorithm  wire.Algorithm
	TieBreaker wire.TieBreaker
	KeepActive bool
	Heartbeat  time.Duration
	Servers    []string    // host:port; the next one is tried only if one refuses
	TLS        *tls.Config // nil: none

	// Dial connects; nil is TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Pause is the time before the next attempt; nil is corosync's, a random
	// time up to 4.5 s.
	Pause func() time.Duration
	// OnCast is told of each change of what the node casts, from Run's goroutine.
	OnCast func(Cast)

	mu      sync.Mutex
	view    view
	changed chan struct{} // closed and replaced at a change of view

	cast     Cast
	lastRing wire.RingID // the last one sent
	sessions int
}

// Cast is what the device tells corosync.
type Cast struct {
	At   time.Time
	Vote wire.Vote   // ACK, NACK, or 0: nothing is cast
	Ring wire.RingID // of the vote
	Why  string
}

// view is what corosync tells the device.
type view struct {
	ring       wire.RingID
	members    []uint32
	quorate    bool
	heuristics wire.Heuristics
}

// New makes a device with the figures of Debian's defaults.
func New(cluster string, node uint32, nodes []uint32, servers ...string) *Device {
	return &Device{
		Cluster: cluster, NodeID: node, Nodes: nodes, Servers: servers,
		Algorithm: wire.AlgorithmFFSplit, TieBreaker: wire.TieBreaker{Mode: wire.TieLowest}, KeepActive: true,
		Heartbeat: 8 * time.Second,
		changed:   make(chan struct{}),
		view:      view{ring: wire.RingID{NodeID: 1, Seq: 1}, members: nodes, quorate: true},
	}
}

// Member is a new membership: corosync on this node now sees these nodes.
func (d *Device) Member(ring wire.RingID, members ...uint32) {
	d.change(func(v *view) { v.ring, v.members = ring, members })
}

// Heuristics is a new result of the regular heuristics.
func (d *Device) Heuristics(h wire.Heuristics) {
	d.change(func(v *view) { v.heuristics = h })
}

func (d *Device) change(f func(*view)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.view)
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Device) look() (view, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.view, d.changed
}

// Cast is what is cast at the moment.
func (d *Device) Cast() Cast {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cast
}

// Sessions is how many sessions the device has had.
func (d *Device) Sessions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions
}

func (d *Device) setCast(vote wire.Vote, ring wire.RingID, why string) {
	d.mu.Lock()
	same := d.cast.Vote == vote && d.cast.Ring == ring
	if !same {
		d.cast = Cast{At: time.Now(), Vote: vote, Ring: ring, Why: why}
	}
	cast := d.cast
	d.mu.Unlock()
	if !same && d.OnCast != nil {
		d.OnCast(cast)
	}
}

// Run connects, votes and connects again, until the context ends (nil) or the
// server says something after which the real device exits.
func (d *Device) Run(ctx context.Context) error {
	seq := uint32(1)
	for {
		next, err := d.once(ctx, seq)
		seq = next
		if ctx.Err() != nil {
			return nil
		}
		d.disconnected(err)
		if final(d.Algorithm, err) {
			return err
		}
		pause := time.Duration(rand.Int64N(int64(4500 * time.Millisecond)))
		if d.Pause != nil {
			pause = d.Pause()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// disconnected is what the algorithms do without a server. lms is taken to be
// without wait_for_all.
func (d *Device) disconnected(err error) {
	if d.Algorithm != wire.Algorithm2NodeLMS {
		d.setCast(wire.NACK, wire.RingID{}, "disconnected: "+err.Error())
	}
}

// final tells whether the real device exits.
func final(algorithm wire.Algorithm, err error) bool {
	var refused *client.RefusedError
	if algorithm == wire.AlgorithmLMS || !errors.As(err, &refused) {
		return false
	}
	if refused.During != wire.TypeInit {
		return true
	}
	switch refused.Code {
	case wire.TieBreakerDiffersFromOtherNodes, wire.AlgorithmDiffersFromOtherNodes, wire.DuplicateNodeID:
		return false
	}
	return true
}

// connect tries the servers in turn, as long as they refuse.
func (d *Device) connect(ctx context.Context) (net.Conn, error) {
	dial := d.Dial
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	err := errors.New("no server is configured")
	for _, address := range d.Servers {
		var nc net.Conn
		if nc, err = dial(ctx, address); err == nil {
			return nc, nil
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	return nil, err
}
