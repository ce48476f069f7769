package kv_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"quorate/witness/kv"
)

// world is a store under test with short ways to change it.
type world struct {
	*testing.T
	s *kv.Store
}

func newWorld(t *testing.T) *world { return &world{t, kv.New()} }

func (w *world) txn(t kv.TxnRequest) (kv.TxnResult, []kv.Event) {
	w.Helper()
	next, res, evs, err := w.s.Txn(t)
	if err != nil {
		w.Fatalf("transaction: %v", err)
	}
	w.s = next
	return res, evs
}

func (w *world) put(key, value string, lease int64) *kv.PutResult {
	w.Helper()
	res, _ := w.txn(kv.PutTxn(kv.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease, PrevKV: true}))
	return res.Responses[0].Put
}

func (w *world) del(key, end string) *kv.DeleteResult {
	w.Helper()
	res, _ := w.txn(kv.DeleteTxn(kv.DeleteRequest{Key: []byte(key), RangeEnd: []byte(end), PrevKV: true}))
	return res.Responses[0].Delete
}

func (w *world) grant(id int64) {
	w.Helper()
	next, err := w.s.Grant(id, 30)
	if err != nil {
		w.Fatalf("grant: %v", err)
	}
	w.s = next
}

func (w *world) wantRev(rev int64) {
	w.Helper()
	if w.s.Revision() != rev {
		w.Fatalf("revision %d, want %d", w.s.Revision(), rev)
	}
}

func (w *world) wantTxnErr(want error, t kv.TxnRequest) {
	w.Helper()
	next, _, evs, err := w.s.Txn(t)
	if !errors.Is(err, want) || next != w.s || evs != nil {
		w.Fatalf("error %v, want %v, and no change", err, want)
	}
}

// dump shows keys as name=value@create/mod/version/lease.
func dump(kvs []*kv.KeyValue) string {
	var b strings.Builder
	for _, k := range kvs {
		fmt.Fprintf(&b, "%s=%s@%d/%d/%d/%d ", k.Key, k.Value, k.CreateRevision, k.ModRevision, k.Version, k.Lease)
	}
	return strings.TrimSpace(b.String())
}

func (w *world) read(r kv.RangeRequest) string {
	w.Helper()
	res, err := w.s.Range(r)
	if err != nil {
		w.Fatalf("range: %v", err)
	}
	if res.Revision != w.s.Revision() {
		w.Fatalf("range shows revision %d, the store has %d", res.Revision, w.s.Revision())
	}
	return dump(res.KVs)
}

func (w *world) want(want string, r kv.RangeRequest) {
	w.Helper()
	if got := w.read(r); got != want {
		w.Fatalf("range %+v\n got %s\nwant %s", r, got, want)
	}
}

var all = kv.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}

func TestRevisions(t *testing.T) {
	w := newWorld(t)
	w.wantRev(1)
	w.put("a", "1", 0)
	w.wantRev(2)
	w.put("a", "2", 0)
	w.del("b", "")
	w.wantRev(3) // a delete that matches nothing changes nothing
	w.txn(kv.TxnRequest{Success: []kv.Op{{Range: &all}}})
	w.wantRev(3)
	_, evs := w.txn(kv.TxnRequest{Success: []kv.Op{
		{Put: &kv.PutRequest{Key: []byte("b")}},
		{Put: &kv.PutRequest{Key: []byte("c")}},
		{Delete: &kv.DeleteRequest{Key: []byte("a")}},
	}})
	w.wantRev(4)
	if len(evs) != 3 || evs[2].Type != kv.Delete || string(evs[2].Prev.Value) != "2" || evs[2].KV.ModRevision != 4 {
		t.Fatalf("events %+v", evs)
	}
	w.want("b=@4/4/1/0 c=@4/4/1/0", all)
	w.put("a", "3", 0)
	w.want("a=3@5/5/1/0 b=@4/4/1/0 c=@4/4/1/0", all) // a new life: create and version start again
}

