//go:build integration

package etcdapi_test

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// Random requests. Twelve keys at most (the last is the marker of the watches), so
// that etcd's sort, which is stable up to twelve elements only, leaves equal elements
// in the same order as ours.
const (
	keyCount = 11
	maxLease = 5
)

var marker = []byte("~")

func (p *pair) key() []byte { return []byte{'a' + byte(p.r.IntN(keyCount))} }

func (p *pair) rangeEnd() []byte {
	switch p.r.IntN(4) {
	case 0:
		return p.key() // may be before the key
	case 1:
		return []byte{0}
	}
	return nil
}

// leaseID is 0, one that may exist, or one that does not.
func (p *pair) leaseID() int64 { return p.r.Int64N(maxLease + 2) }

// revision is near the present, in the past, or in the future.
func (p *pair) revision() int64 {
	switch p.r.IntN(4) {
	case 0:
		return p.rev + 1 - p.r.Int64N(3)
	case 1:
		return max(0, p.rev-p.r.Int64N(40))
	}
	return 0
}

func (p *pair) bound() int64 {
	if p.r.IntN(4) > 0 {
		return 0
	}
	return max(0, p.rev-p.r.Int64N(15))
}

func (p *pair) value() []byte { return [][]byte{nil, []byte("x"), []byte("y"), {0, 0xff}}[p.r.IntN(4)] }

func (p *pair) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{
		Key: p.key(), RangeEnd: p.rangeEnd(), Revision: p.revision(), Limit: int64(max(0, p.r.IntN(8)-3)),
		SortOrder: pb.RangeRequest_SortOrder(p.r.IntN(3)), SortTarget: pb.RangeRequest_SortTarget(p.r.IntN(5)),
		MinModRevision: p.bound(), MaxModRevision: p.bound(), MinCreateRevision: p.bound(), MaxCreateRevision: p.bound(),
		KeysOnly: p.r.IntN(4) == 0, CountOnly: p.r.IntN(8) == 0, Serializable: p.r.IntN(3) == 0,
	}
	if p.r.IntN(60) == 0 {
		r.Key = nil
	}
	return r
}

func (p *pair) put() *pb.PutRequest {
	put := &pb.PutRequest{Key: p.key(), Value: p.value(), PrevKv: p.r.IntN(2) == 0}
	if p.r.IntN(3) == 0 {
		put.Lease = p.leaseID()
	}
	put.IgnoreValue, put.IgnoreLease = p.r.IntN(10) == 0, p.r.IntN(10) == 0
	if p.r.IntN(40) == 0 {
		put.Key = nil
	}
	return put
}

func (p *pair) delete() *pb.DeleteRangeRequest {
	d := &pb.DeleteRangeRequest{Key: p.key(), PrevKv: p.r.IntN(2) == 0}
	switch n := p.r.IntN(30); {
	case n < 10:
		d.RangeEnd = []byte{d.Key[0] + byte(p.r.IntN(4))}
	case n == 10:
		d.Key, d.RangeEnd = []byte("h"), []byte{0}
	case n == 11:
		d.Key = nil
	}
	return d
}

func (p *pair) write() *pb.RequestOp {
	if p.r.IntN(3) == 0 {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: p.delete()}}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p.put()}}
}

func (p *pair) op(depth int) *pb.RequestOp {
	switch n := p.r.IntN(200); {
	case n == 0:
		return &pb.RequestOp{}
	case n < 20 && depth > 0:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: p.txn(depth - 1)}}
	case n < 80:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: p.rangeRequest()}}
	}
	op := p.write()
	if d := op.GetRequestDeleteRange(); d != nil && len(d.RangeEnd) == 1 && d.RangeEnd[0] == 0 {
		d.RangeEnd = nil // see TestDifferential for what is left out
	}
	return op
}

func (p *pair) txn(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range p.r.IntN(3) {
		t.Compare = append(t.Compare, p.compare())
	}
	for range p.r.IntN(4) {
		t.Success = append(t.Success, p.op(depth))
	}
	for range p.r.IntN(4) {
		t.Failure = append(t.Failure, p.op(depth))
	}
	if p.r.IntN(500) == 0 { // too many, or just not
		for range 124 + p.r.IntN(6) {
			t.Success = append(t.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: p.key()}}})
		}
	}
	return t
}

func (p *pair) compare() *pb.Compare {
	c := &pb.Compare{Key: p.key(), RangeEnd: p.rangeEnd(), Result: pb.Compare_CompareResult(p.r.IntN(4))}
	old := max(0, p.rev-p.r.Int64N(20)) * p.r.Int64N(2)
	switch c.Target = pb.Compare_CompareTarget(p.r.IntN(5)); c.Target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: p.r.Int64N(6)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: old}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: old}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: p.value()}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: p.leaseID()}
	}
	if p.r.IntN(30) == 0 {
		c.TargetUnion = nil // means zero
	}
	return c
}
