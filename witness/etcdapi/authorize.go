package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// unary refuses calls that their client may not make. It is the one place where the
// calls are listed; what is not listed is for administrators.
func (a *api) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if a.authority == nil {
		return next(ctx, req)
	}
	switch req.(type) {
	case *pb.AuthenticateRequest, *pb.AuthStatusRequest, *pb.StatusRequest:
		return next(ctx, req)
	case *pb.MemberListRequest:
		// Patroni before 4.1 asks for the members before it has a token.
		return next(ctx, req)
	}
	acc, err := a.authority.identify(ctx, false)
	if err != nil {
		return nil, err
	}
	if !a.permits(acc, req) {
		return nil, rpctypes.ErrGRPCPermissionDenied
	}
	return next(ctx, req)
}

func (a *api) permits(acc *account, req any) bool {
	switch r := req.(type) {
	case *pb.RangeRequest:
		return acc.read.cover(r.Key, r.RangeEnd)
	case *pb.PutRequest:
		return a.permitsPut(acc, r)
	case *pb.DeleteRangeRequest:
		return permitsDelete(acc, r)
	case *pb.TxnRequest:
		return a.permitsTxn(acc, r, 0)
	case *pb.LeaseGrantRequest, *pb.LeaseLeasesRequest:
		return true
	case *pb.LeaseRevokeRequest:
		return a.permitsLease(acc.write, r.ID)
	case *pb.LeaseTimeToLiveRequest:
		return !r.Keys || a.permitsLease(acc.read, r.ID)
	case *pb.AlarmRequest:
		return acc.admin || r.Action == pb.AlarmRequest_GET
	}
	return acc.admin
}

// permitsPut also protects the lease: with a foreign key on it the end of the lease
// would be somebody else's affair.
func (a *api) permitsPut(acc *account, r *pb.PutRequest) bool {
	return acc.write.cover(r.Key, nil) && (!r.PrevKv || acc.read.cover(r.Key, nil)) &&
		(r.Lease == 0 || a.permitsLease(acc.write, r.Lease))
}

func permitsDelete(acc *account, r *pb.DeleteRangeRequest) bool {
	return acc.write.cover(r.Key, r.RangeEnd) && (!r.PrevKv || acc.read.cover(r.Key, r.RangeEnd))
}

// permitsTxn asks for the rights of both branches, and for the reading of whatever is
// compared.
func (a *api) permitsTxn(acc *account, t *pb.TxnRequest, depth int) bool {
	if depth > maxTxnDepth {
		return false
	}
	for _, c := range t.Compare {
		if !acc.read.cover(c.Key, c.RangeEnd) {
			return false
		}
	}
	for _, list := range [2][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range list {
			ok := true // an operation without a request fails later, in etcd's words
			switch {
			case op.GetRequestRange() != nil:
				ok = acc.read.cover(op.GetRequestRange().Key, op.GetRequestRange().RangeEnd)
			case op.GetRequestPut() != nil:
				ok = a.permitsPut(acc, op.GetRequestPut())
			case op.GetRequestDeleteRange() != nil:
				ok = permitsDelete(acc, op.GetRequestDeleteRange())
			case op.GetRequestTxn() != nil:
				ok = a.permitsTxn(acc, op.GetRequestTxn(), depth+1)
			}
			if !ok {
				return false
			}
		}
	}
	return true
}

// permitsLease says whether all keys of a lease lie in the spans.
func (a *api) permitsLease(open spans, id int64) bool {
	lease, ok := a.backend.Store().Lease(id)
	if !ok {
		return true // "not found" is for the call to say
	}
	for _, key := range lease.Keys() {
		if !open.cover([]byte(key), nil) {
			return false
		}
	}
	return true
}

// accountKey is the key of an account in the context of a stream.
type accountKey struct{}

// stream looks up the client of a stream once; what it may do is asked for each
// message. A watch may be opened by anybody: etcd refuses it when it is created.
//
// Renewals also accept a token that has expired. Patroni 3.0.2 takes an error of a
// renewal for a lost leadership and does not fetch a new token for it, since etcd of
// its time asked for none.
func (a *api) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if a.authority == nil {
		return next(srv, ss)
	}
	switch info.FullMethod {
	case pb.Watch_Watch_FullMethodName:
		return next(srv, ss)
	case pb.Lease_LeaseKeepAlive_FullMethodName:
		acc, err := a.authority.identify(ss.Context(), true)
		if err != nil {
			return err
		}
		return next(srv, &known{ss, context.WithValue(ss.Context(), accountKey{}, acc)})
	}
	acc, err := a.authority.identify(ss.Context(), false)
	if err != nil {
		return err
	}
	if !acc.admin {
		return rpctypes.ErrGRPCPermissionDenied
	}
	return next(srv, ss)
}

// mayRenew says whether the client of a stream of renewals may renew that lease: to
// keep a foreign lease alive would be to forbid a failover.
func (a *api) mayRenew(ctx context.Context, id int64) error {
	if a.authority == nil {
		return nil
	}
	acc, ok := ctx.Value(accountKey{}).(*account)
	if !ok || !a.permitsLease(acc.write, id) {
		return rpctypes.ErrGRPCPermissionDenied
	}
	return nil
}

// mayWatch says whether the client may watch a range, of which lo is not empty.
func (a *api) mayWatch(ctx context.Context, lo, hi string) error {
	if a.authority == nil {
		return nil
	}
	acc, err := a.authority.identify(ctx, false)
	if err != nil {
		return err
	}
	if !acc.read.cover([]byte(lo), []byte(hi)) {
		return rpctypes.ErrGRPCPermissionDenied
	}
	return nil
}