func TestComparesAndBranchesAreChosenBeforeTheFirstWrite(t *testing.T) {
	w := newWorld(t)
	nested := kv.TxnRequest{
		Compare: []kv.Compare{{Key: []byte("a"), Target: kv.CompareCreate, Number: 0}},
		Success: []kv.Op{{Put: &kv.PutRequest{Key: []byte("absent"), Value: []byte("y")}}},
		Failure: []kv.Op{{Put: &kv.PutRequest{Key: []byte("present"), Value: []byte("y")}}},
	}
	res, _ := w.txn(kv.TxnRequest{Success: []kv.Op{{Put: &kv.PutRequest{Key: []byte("a")}}, {Txn: &nested}, {Range: &all}}})
	if !res.Responses[1].Txn.Succeeded || res.Responses[1].Txn.Revision != 0 {
		t.Fatalf("nested result %+v", res.Responses[1].Txn)
	}
	if got := dump(res.Responses[2].Range.KVs); got != "a=@2/2/1/0 absent=y@2/2/1/0" {
		t.Fatalf("a read after writes of its transaction sees %s", got)
	}
}

func TestCompareTable(t *testing.T) {
	w := newWorld(t)
	w.grant(7)
	w.put("a", "m", 0)
	w.put("a", "n", 7)
	w.put("b", "n", 0)
	for _, c := range []struct {
		cmp  kv.Compare
		want bool
	}{
		{kv.Compare{Key: []byte("a"), Target: kv.CompareVersion, Number: 2}, true},
		{kv.Compare{Key: []byte("a"), Target: kv.CompareCreate, Number: 2}, true},
		{kv.Compare{Key: []byte("a"), Target: kv.CompareMod, Number: 2}, false},
		{kv.Compare{Key: []byte("a"), Target: kv.CompareMod, Number: 2, Result: kv.Greater}, true},
		{kv.Compare{Key: []byte("a"), Target: kv.CompareMod, Number: 3, Result: kv.Less}, false},
		{kv.Compare{Key: []byte("a"), Target: kv.CompareLease, Number: 7}, true},
		{kv.Compare{Key: []byte("a"), Target: kv.CompareValue, Value: []byte("n")}, true},
		{kv.Compare{Key: []byte("a"), Target: kv.CompareValue, Value: []byte("z"), Result: kv.Less}, true},
		{kv.Compare{Key: []byte("x"), Target: kv.CompareCreate}, true},
		{kv.Compare{Key: []byte("x"), Target: kv.CompareVersion, Result: kv.Greater}, false},
		{kv.Compare{Key: []byte("x"), Target: kv.CompareLease, Result: kv.NotEqual}, false},
		{kv.Compare{Key: []byte("x"), Target: kv.CompareValue}, false},
		{kv.Compare{Key: []byte("x"), Target: kv.CompareValue, Value: []byte("q"), Result: kv.NotEqual}, false},
		{kv.Compare{Key: []byte("a"), RangeEnd: []byte("c"), Target: kv.CompareValue, Value: []byte("n")}, true},
		{kv.Compare{Key: []byte("a"), RangeEnd: []byte("c"), Target: kv.CompareVersion, Number: 2}, false},
		{kv.Compare{Key: []byte("a"), RangeEnd: []byte{0}, Target: kv.CompareVersion, Result: kv.Greater}, true},
	} {
		res, _ := w.txn(kv.TxnRequest{Compare: []kv.Compare{c.cmp}})
		if res.Succeeded != c.want {
			t.Errorf("%+v: %v", c.cmp, res.Succeeded)
		}
	}
}

