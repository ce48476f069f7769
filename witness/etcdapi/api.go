package etcdapi

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/peer"
)

// api is what the services share.
type api struct {
	backend Backend
	leader  *leaderWatch
	log     *slog.Logger
	limits  Limits

	authority *authority    // nil = everybody may do everything
	timeout   time.Duration // of one request
	progress  time.Duration // between progress notifications of a quiet watch

	watchCount atomic.Int64 // of all streams

	stopping <-chan struct{} // closed when streams must end
	readers  sync.WaitGroup  // goroutines that read client streams
}

// header is that of a reply of this node. Revision is 0 where etcd sends none.
func (a *api) header(rev int64) *pb.ResponseHeader {
	id := a.backend.Identity()
	return &pb.ResponseHeader{ClusterId: id.ClusterID, MemberId: id.MemberID, Revision: rev, RaftTerm: a.backend.Status().Term}
}

// limit bounds what one request may take. Patroni gives a node 2.5 s (two nodes) or
// 3.3 s (three nodes) before it tries the next.
func (a *api) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.timeout)
}

// before makes the local state fit for a read.
func (a *api) before(ctx context.Context, serializable bool) error {
	if serializable {
		return nil
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	if err := a.leader.wait(ctx); err != nil {
		return toStatus(err)
	}
	if err := a.backend.Barrier(ctx); err != nil {
		return toStatus(err)
	}
	return nil
}

// full says that the quota is used up: only what makes the key space smaller is
// served, and the alarm is on. Since the size is part of the replicated state, all
// nodes agree on it, and the alarm goes off by itself when there is room again.
func (a *api) full() bool { return a.backend.Store().Size() > a.limits.QuotaBytes }

// gatewayNetwork is the network name of the in-memory connection between the JSON
// gateway and the gRPC server.
const gatewayNetwork = "bufconn"

// fromGateway says whether a call comes from a JSON client.
func fromGateway(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	return ok && p.Addr.Network() == gatewayNetwork
}
