package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

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
	ctx, cancel := k.limit(ctx)
	defer cancel()
	if err := k.leader.wait(ctx); err != nil {
		return kv.TxnResult{}, toStatus(err)
	}
	res, err := k.backend.Txn(ctx, t)
	if err != nil {
		return kv.TxnResult{}, toStatus(err)
	}
	return res, nil
}