func TestLeases(t *testing.T) {
	w := newWorld(t)
	w.grant(7)
	w.grant(8)
	w.wantRev(1) // leases do not touch the revision
	if _, err := w.s.Grant(7, 30); !errors.Is(err, kv.ErrLeaseExists) {
		t.Fatalf("second grant: %v", err)
	}
	if _, err := w.s.Grant(9, kv.MaxLeaseTTL+1); !errors.Is(err, kv.ErrLeaseTTLTooLarge) {
		t.Fatalf("huge ttl: %v", err)
	}
	w.wantTxnErr(kv.ErrLeaseNotFound, kv.TxnRequest{Success: []kv.Op{
		{Put: &kv.PutRequest{Key: []byte("z")}}, {Put: &kv.PutRequest{Key: []byte("y"), Lease: 99}},
	}})
	w.put("b", "", 7)
	w.put("a", "", 7)
	w.put("c", "", 7)
	w.put("c", "", 8) // moves
	w.put("d", "", 8)
	w.put("d", "", 0) // detaches
	l7, _ := w.s.Lease(7)
	l8, _ := w.s.Lease(8)
	if fmt.Sprint(l7.Keys(), l8.Keys()) != "[a b] [c]" {
		t.Fatalf("keys %v and %v", l7.Keys(), l8.Keys())
	}
	rev := w.s.Revision()
	next, evs, err := w.s.Revoke(7)
	if err != nil || len(evs) != 2 || string(evs[0].KV.Key) != "a" || next.Revision() != rev+1 {
		t.Fatalf("revoke: %v %v at %d", evs, err, next.Revision())
	}
	w.s = next
	w.want("c=@4/5/2/8 d=@6/7/2/0", all)
	if _, _, err := w.s.Revoke(7); !errors.Is(err, kv.ErrLeaseNotFound) {
		t.Fatalf("second revoke: %v", err)
	}
}

func TestDeadLeaseKeepsItsKeysAndRefusesPuts(t *testing.T) {
	w := newWorld(t)
	w.grant(7)
	w.put("leader", "pg1", 7)
	before, _ := w.s.Lease(7)
	dead, err := w.s.Kill(7)
	if err != nil || dead.Revision() != 2 || dead.Get("leader") == nil {
		t.Fatalf("kill: %v", err)
	}
	w.s = dead
	w.wantTxnErr(kv.ErrLeaseNotFound, kv.PutTxn(kv.PutRequest{Key: []byte("leader"), Lease: 7}))
	if _, err := w.s.Grant(7, 30); !errors.Is(err, kv.ErrLeaseExists) {
		t.Fatalf("grant over a dead lease: %v", err)
	}
	if again, err := w.s.Kill(7); err != nil || again != w.s {
		t.Fatalf("second kill: %v", err)
	}
	live, _ := w.s.Revive(7)
	l, _ := live.Lease(7)
	if l.Dead || l.Epoch <= before.Epoch {
		t.Fatalf("revived lease %+v, before %+v", l, before)
	}
	gone, evs, err := dead.Revoke(7)
	if err != nil || len(evs) != 1 || gone.Len() != 0 {
		t.Fatalf("revoke of a dead lease: %v", err)
	}
	fresh, _ := gone.Grant(7, 30)
	if l2, _ := fresh.Lease(7); l2.Epoch <= before.Epoch {
		t.Fatal("a lease id that is used again has its old epoch")
	}
}

func TestIgnoreValueAndLease(t *testing.T) {
	w := newWorld(t)
	w.grant(7)
	w.wantTxnErr(kv.ErrKeyNotFound, kv.PutTxn(kv.PutRequest{Key: []byte("a"), IgnoreValue: true}))
	w.put("a", "1", 7)
	w.txn(kv.PutTxn(kv.PutRequest{Key: []byte("a"), IgnoreLease: true, Value: []byte("2")}))
	w.want("a=2@2/3/2/7", all)
	w.txn(kv.PutTxn(kv.PutRequest{Key: []byte("a"), IgnoreValue: true}))
	w.want("a=2@2/4/3/0", all)
}

