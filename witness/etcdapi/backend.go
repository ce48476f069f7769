package etcdapi

import (
	"context"
	"errors"

	"quorate/witness/kv"
)

// Backend is the replicated state behind the API. All methods are safe for
// concurrent use; those that take a context return soon after it ends.
//
// Beside the errors named below, methods return the errors of package kv for what
// the state machine refused, and [ErrNoLeader] if no leader could be asked or if it
// could not prove that it still leads. An operation that failed in any other way
// may or may not have happened: it is reported to the client and never repeated.
type Backend interface {
	// Store returns the newest state applied on this node. It never goes back.
	Store() *kv.Store
	// Changed returns a channel that is closed when the next state is applied.
	// Fetch it before Store, or a change in between goes unnoticed.
	Changed() <-chan struct{}
	// Barrier returns when Store is at least as new as any write that was
	// acknowledged anywhere before the call: the base of linearizable reads.
	Barrier(ctx context.Context) error

	// Txn runs a transaction on the replicated state and returns after it is applied
	// on this node. The request is valid within kv.DefaultLimits.
	// Errors: those of kv.Store.Txn, ErrGuarded.
	Txn(ctx context.Context, t kv.TxnRequest) (kv.TxnResult, error)
	// Compact forgets history, see kv.Store.Compact.
	Compact(ctx context.Context, rev int64) error

	// Grant creates a lease and returns its id and its TTL in seconds, which may be
	// longer than asked for. Id 0 lets the Backend choose one.
	// Errors: kv.ErrLeaseExists, kv.ErrLeaseTTLTooLarge.
	Grant(ctx context.Context, id, ttl int64) (grantedID, grantedTTL int64, err error)
	// Revoke ends a lease and deletes its keys. Errors: kv.ErrLeaseNotFound, ErrGuarded.
	Revoke(ctx context.Context, id int64) error
	// KeepAlive renews a lease and returns its TTL in seconds, 0 if it is gone or
	// dead. The leader must have verified, after the call began, that it still leads.
	KeepAlive(ctx context.Context, id int64) (ttl int64, err error)
	// Fencing says whether a dead lease is that of a holder who is being powered
	// off at this moment. A holder that is not may come back with a new lease.
	Fencing(id int64) bool
	// TimeToLive returns the remaining seconds of a lease, at least 0.
	// Errors: kv.ErrLeaseNotFound.
	TimeToLive(ctx context.Context, id int64) (remaining int64, err error)

	// MoveLeader makes the member with that id, one of Members, the leader, and
	// returns when this node knows it as such.
	MoveLeader(ctx context.Context, id uint64) error

	// Identity returns who this node is. It never changes.
	Identity() Identity
	// Status returns what this node knows about the group at this moment, at no cost.
	Status() Status
	// Members returns all voting members in a fixed order.
	Members() []Member
}

// Identity names a node of a cluster. Both numbers are non-zero; ClusterID is the
// same on all nodes.
type Identity struct {
	ClusterID, MemberID uint64
}

// Status is a node's view of the group.
type Status struct {
	// Term is the term of the last applied log entry. It never goes back, and a
	// candidate does not raise it: Patroni compares it between nodes to find stale ones.
	Term uint64
	// AppliedIndex is the log index of the last applied entry.
	AppliedIndex uint64
	// LeaderID is the MemberID of the leader, 0 if there is none.
	LeaderID uint64
	// HasLeader says that this node is the leader or has heard from it within an
	// election timeout.
	HasLeader bool
}

// Member is a node as clients see it. ClientURLs must be reachable from the clients:
// Patroni replaces its configured host list by them.
type Member struct {
	ID         uint64
	Name       string
	ClientURLs []string
	PeerURLs   []string
}

var (
	// ErrNoLeader: there is no leader, or this node cannot reach it.
	ErrNoLeader = errors.New("no leader")
	// ErrGuarded: the change would let a member that is being fenced, or that was
	// never granted leadership, hold the leader key of a guarded cluster. Errors that
	// wrap it have a text for the operator.
	ErrGuarded = errors.New("the leader key is guarded")
)
