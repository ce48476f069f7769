package etcdapi

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const (
	leaderPoll = 50 * time.Millisecond
	// leaderGrace is how long streams survive without a leader: longer than an
	// election, shorter than the patience of clients. Etcd takes three election
	// timeouts.
	leaderGrace = 2 * time.Second
)

// leaderWatch tells requests and streams whether the node has a leader.
type leaderWatch struct {
	backend Backend

	mu     sync.Mutex
	lost   bool          // there has been no leader for leaderGrace
	closed chan struct{} // closed when lost becomes true
}

func newLeaderWatch(b Backend) *leaderWatch {
	return &leaderWatch{backend: b, closed: make(chan struct{})}
}

// run follows the backend until ctx ends.
func (l *leaderWatch) run(ctx context.Context) error {
	tick := time.NewTicker(leaderPoll)
	defer tick.Stop()
	since := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if l.backend.Status().HasLeader {
				since = now
			}
			l.set(now.Sub(since) >= leaderGrace)
		}
	}
}

func (l *leaderWatch) set(lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case lost == l.lost:
	case lost:
		close(l.closed)
	default:
		l.closed = make(chan struct{})
	}
	l.lost = lost
}

// gone returns a channel that is closed when a stream must end for want of a leader.
func (l *leaderWatch) gone() <-chan struct{} {
	if l.backend.Status().HasLeader {
		l.set(false) // run may not have noticed yet
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// wait returns nil as soon as there is a leader, so that requests survive an
// election, and ErrNoLeader if ctx ends before.
func (l *leaderWatch) wait(ctx context.Context) error {
	if l.backend.Status().HasLeader {
		return nil
	}
	tick := time.NewTicker(leaderPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ErrNoLeader
		case <-tick.C:
			if l.backend.Status().HasLeader {
				return nil
			}
		}
	}
}

// required says whether a client wants its call to fail when there is no leader.
func required(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	v := md.Get(rpctypes.MetadataRequireLeaderKey)
	return len(v) > 0 && v[0] == rpctypes.MetadataHasLeader
}

// unary refuses calls that require a leader when there is none.
func (l *leaderWatch) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if required(ctx) && !l.backend.Status().HasLeader {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	return next(ctx, req)
}

// stream does the same for streams; they watch gone themselves afterwards.
func (l *leaderWatch) stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if required(ss.Context()) && !l.backend.Status().HasLeader {
		return rpctypes.ErrGRPCNoLeader
	}
	return next(srv, ss)
}
