//go:build integration

package kv

import (
	"encoding/json"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Translation of requests to, and of replies from, etcd's messages.

func rangeToPB(r *RangeRequest) *etcdserverpb.RangeRequest {
	return &etcdserverpb.RangeRequest{
		Key: r.Key, RangeEnd: r.RangeEnd, Limit: r.Limit, Revision: r.Revision,
		SortOrder:      etcdserverpb.RangeRequest_SortOrder(r.SortOrder),
		SortTarget:     etcdserverpb.RangeRequest_SortTarget(r.SortTarget),
		MinModRevision: r.MinModRevision, MaxModRevision: r.MaxModRevision,
		MinCreateRevision: r.MinCreateRevision, MaxCreateRevision: r.MaxCreateRevision,
		KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
	}
}

func compareToPB(c *Compare) *etcdserverpb.Compare {
	out := &etcdserverpb.Compare{
		Key: c.Key, RangeEnd: c.RangeEnd,
		Result: etcdserverpb.Compare_CompareResult(c.Result), Target: etcdserverpb.Compare_CompareTarget(c.Target),
	}
	switch c.Target {
	case CompareVersion:
		out.TargetUnion = &etcdserverpb.Compare_Version{Version: c.Number}
	case CompareCreate:
		out.TargetUnion = &etcdserverpb.Compare_CreateRevision{CreateRevision: c.Number}
	case CompareMod:
		out.TargetUnion = &etcdserverpb.Compare_ModRevision{ModRevision: c.Number}
	case CompareValue:
		out.TargetUnion = &etcdserverpb.Compare_Value{Value: c.Value}
	case CompareLease:
		out.TargetUnion = &etcdserverpb.Compare_Lease{Lease: c.Number}
	}
	return out
}

func txnToPB(t *TxnRequest) *etcdserverpb.TxnRequest {
	out := &etcdserverpb.TxnRequest{Success: opsToPB(t.Success), Failure: opsToPB(t.Failure)}
	for i := range t.Compare {
		out.Compare = append(out.Compare, compareToPB(&t.Compare[i]))
	}
	return out
}

func opsToPB(ops []Op) []*etcdserverpb.RequestOp {
	var out []*etcdserverpb.RequestOp
	for _, op := range ops {
		pb := &etcdserverpb.RequestOp{}
		switch {
		case op.Range != nil:
			pb.Request = &etcdserverpb.RequestOp_RequestRange{RequestRange: rangeToPB(op.Range)}
		case op.Put != nil:
			pb.Request = &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{
				Key: op.Put.Key, Value: op.Put.Value, Lease: op.Put.Lease, PrevKv: op.Put.PrevKV,
				IgnoreValue: op.Put.IgnoreValue, IgnoreLease: op.Put.IgnoreLease,
			}}
		case op.Delete != nil:
			pb.Request = &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{
				Key: op.Delete.Key, RangeEnd: op.Delete.RangeEnd, PrevKv: op.Delete.PrevKV,
			}}
		case op.Txn != nil:
			pb.Request = &etcdserverpb.RequestOp_RequestTxn{RequestTxn: txnToPB(op.Txn)}
		}
		out = append(out, pb)
	}
	return out
}

func kvFromPB(kv *mvccpb.KeyValue) *KeyValue {
	if kv == nil {
		return nil
	}
	out := &KeyValue{
		Key: kv.Key, Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision,
		Version: kv.Version, Lease: kv.Lease,
	}
	normalise(out)
	return out
}

func kvsFromPB(kvs []*mvccpb.KeyValue) []*KeyValue {
	var out []*KeyValue
	for _, kv := range kvs {
		out = append(out, kvFromPB(kv))
	}
	return out
}

func rangeFromPB(r *etcdserverpb.RangeResponse) *RangeResult {
	return &RangeResult{KVs: kvsFromPB(r.Kvs), More: r.More, Count: r.Count, Revision: r.Header.Revision}
}

func txnFromPB(r *etcdserverpb.TxnResponse) *TxnResult {
	out := &TxnResult{Succeeded: r.Succeeded, Revision: r.Header.GetRevision()}
	for _, op := range r.Responses {
		var o OpResult
		switch op := op.Response.(type) {
		case *etcdserverpb.ResponseOp_ResponseRange:
			o.Range = rangeFromPB(op.ResponseRange)
		case *etcdserverpb.ResponseOp_ResponsePut:
			o.Put = &PutResult{Revision: op.ResponsePut.Header.Revision, Prev: kvFromPB(op.ResponsePut.PrevKv)}
		case *etcdserverpb.ResponseOp_ResponseDeleteRange:
			o.Delete = &DeleteResult{
				Revision: op.ResponseDeleteRange.Header.Revision, Deleted: op.ResponseDeleteRange.Deleted,
				Prev: kvsFromPB(op.ResponseDeleteRange.PrevKvs),
			}
		case *etcdserverpb.ResponseOp_ResponseTxn:
			o.Txn = txnFromPB(op.ResponseTxn)
		}
		out.Responses = append(out.Responses, o)
	}
	return out
}

func jsonOf(v any) []byte {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return []byte(err.Error())
	}
	return b
}
