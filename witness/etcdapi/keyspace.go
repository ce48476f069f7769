package etcdapi

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quorate/witness/kv"
)

// keyspace implements etcd's KV service.
type keyspace struct {
	pb.UnimplementedKVServer
	*api
}

func (k *keyspace) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := k.before(ctx, r.Serializable); err != nil {
		return nil, err
	}
	res, err := k.backend.Store().Range(rangeFrom(r))
	if err != nil {
		return nil, toStatus(err)
	}
	return rangeTo(&res, k.header(res.Revision)), nil
}

func (k *keyspace) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	res, err := k.write(ctx, kv.PutTxn(putFrom(r)))
	if err == rpctypes.ErrGRPCKeyNotFound && r.Lease != 0 {
		// Outside of a transaction etcd looks at the lease first.
		if _, ok := k.backend.Store().Lease(r.Lease); !ok {
			err = rpctypes.ErrGRPCLeaseNotFound
		}
	}
	if err != nil {
		return nil, err
	}
	put := res.Responses[0].Put
	return putTo(put, k.header(put.Revision)), nil
}

func (k *keyspace) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	res, err := k.write(ctx, kv.DeleteTxn(deleteFrom(r)))
	if err != nil {
		return nil, err
	}
	del := res.Responses[0].Delete
	return deleteTo(del, k.header(del.Revision)), nil
}

func (k *keyspace) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	t, err := txnFrom(r, 0)
	if err != nil {
		return nil, toStatus(err)
	}
	pureThen, localThen := readOnly(r.Success)
	pureElse, localElse := readOnly(r.Failure)
	if !pureThen || !pureElse {
		res, err := k.write(ctx, t)
		if err != nil {
			return nil, err
		}
		return txnTo(&res, k.header(res.Revision)), nil
	}
	// A transaction without writes needs no log entry; its compares are reads too.
	if err := t.Validate(kv.DefaultLimits); err != nil {
		return nil, toStatus(err)
	}
	if err := k.before(ctx, localThen && localElse); err != nil {
		return nil, err
	}
	_, res, _, err := k.backend.Store().Txn(t)
	if err != nil {
		return nil, toStatus(err)
	}
	return txnTo(&res, k.header(res.Revision)), nil
}

func (k *keyspace) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	ctx, cancel := k.limit(ctx)
	defer cancel()
	if err := k.leader.wait(ctx); err != nil {
		return nil, toStatus(err)
	}
	if err := k.backend.Compact(ctx, r.Revision); err != nil {
		return nil, toStatus(err)
	}
	return &pb.CompactionResponse{Header: k.header(k.backend.Store().Revision())}, nil
}

func (k *keyspace) write(ctx context.Context, t kv.TxnRequest) (kv.TxnResult, error) {
	if err := t.Validate(kv.DefaultLimits); err != nil {
		return kv.TxnResult{}, toStatus(err)
	}
	if k.full() && puts(&t) {
		return kv.TxnResult{}, rpctypes.ErrGRPCNoSpace
	}
	ctx, cancel := k.limit(ctx)
	defer cancel()
	if err := k.leader.wait(ctx); err != nil {
		return kv.TxnResult{}, toStatus(err)
	}
	res, err := k.backend.Txn(ctx, t)
	switch {
	case errors.Is(err, kv.ErrLeaseNotFound) && fromGateway(ctx) && usesDeadLease(k.backend.Store(), &t):
		return kv.TxnResult{}, errDeadLease
	case err != nil:
		return kv.TxnResult{}, toStatus(err)
	}
	return res, nil
}

// puts says whether a transaction can make the key space larger.
func puts(t *kv.TxnRequest) bool {
	for _, list := range [2][]kv.Op{t.Success, t.Failure} {
		for i := range list {
			if list[i].Put != nil || list[i].Txn != nil && puts(list[i].Txn) {
				return true
			}
		}
	}
	return false
}

// errDeadLease refuses a put with a lease that is dead while its keys wait for a
// fence. Patroni 3.0.2 writes its member key before it renews its leadership, and
// forgets its lease at "requested lease not found": it would then take a new one,
// and put `leader` with that. With any other error it keeps the lease, asks for its
// renewal next, and demotes itself (see leases.renew).
var errDeadLease = status.Error(codes.InvalidArgument, "quorate: the lease has ended, its keys wait until its holder is proven off")

func usesDeadLease(s *kv.Store, t *kv.TxnRequest) bool {
	for _, list := range [2][]kv.Op{t.Success, t.Failure} {
		for _, op := range list {
			if op.Put != nil && op.Put.Lease != 0 {
				if l, ok := s.Lease(op.Put.Lease); ok && l.Dead {
					return true
				}
			}
			if op.Txn != nil && usesDeadLease(s, op.Txn) {
				return true
			}
		}
	}
	return false
}
