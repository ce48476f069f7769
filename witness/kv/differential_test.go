//go:build integration

package kv

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// startEtcd runs a real etcd on loopback until the test ends.
func startEtcd(t *testing.T) *grpc.ClientConn {
	t.Helper()
	bin, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("etcd is not installed (Debian: etcd-server)")
	}
	client, peer := freeAddr(t), freeAddr(t)
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "--name", "e1", "--data-dir", filepath.Join(dir, "data"), "--unsafe-no-fsync",
		"--listen-client-urls", "http://"+client, "--advertise-client-urls", "http://"+client,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer,
		"--initial-cluster", "e1=http://"+peer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = out.Close()
	})
	conn, err := grpc.NewClient(client, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = etcdserverpb.NewKVClient(conn).Range(ctx, &etcdserverpb.RangeRequest{Key: []byte("x")}, grpc.WaitForReady(true))
	if err != nil {
		log, _ := os.ReadFile(out.Name())
		t.Fatalf("etcd does not answer: %v\n%s", err, log)
	}
	return conn
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// pair is one real etcd and one Store that are given the same operations.
type pair struct {
	*testing.T
	r     *rand.Rand
	kv    etcdserverpb.KVClient
	lease etcdserverpb.LeaseClient
	watch etcdserverpb.WatchClient
	s     *Store
	step  int

	compared int // events of watches
}

// TestDifferential: the same random operations to a real etcd and to a Store must
// give the same replies, field by field, and at the end the same history.
func TestDifferential(t *testing.T) {
	conn := startEtcd(t)
	p := &pair{
		T: t, r: newRand(t), kv: etcdserverpb.NewKVClient(conn), lease: etcdserverpb.NewLeaseClient(conn),
		watch: etcdserverpb.NewWatchClient(conn), s: New(),
	}
	for p.step = range 6000 {
		switch n := p.r.IntN(100); {
		case n < 50:
			p.compareTxn(p.txn(2))
		case n < 80:
			p.compareRange(p.rangeRequest())
		case n < 86:
			p.compareGrant()
		case n < 91:
			p.compareRevoke()
		case n < 94:
			p.compareTimeToLive()
		case n < 96:
			p.compareHistory() // what is about to be forgotten
			p.compareCompact()
		default:
			p.compareTxn(TxnRequest{Success: []Op{p.write()}})
		}
	}
	p.compareHistory()
	t.Logf("revision %d, compacted %d, %d keys, %d events compared", p.s.Revision(), p.s.CompactRevision(), p.s.Len(), p.compared)
}

// same compares errors by their text, since that is what clients do. It reports
// whether both succeeded.
func (p *pair) same(what any, etcd, ours error) bool {
	p.Helper()
	theirs := ""
	if etcd != nil {
		theirs = status.Convert(etcd).Message()
	}
	mine := ""
	if ours != nil {
		mine = ours.Error()
	}
	if theirs != mine {
		p.Fatalf("step %d: etcd says %q, we say %q to %s", p.step, theirs, mine, show(what))
	}
	return etcd == nil
}

func (p *pair) equal(what any, etcd, ours any) {
	p.Helper()
	if !reflect.DeepEqual(etcd, ours) {
		p.Fatalf("step %d: %s\netcd: %s\nours: %s", p.step, show(what), show(etcd), show(ours))
	}
}

func (p *pair) compareTxn(t TxnRequest) {
	res, err := p.kv.Txn(p.Context(), txnToPB(&t))
	ours := t.Validate(DefaultLimits)
	next, got := p.s, TxnResult{}
	if ours == nil {
		next, got, _, ours = p.s.Txn(t)
	}
	if p.same(t, err, ours) {
		want := txnFromPB(res)
		want.Revision = res.Header.Revision
		p.equal(t, want, &got)
		p.s = next
	}
}

func (p *pair) compareRange(r RangeRequest) {
	res, err := p.kv.Range(p.Context(), rangeToPB(&r))
	got, ours := p.s.Range(r)
	if p.same(r, err, ours) {
		p.equal(r, rangeFromPB(res), &got)
	}
}

func (p *pair) compareGrant() {
	id := p.leaseID()
	if id == 0 {
		return // etcd chooses an id then
	}
	_, err := p.lease.LeaseGrant(p.Context(), &etcdserverpb.LeaseGrantRequest{ID: id, TTL: 100_000})
	next, ours := p.s.Grant(id, 100_000)
	p.same(id, err, ours)
	p.s = next
}

func (p *pair) compareRevoke() {
	id := p.leaseID()
	res, err := p.lease.LeaseRevoke(p.Context(), &etcdserverpb.LeaseRevokeRequest{ID: id})
	next, _, ours := p.s.Revoke(id)
	if p.same(id, err, ours) {
		p.s = next
		p.equal(id, res.Header.Revision, p.s.Revision())
	}
}

func (p *pair) compareTimeToLive() {
	id := p.leaseID()
	res, err := p.lease.LeaseTimeToLive(p.Context(), &etcdserverpb.LeaseTimeToLiveRequest{ID: id, Keys: true})
	if err != nil {
		p.Fatal(err)
	}
	l, ok := p.s.Lease(id)
	if p.equal(id, res.TTL >= 0, ok); !ok {
		return
	}
	var keys []string
	for _, k := range res.Keys {
		keys = append(keys, string(k))
	}
	slices.Sort(keys)
	p.equal(id, append([]string{}, keys...), l.Keys())
	p.equal(id, res.GrantedTTL, l.TTL)
}

func (p *pair) compareCompact() {
	rev := 1 + max(0, p.s.Revision()-20) + p.r.Int64N(24)
	_, err := p.kv.Compact(p.Context(), &etcdserverpb.CompactionRequest{Revision: rev, Physical: true})
	next, ours := p.s.Compact(rev)
	p.same(rev, err, ours)
	p.s = next
}

func (p *pair) compareHistory() {
	ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
	defer cancel()
	// etcd 3.4 forgets deletions at the compacted revision itself (etcd#18089).
	from := p.s.CompactRevision() + 1
	stream, err := p.watch.Watch(ctx)
	if err != nil {
		p.Fatal(err)
	}
	err = stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
		CreateRequest: &etcdserverpb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: from, PrevKv: true},
	}})
	if err != nil {
		p.Fatal(err)
	}
	var want, got []Event
	if err := p.s.Events(from, fromKey, fromKey, func(_ int64, evs []Event) bool {
		got = append(got, evs...)
		return true
	}); err != nil {
		p.Fatal(err)
	}
	for len(want) < len(got) {
		res, err := stream.Recv()
		if err != nil {
			p.Fatalf("watch after %d of %d events: %v", len(want), len(got), err)
		}
		for _, ev := range res.Events {
			want = append(want, Event{Type: EventType(ev.Type), KV: kvFromPB(ev.Kv), Prev: kvFromPB(ev.PrevKv)})
		}
	}
	for i := range want {
		p.equal(i, want[i], got[i])
	}
	p.compared += len(want)
}

