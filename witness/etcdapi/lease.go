package etcdapi

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"quorate/witness/kv"
)

// leases implements etcd's Lease service.
type leases struct {
	pb.UnimplementedLeaseServer
	*api
}

func (l *leases) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if l.full() {
		return nil, rpctypes.ErrGRPCNoSpace
	}
	ctx, cancel := l.limit(ctx)
	defer cancel()
	if err := l.leader.wait(ctx); err != nil {
		return nil, toStatus(err)
	}
	id, ttl, err := l.backend.Grant(ctx, r.ID, r.TTL)
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.LeaseGrantResponse{Header: l.header(l.backend.Store().Revision()), ID: id, TTL: ttl}, nil
}

func (l *leases) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	ctx, cancel := l.limit(ctx)
	defer cancel()
	if err := l.leader.wait(ctx); err != nil {
		return nil, toStatus(err)
	}
	if err := l.backend.Revoke(ctx, r.ID); err != nil {
		return nil, toStatus(err)
	}
	return &pb.LeaseRevokeResponse{Header: l.header(l.backend.Store().Revision())}, nil
}

// LeaseKeepAlive answers renewals one by one. A JSON client sends one, half-closes,
// and expects the end of the stream after the reply.
func (l *leases) LeaseKeepAlive(stream grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]) error {
	ctx := stream.Context()
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		res, err := l.renew(ctx, req.ID)
		if err != nil {
			return err
		}
		if err := stream.Send(res); err != nil {
			return err
		}
	}
}

// renew confirms a lease, or leaves TTL at 0 (absent in JSON) if it is gone.
//
// A lease that is dead while its holder is being powered off is a special case.
// Patroni 3.0.2 answers a missing TTL with a new grant and a put of `leader` in the
// same step; an error that it does not repeat ends its leader update at once, and it
// demotes itself, in failsafe mode too. So JSON clients get NotFound here. While
// nobody is powering the holder off, that put is just what brings it back, and the
// missing TTL is right. For gRPC clients an error would end the renewals of all
// leases on the stream, and TTL 0 says what is meant.
func (l *leases) renew(ctx context.Context, id int64) (*pb.LeaseKeepAliveResponse, error) {
	if err := l.mayRenew(ctx, id); err != nil {
		return nil, err
	}
	ctx, cancel := l.limit(ctx)
	defer cancel()
	if err := l.leader.wait(ctx); err != nil {
		return nil, toStatus(err)
	}
	// The header first: its revision must not be newer than the confirmation.
	res := &pb.LeaseKeepAliveResponse{Header: l.header(l.backend.Store().Revision()), ID: id}
	ttl, err := l.backend.KeepAlive(ctx, id)
	if err != nil && !errors.Is(err, kv.ErrLeaseNotFound) {
		return nil, toStatus(err)
	}
	if ttl == 0 && fromGateway(ctx) {
		// The leader may know of the death before this node does.
		if err := l.backend.Barrier(ctx); err != nil {
			return nil, toStatus(err)
		}
		if lease, ok := l.backend.Store().Lease(id); ok && lease.Dead && l.backend.Fencing(id) {
			return nil, rpctypes.ErrGRPCLeaseNotFound
		}
	}
	res.TTL = ttl
	return res, nil
}

func (l *leases) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if err := l.before(ctx, false); err != nil {
		return nil, err
	}
	ctx, cancel := l.limit(ctx)
	defer cancel()
	store := l.backend.Store()
	res := &pb.LeaseTimeToLiveResponse{Header: l.header(store.Revision()), ID: r.ID, TTL: -1}
	lease, ok := store.Lease(r.ID)
	if !ok || lease.Dead {
		return res, nil
	}
	left, err := l.backend.TimeToLive(ctx, r.ID)
	if errors.Is(err, kv.ErrLeaseNotFound) {
		return res, nil
	}
	if err != nil {
		return nil, toStatus(err)
	}
	// A new leader gives some time on top, which is nobody's to count on.
	res.TTL, res.GrantedTTL = min(left, lease.TTL), lease.TTL
	if r.Keys {
		for _, key := range lease.Keys() {
			res.Keys = append(res.Keys, []byte(key))
		}
	}
	return res, nil
}

func (l *leases) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	if err := l.before(ctx, false); err != nil {
		return nil, err
	}
	store := l.backend.Store()
	res := &pb.LeaseLeasesResponse{Header: l.header(store.Revision())}
	for lease := range store.Leases() {
		if !lease.Dead {
			res.Leases = append(res.Leases, &pb.LeaseStatus{ID: lease.ID})
		}
	}
	return res, nil
}
