package etcdapi

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"quorate/witness/kv"
)

func rangeFrom(r *pb.RangeRequest) kv.RangeRequest {
	return kv.RangeRequest{
		Key: r.Key, RangeEnd: r.RangeEnd, Revision: r.Revision, Limit: r.Limit,
		SortOrder: kv.SortOrder(r.SortOrder), SortTarget: kv.SortTarget(r.SortTarget),
		MinModRevision: r.MinModRevision, MaxModRevision: r.MaxModRevision,
		MinCreateRevision: r.MinCreateRevision, MaxCreateRevision: r.MaxCreateRevision,
		KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
	}
}

func putFrom(r *pb.PutRequest) kv.PutRequest {
	return kv.PutRequest{
		Key: r.Key, Value: r.Value, Lease: r.Lease, PrevKV: r.PrevKv,
		IgnoreValue: r.IgnoreValue, IgnoreLease: r.IgnoreLease,
	}
}

func deleteFrom(r *pb.DeleteRangeRequest) kv.DeleteRequest {
	return kv.DeleteRequest{Key: r.Key, RangeEnd: r.RangeEnd, PrevKV: r.PrevKv}
}

func compareFrom(c *pb.Compare) kv.Compare {
	out := kv.Compare{Key: c.Key, RangeEnd: c.RangeEnd, Target: kv.CompareTarget(c.Target), Result: kv.CompareResult(c.Result)}
	// Only the field that belongs to the target counts; the others mean 0 as in etcd.
	switch c.Target {
	case pb.Compare_VERSION:
		out.Number = c.GetVersion()
	case pb.Compare_CREATE:
		out.Number = c.GetCreateRevision()
	case pb.Compare_MOD:
		out.Number = c.GetModRevision()
	case pb.Compare_LEASE:
		out.Number = c.GetLease()
	case pb.Compare_VALUE:
		out.Value = c.GetValue()
	}
	return out
}

// maxTxnDepth bounds the recursion over what a client sent; kv refuses far less.
const maxTxnDepth = 200

func txnFrom(t *pb.TxnRequest, depth int) (kv.TxnRequest, error) {
	if depth > maxTxnDepth {
		return kv.TxnRequest{}, kv.ErrTooManyOps
	}
	var out kv.TxnRequest
	for _, c := range t.GetCompare() {
		out.Compare = append(out.Compare, compareFrom(c))
	}
	var err error
	if out.Success, err = opsFrom(t.GetSuccess(), depth); err != nil {
		return out, err
	}
	out.Failure, err = opsFrom(t.GetFailure(), depth)
	return out, err
}

func opsFrom(ops []*pb.RequestOp, depth int) ([]kv.Op, error) {
	out := make([]kv.Op, len(ops))
	for i, op := range ops {
		switch {
		case op.GetRequestRange() != nil:
			r := rangeFrom(op.GetRequestRange())
			out[i].Range = &r
		case op.GetRequestPut() != nil:
			r := putFrom(op.GetRequestPut())
			out[i].Put = &r
		case op.GetRequestDeleteRange() != nil:
			r := deleteFrom(op.GetRequestDeleteRange())
			out[i].Delete = &r
		case op.GetRequestTxn() != nil:
			r, err := txnFrom(op.GetRequestTxn(), depth+1)
			if err != nil {
				return nil, err
			}
			out[i].Txn = &r
		}
	}
	return out, nil
}

// readOnly says whether a transaction can be answered without the log, and whether
// all of its reads are happy with the local state.
func readOnly(ops []*pb.RequestOp) (pure, serializable bool) {
	pure, serializable = true, true
	for _, op := range ops {
		switch {
		case op.GetRequestRange() != nil:
			serializable = serializable && op.GetRequestRange().Serializable
		case op.GetRequestTxn() != nil:
			for _, list := range [2][]*pb.RequestOp{op.GetRequestTxn().GetSuccess(), op.GetRequestTxn().GetFailure()} {
				p, s := readOnly(list)
				pure, serializable = pure && p, serializable && s
			}
		default:
			pure = false
		}
	}
	return pure, serializable
}

func kvTo(k *kv.KeyValue) *mvccpb.KeyValue {
	if k == nil {
		return nil
	}
	return &mvccpb.KeyValue{
		Key: k.Key, Value: k.Value, CreateRevision: k.CreateRevision, ModRevision: k.ModRevision,
		Version: k.Version, Lease: k.Lease,
	}
}

func kvsTo(list []*kv.KeyValue) []*mvccpb.KeyValue {
	out := make([]*mvccpb.KeyValue, len(list))
	for i, k := range list {
		out[i] = kvTo(k)
	}
	return out
}

func revHeader(rev int64) *pb.ResponseHeader { return &pb.ResponseHeader{Revision: rev} }

func rangeTo(r *kv.RangeResult, h *pb.ResponseHeader) *pb.RangeResponse {
	return &pb.RangeResponse{Header: h, Kvs: kvsTo(r.KVs), More: r.More, Count: r.Count}
}

func putTo(r *kv.PutResult, h *pb.ResponseHeader) *pb.PutResponse {
	return &pb.PutResponse{Header: h, PrevKv: kvTo(r.Prev)}
}

func deleteTo(r *kv.DeleteResult, h *pb.ResponseHeader) *pb.DeleteRangeResponse {
	return &pb.DeleteRangeResponse{Header: h, Deleted: r.Deleted, PrevKvs: kvsTo(r.Prev)}
}

func txnTo(t *kv.TxnResult, h *pb.ResponseHeader) *pb.TxnResponse {
	out := &pb.TxnResponse{Header: h, Succeeded: t.Succeeded}
	for i := range t.Responses {
		out.Responses = append(out.Responses, opTo(&t.Responses[i]))
	}
	return out
}

func opTo(r *kv.OpResult) *pb.ResponseOp {
	switch {
	case r.Range != nil:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: rangeTo(r.Range, revHeader(r.Range.Revision))}}
	case r.Put != nil:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: putTo(r.Put, revHeader(r.Put.Revision))}}
	case r.Delete != nil:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{
			ResponseDeleteRange: deleteTo(r.Delete, revHeader(r.Delete.Revision)),
		}}
	case r.Txn != nil:
		// an empty header is what etcd sends here
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: txnTo(r.Txn, &pb.ResponseHeader{})}}
	}
	return &pb.ResponseOp{}
}

func eventTo(ev kv.Event, prev bool) *mvccpb.Event {
	out := &mvccpb.Event{Kv: kvTo(ev.KV)}
	if ev.Type == kv.Delete {
		out.Type = mvccpb.Event_DELETE
	}
	if prev {
		out.PrevKv = kvTo(ev.Prev)
	}
	return out
}