// Random requests. Twelve keys at most, so that etcd's sort, which is stable up to
// twelve elements only, leaves equal elements in the same order as ours.

func (p *pair) key() []byte { return []byte{'a' + byte(p.r.IntN(12))} }

func (p *pair) rangeEnd() []byte {
	switch p.r.IntN(4) {
	case 0:
		return p.key() // may be before the key
	case 1:
		return []byte{0}
	}
	return nil
}

func (p *pair) leaseID() int64 { return int64(p.r.IntN(6)) }

// revision is near the present, in the past, or in the future.
func (p *pair) revision() int64 {
	switch p.r.IntN(4) {
	case 0:
		return p.s.Revision() + 1 - p.r.Int64N(3)
	case 1:
		return max(0, p.s.Revision()-p.r.Int64N(40))
	}
	return 0
}

func (p *pair) bound() int64 {
	if p.r.IntN(4) > 0 {
		return 0
	}
	return max(0, p.s.Revision()-p.r.Int64N(15))
}

func (p *pair) value() []byte { return [][]byte{nil, []byte("x"), []byte("y"), {0, 0xff}}[p.r.IntN(4)] }

func (p *pair) rangeRequest() RangeRequest {
	return RangeRequest{
		Key: p.key(), RangeEnd: p.rangeEnd(), Revision: p.revision(), Limit: int64(max(0, p.r.IntN(8)-3)),
		SortOrder: SortOrder(p.r.IntN(3)), SortTarget: SortTarget(p.r.IntN(5)),
		MinModRevision: p.bound(), MaxModRevision: p.bound(), MinCreateRevision: p.bound(), MaxCreateRevision: p.bound(),
		KeysOnly: p.r.IntN(4) == 0, CountOnly: p.r.IntN(8) == 0,
	}
}

func (p *pair) write() Op {
	if p.r.IntN(3) == 0 {
		d := &DeleteRequest{Key: p.key(), PrevKV: p.r.IntN(2) == 0}
		if p.r.IntN(3) == 0 {
			d.RangeEnd = []byte{d.Key[0] + byte(p.r.IntN(4))}
		} else if p.r.IntN(30) == 0 {
			d.Key, d.RangeEnd = []byte("h"), []byte{0}
		}
		return Op{Delete: d}
	}
	put := &PutRequest{Key: p.key(), Value: p.value(), PrevKV: p.r.IntN(2) == 0}
	if p.r.IntN(3) == 0 {
		put.Lease = p.leaseID()
	}
	put.IgnoreValue, put.IgnoreLease = p.r.IntN(10) == 0, p.r.IntN(10) == 0
	if p.r.IntN(40) == 0 {
		put.Key = nil
	}
	return Op{Put: put}
}

func (p *pair) op(depth int) Op {
	switch n := p.r.IntN(10); {
	case n == 0 && depth > 0:
		t := p.txn(depth - 1)
		return Op{Txn: &t}
	case n < 4:
		r := p.rangeRequest()
		return Op{Range: &r}
	}
	op := p.write()
	if op.Delete != nil && bytes.Equal(op.Delete.RangeEnd, []byte{0}) {
		// etcd does not see that a from-key delete and a put meet in one
		// transaction; we refuse that, so it is not compared.
		op.Delete.RangeEnd = nil
	}
	return op
}

func (p *pair) txn(depth int) TxnRequest {
	var t TxnRequest
	for range p.r.IntN(3) {
		c := Compare{Key: p.key(), RangeEnd: p.rangeEnd(), Target: CompareTarget(p.r.IntN(5)), Result: CompareResult(p.r.IntN(4))}
		switch c.Target {
		case CompareValue:
			c.Value = p.value()
		case CompareVersion, CompareLease:
			c.Number = p.r.Int64N(6)
		default:
			c.Number = max(0, p.s.Revision()-p.r.Int64N(20)) * p.r.Int64N(2)
		}
		t.Compare = append(t.Compare, c)
	}
	for range p.r.IntN(4) {
		t.Success = append(t.Success, p.op(depth))
	}
	for range p.r.IntN(4) {
		t.Failure = append(t.Failure, p.op(depth))
	}
	return t
}

func show(v any) string { return string(jsonOf(v)) }
