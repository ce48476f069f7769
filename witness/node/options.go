package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// DialFunc opens a connection to a peer address.
type DialFunc func(ctx context.Context, addr string) (net.Conn, error)

// Options describes one node. Zero fields get the defaults named below.
type Options struct {
	Name    string // identity of this witness for its whole life; never reused after its disk was lost
	Cluster string // name of the witness cluster; nodes of differently named clusters refuse each other
	DataDir string // directory of the log, the snapshots and the identity file

	Listen    string       // peer port, host:port; ignored if Listener is set
	Advertise string       // address the peers dial; default: Peers[Name], else the address of the listener
	Listener  net.Listener // optional ready listener of the peer port
	Dial      DialFunc     // optional; default TCP

	// Peers are the initial voters, name → address, identical on all of them.
	// With Bootstrap an empty data directory starts as one of these voters.
	Peers     map[string]string
	Bootstrap bool
	// Join lets an empty data directory wait until [Node.AddMember] on a member
	// takes it in.
	Join bool

	// TLS turns on mutual TLS on the peer port. Every certificate must carry the
	// node's name as a DNS subject alternative name. Nil: peers are believed.
	TLS *tls.Config

	HeartbeatTimeout   time.Duration // default 1 s; [LAN] uses 300 ms
	ElectionTimeout    time.Duration // default HeartbeatTimeout
	LeaderLeaseTimeout time.Duration // default HeartbeatTimeout / 2
	DiskTimeout        time.Duration // a log write older than this cuts the node off its peers; default 5 s

	Meta map[string]string // what the other members should know about this one, such as client URLs

	GossipListen string   // optional memberlist address, host:port; a hint only
	GossipSeeds  []string // gossip addresses of other members
	GossipKey    []byte   // optional AES key of 16, 24 or 32 bytes

	Log        *slog.Logger          // default: discard
	Registerer prometheus.Registerer // optional

	// For tests; the default of all three is a file in DataDir.
	LogStore    raft.LogStore
	StableStore raft.StableStore
	Snapshots   raft.SnapshotStore

	SnapshotThreshold uint64 // log entries between snapshots; default 8192
	TrailingLogs      uint64 // log entries kept behind a snapshot; default 10240
}

// LAN sets the timeouts for witnesses within a few milliseconds of each other:
// a dead leader is replaced, and writes go on, after about a second.
func LAN(o *Options) { o.HeartbeatTimeout = 300 * time.Millisecond }

const (
	defaultHeartbeat   = time.Second
	defaultDiskTimeout = 5 * time.Second
)

// complete fills in the defaults and reports every fault at once.
func (o *Options) complete() error {
	if o.HeartbeatTimeout == 0 {
		o.HeartbeatTimeout = defaultHeartbeat
	}
	if o.ElectionTimeout == 0 {
		o.ElectionTimeout = o.HeartbeatTimeout
	}
	if o.LeaderLeaseTimeout == 0 {
		o.LeaderLeaseTimeout = o.HeartbeatTimeout / 2
	}
	if o.DiskTimeout == 0 {
		o.DiskTimeout = defaultDiskTimeout
	}
	if o.SnapshotThreshold == 0 {
		o.SnapshotThreshold = 8192
	}
	if o.TrailingLogs == 0 {
		o.TrailingLogs = 10240
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Peers, o.Meta = maps.Clone(o.Peers), maps.Clone(o.Meta)
	return o.validate()
}

func (o *Options) validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if o.Name == "" || len(o.Name) > 63 {
		fault("node name %q: give every witness a name of 1 to 63 bytes", o.Name)
	}
	if o.Listen == "" && o.Listener == nil {
		fault("no peer address: set the address on which the other witnesses reach this one")
	}
	if o.DataDir == "" && (o.LogStore == nil || o.StableStore == nil || o.Snapshots == nil) {
		fault("no data directory: the log must survive a restart")
	}
	if o.Bootstrap && o.Join {
		fault("both bootstrap and join are set: bootstrap the first witnesses of a cluster, join every later one")
	}
	if o.Bootstrap && o.Peers[o.Name] == "" {
		fault("this witness, %q, is not among the initial peers: list all of them, itself included, the same on each", o.Name)
	}
	if o.HeartbeatTimeout < 50*time.Millisecond || o.ElectionTimeout < o.HeartbeatTimeout {
		fault("timeouts heartbeat=%s election=%s: the heartbeat timeout must be at least 50ms and no longer than the election timeout", o.HeartbeatTimeout, o.ElectionTimeout)
	}
	if o.LeaderLeaseTimeout > o.HeartbeatTimeout {
		fault("leader lease timeout %s is longer than the heartbeat timeout %s", o.LeaderLeaseTimeout, o.HeartbeatTimeout)
	}
	return errors.Join(faults...)
}