func TestValidate(t *testing.T) {
	put := func(k string) kv.Op { return kv.Op{Put: &kv.PutRequest{Key: []byte(k)}} }
	del := func(k, e string) kv.Op {
		return kv.Op{Delete: &kv.DeleteRequest{Key: []byte(k), RangeEnd: []byte(e)}}
	}
	nest := func(then, other []kv.Op) kv.Op { return kv.Op{Txn: &kv.TxnRequest{Success: then, Failure: other}} }
	many := make([]kv.Op, 129)
	for i := range many {
		many[i] = put(fmt.Sprint(i))
	}
	deep := put("a")
	for range 200 {
		deep = nest([]kv.Op{deep}, nil)
	}
	for name, c := range map[string]struct {
		want error
		ops  []kv.Op
	}{
		"empty key":                  {kv.ErrEmptyKey, []kv.Op{put("")}},
		"empty key in a delete":      {kv.ErrEmptyKey, []kv.Op{del("", "")}},
		"empty key in a range":       {kv.ErrEmptyKey, []kv.Op{{Range: &kv.RangeRequest{}}}},
		"no request":                 {kv.ErrKeyNotFound, []kv.Op{{}}},
		"two requests in one":        {kv.ErrKeyNotFound, []kv.Op{{Put: &kv.PutRequest{Key: []byte("a")}, Range: &all}}},
		"value and ignore_value":     {kv.ErrValueProvided, []kv.Op{{Put: &kv.PutRequest{Key: []byte("a"), Value: []byte("v"), IgnoreValue: true}}}},
		"lease and ignore_lease":     {kv.ErrLeaseProvided, []kv.Op{{Put: &kv.PutRequest{Key: []byte("a"), Lease: 1, IgnoreLease: true}}}},
		"sort":                       {kv.ErrInvalidSort, []kv.Op{{Range: &kv.RangeRequest{Key: []byte("a"), SortOrder: 3}}}},
		"two puts":                   {kv.ErrDuplicateKey, []kv.Op{put("a"), put("a")}},
		"put in a deleted range":     {kv.ErrDuplicateKey, []kv.Op{del("a", "c"), put("b")}},
		"put after from-key delete":  {kv.ErrDuplicateKey, []kv.Op{del("a", "\x00"), put("b")}},
		"put beside a range":         {nil, []kv.Op{del("a", "c"), put("c")}},
		"two deletes":                {nil, []kv.Op{del("a", ""), del("a", "c")}},
		"both branches of one":       {nil, []kv.Op{nest([]kv.Op{put("a")}, []kv.Op{put("a")})}},
		"two nested":                 {kv.ErrDuplicateKey, []kv.Op{nest([]kv.Op{put("a")}, nil), nest(nil, []kv.Op{put("a")})}},
		"nested put under a delete":  {kv.ErrDuplicateKey, []kv.Op{nest(nil, []kv.Op{put("a")}), del("a", "")}},
		"put against nested delete":  {kv.ErrDuplicateKey, []kv.Op{put("a"), nest([]kv.Op{del("a", "b")}, nil)}},
		"129 operations":             {kv.ErrTooManyOps, many},
		"128 operations":             {nil, many[1:]},
		"nested counts on top":       {kv.ErrTooManyOps, []kv.Op{nest(many[1:], nil)}},
		"200 levels":                 {kv.ErrTooManyOps, []kv.Op{deep}},
		"2 MiB":                      {kv.ErrTooLarge, []kv.Op{{Put: &kv.PutRequest{Key: []byte("a"), Value: make([]byte, 2<<20)}}}},
		"2 MiB in a nested txn":      {kv.ErrTooLarge, []kv.Op{nest(nil, []kv.Op{{Put: &kv.PutRequest{Key: []byte("a"), Value: make([]byte, 2<<20)}}})}},
		"nothing at all":             {nil, nil},
		"fault in the unused branch": {kv.ErrEmptyKey, []kv.Op{nest(nil, []kv.Op{put("")})}},
	} {
		if err := (kv.TxnRequest{Success: c.ops}).Validate(kv.DefaultLimits); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	noKey := kv.TxnRequest{Compare: []kv.Compare{{}}}
	if err := noKey.Validate(kv.DefaultLimits); !errors.Is(err, kv.ErrEmptyKey) {
		t.Errorf("compare without a key: %v", err)
	}
}

func TestTheRequestIsItsLogEntry(t *testing.T) {
	req := kv.TxnRequest{
		Compare: []kv.Compare{{Key: []byte{0xff, 0}, Target: kv.CompareMod, Result: kv.Less, Number: 1 << 60}},
		Success: []kv.Op{{Put: &kv.PutRequest{Key: []byte("a"), Value: []byte{0xfe}, Lease: -1, PrevKV: true}}},
		Failure: []kv.Op{{Txn: &kv.TxnRequest{Success: []kv.Op{{Range: &all}}}}, {Delete: &kv.DeleteRequest{Key: []byte("b")}}},
	}
	first, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	var back kv.TxnRequest
	if err := json.Unmarshal(first, &back); err != nil {
		t.Fatal(err)
	}
	if second, _ := json.Marshal(back); !bytes.Equal(first, second) {
		t.Fatalf("%s became %s", first, second)
	}
}
