package etcdapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quorate/witness/kv"
)

// TestBugTable has a row for each known bug of etcd, of kine (which serves the same
// API over databases) and of their clients that this API must not have. Each fails if
// we had it. Rows that need several nodes or pauses are tests of other packages; for
// those it is checked that the test is there.
func TestBugTable(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"kine731-progress-overtakes-events":   progressOvertakesEvents,
		"kine268-progress-of-quiet-watch":     progressOfQuietWatch,
		"kine250-progress-while-behind":       progressWhileBehind,
		"kine238-events-dropped":              eventsDropped,
		"kine215-old-revision-read-as-new":    oldRevisionReadAsNew,
		"kine231-future-revision-answered":    futureRevisionAnswered,
		"kine595-header-of-asked-revision":    headerOfAskedRevision,
		"kine391-created-key-missing":         createdKeyMissing,
		"kine408-deleted-keys-reappear":       deletedKeysReappear,
		"kine311-restart-after-compaction":    restartAfterCompaction,
		"kine386-lease-calls-unsupported":     leaseCallsUnsupported,
		"kine-design-any-transaction":         anyTransaction,
		"kine-design-lease-id-is-ttl":         leaseIDIsTTL,
		"kine-design-watch-ends-on-eof":       TestWatchGoesOnAfterHalfClose,
		"kine-design-headers":                 fullHeaders,
		"kine-design-read-options":            readOptions,
		"etcd18089-deletion-at-compaction":    TestWatchFromTheCompactedRevision,
		"etcd19179-deletion-at-compaction":    deletionInTheMiddleOfCompaction,
		"etcd21671-keepalive-without-leader":  keepaliveWithoutLeader,
		"vip-manager394-lost-watch-is-silent": lostWatchIsSilent,
		"vip-manager431-cancel-is-silent":     cancelIsSilent,

		"etcd12528-expiry-of-a-stale-leader":   tested("../node", "TestExpiryIsNeverForwarded"),
		"etcd15247-renewal-by-a-stale-leader":  tested("../node", "TestIsolatedLeaderAcknowledgesNothing"),
		"etcd9395-ttl-reset-by-leader-changes": tested("../node", "TestFlappingLeadersDoNotKeepALease"),
		"etcd13294-ttl-reset-by-crashes":       tested("../node", "TestUnrenewedLeaseEndsAfterLeaderCrash"),
		"etcd13491-checkpoint-shortens":        tested("../node", "TestLateRenewalsOutliveLeaderChanges"),
		"etcd17132-checkpoint-wrong-lease":     tested("..", "TestCheckpoint"),
		"etcd17642-ttl-garbage":                tested("../../cmd/witnessd", "TestTimeToLiveDuringLeaderChanges"),
		"etcd9496-cost-of-promotion":           tested("../../cmd/witnessd", "TestPromotionWithManyLeases"),
		"patroni3420-inflated-term":            tested("../../cmd/witnessd", "TestTermOfAWitnessAlone"),
	} {
		t.Run(name, test)
	}
}

// tested says that a row is the business of another package's test.
func tested(folder, prefix string) func(*testing.T) {
	return func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if raw, err := os.ReadFile(name); err == nil && strings.Contains(string(raw), "\nfunc "+prefix) {
				return
			}
		}
		t.Errorf("no test in %s is called %s…: this row has lost its test", folder, prefix)
	}
}

// A client that saw progress at a revision never looks for older events again.
func progressOvertakesEvents(t *testing.T) {
	s := start(t)
	ctx, cancel := context.WithCancel(ctxOf(t))
	w := s.rawWatch(ctx)
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.recv()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for ctx.Err() == nil {
			_, _ = s.b.Txn(ctx, kv.PutTxn(kv.PutRequest{Key: []byte("a")}))
			time.Sleep(20 * time.Microsecond) // leaves the processor to the stream
		}
	})
	seen := int64(1)
	w.progress()
	for answers := 0; answers < 1000; {
		r := w.recv()
		for _, ev := range r.Events {
			if ev.Kv.ModRevision != seen+1 {
				t.Fatalf("event %d after %d", ev.Kv.ModRevision, seen)
			}
			seen++
		}
		if len(r.Events) == 0 {
			answers++
			w.progress() // the next, in the midst of the writes
			if r.Header.Revision > seen {
				t.Fatalf("progress says %d, but the last event was of %d", r.Header.Revision, seen)
			}
		}
	}
}

func progressOfQuietWatch(t *testing.T) {
	s := start(t, every(20*time.Millisecond))
	w := s.rawWatch(ctxOf(t))
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), ProgressNotify: true})
	w.create(&pb.WatchCreateRequest{Key: []byte("b")}) // has not asked for it
	seen := map[int64]int64{}
	for rev := int64(2); rev < 40; rev++ {
		s.post("/v3/kv/put", `{"key":"YQ=="}`)
	}
	for seen[0] < 39 || seen[99] < 3 {
		r := w.recv()
		switch {
		case r.WatchId == 1 && !r.Created:
			t.Fatalf("a watch that did not ask: %v", r)
		case len(r.Events) > 0:
			seen[0] = r.Events[len(r.Events)-1].Kv.ModRevision
		case !r.Created && r.Header.Revision > max(seen[0], 1):
			t.Fatalf("progress %d before the events after %d", r.Header.Revision, seen[0])
		case !r.Created && seen[0] == 39:
			seen[99]++
		}
	}
}

// While a watch catches up, progress must not claim the present.
func progressWhileBehind(t *testing.T) {
	s := start(t)
	for range 3000 {
		_, _ = s.b.Txn(t.Context(), kv.PutTxn(kv.PutRequest{Key: []byte("a")}))
	}
	w := s.rawWatch(ctxOf(t))
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 2})
	w.progress()
	seen := int64(1)
	for {
		r := w.recv()
		for range r.Events {
			seen++
		}
		if !r.Created && len(r.Events) == 0 {
			if r.Header.Revision != 3001 || seen != 3001 {
				t.Fatalf("progress says %d after the events up to %d", r.Header.Revision, seen)
			}
			return
		}
	}
}

// A watch gets every event, or learns at once that some are gone.
func eventsDropped(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	for range 50 {
		_, _ = s.b.Txn(ctx, kv.PutTxn(kv.PutRequest{Key: []byte("a")}))
	}
	if err := s.b.Compact(ctx, 40); err != nil {
		t.Fatal(err)
	}
	w := s.rawWatch(ctx)
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 39})
	w.recv()
	if r := w.recv(); !r.Canceled || r.CompactRevision != 40 || len(r.Events) > 0 {
		t.Fatalf("%v", r)
	}
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 40})
	w.recv()
	for want := int64(40); want <= 51; {
		for _, ev := range w.recv().Events {
			if ev.Kv.ModRevision != want {
				t.Fatalf("event %d, want %d", ev.Kv.ModRevision, want)
			}
			want++
		}
	}
}

func oldRevisionReadAsNew(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	for i := range 5 {
		if _, err := c.Put(ctx, "a", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := c.Get(ctx, "a", clientv3.WithRev(3)); err != nil || string(r.Kvs[0].Value) != "1" || r.Kvs[0].ModRevision != 3 {
		t.Fatalf("%v %v", r, err)
	}
	if r, err := c.Get(ctx, "a", clientv3.WithRev(1)); err != nil || len(r.Kvs) != 0 || r.Count != 0 {
		t.Fatalf("before the key was there: %v %v", r, err)
	}
	if _, err := c.Compact(ctx, 4); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, "a", clientv3.WithRev(3)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Fatal(err)
	}
}

func futureRevisionAnswered(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	for _, opts := range [][]clientv3.OpOption{nil, {clientv3.WithSerializable()}, {clientv3.WithPrefix(), clientv3.WithCountOnly()}} {
		if _, err := c.Get(ctx, "a", append(opts, clientv3.WithRev(2))...); !errors.Is(err, rpctypes.ErrFutureRev) {
			t.Fatal(err)
		}
	}
	if _, err := c.Txn(ctx).Then(clientv3.OpPut("a", ""), clientv3.OpGet("a", clientv3.WithRev(2))).Commit(); !errors.Is(err, rpctypes.ErrFutureRev) {
		t.Fatalf("its own revision is in the future of a transaction: %v", err)
	}
	if s.b.Store().Revision() != 1 {
		t.Fatal("a refused transaction has written")
	}
}

func headerOfAskedRevision(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	for range 4 {
		if _, err := c.Put(ctx, "a", ""); err != nil {
			t.Fatal(err)
		}
	}
	for rev := int64(2); rev <= 5; rev++ {
		r, err := c.Get(ctx, "a", clientv3.WithRev(rev))
		if err != nil || r.Header.Revision != 5 {
			t.Fatalf("%v %v", r, err)
		}
		n, err := c.Get(ctx, "a", clientv3.WithRev(rev), clientv3.WithCountOnly())
		if err != nil || n.Header.Revision != 5 {
			t.Fatalf("%v %v", n, err)
		}
	}
}

func createdKeyMissing(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	for i := range 50 {
		key := fmt.Sprint("k", i)
		txn, err := c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).Then(clientv3.OpPut(key, "v")).Else(clientv3.OpGet(key)).Commit()
		if err != nil || !txn.Succeeded {
			t.Fatalf("%v %v", txn, err)
		}
		r, err := c.Get(ctx, key)
		if err != nil || len(r.Kvs) != 1 || r.Kvs[0].CreateRevision != txn.Header.Revision || r.Kvs[0].Version != 1 {
			t.Fatalf("%v %v", r, err)
		}
		if all, err := c.Get(ctx, "k", clientv3.WithPrefix(), clientv3.WithSerializable()); err != nil || len(all.Kvs) != i+1 || all.Count != int64(i+1) {
			t.Fatalf("%v %v", all, err)
		}
	}
}

func deletedKeysReappear(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	for _, op := range []clientv3.Op{
		clientv3.OpPut("a", "1"), clientv3.OpPut("b", "1"), clientv3.OpDelete("a"), clientv3.OpPut("a", "2"), clientv3.OpDelete("a"), clientv3.OpPut("c", ""),
	} {
		if _, err := c.Do(ctx, op); err != nil {
			t.Fatal(err)
		}
	}
	for rev := int64(3); rev <= 7; rev++ {
		if _, err := c.Compact(ctx, rev); err != nil {
			t.Fatal(err)
		}
		for at := rev; at <= 7; at++ {
			r, err := c.Get(ctx, "a", clientv3.WithRev(at))
			if err != nil || (len(r.Kvs) == 1) != (at == 2 || at == 3 || at == 5) {
				t.Fatalf("compacted %d, read at %d: %v %v", rev, at, r, err)
			}
		}
		if r, err := c.Get(ctx, "", clientv3.WithFromKey()); err != nil || r.Count != 2 || string(r.Kvs[0].Key) != "b" {
			t.Fatalf("%v %v", r, err)
		}
	}
}

// A node that starts again after everything alive is older than the compaction.
func restartAfterCompaction(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	for i := range 10 {
		_, _ = s.b.Txn(ctx, kv.PutTxn(kv.PutRequest{Key: fmt.Appendf(nil, "k%d", i)}))
	}
	_, _ = s.b.Txn(ctx, kv.PutTxn(kv.PutRequest{Key: []byte("x")}))
	_, _ = s.b.Txn(ctx, kv.DeleteTxn(kv.DeleteRequest{Key: []byte("x")}))
	if err := s.b.Compact(ctx, 13); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(s.b.Store())
	if err != nil {
		t.Fatal(err)
	}
	var again kv.Store
	if err := json.Unmarshal(raw, &again); err != nil {
		t.Fatal(err)
	}
	if again.Revision() != 13 || again.Len() != 10 || again.Digest() != s.b.Store().Digest() {
		t.Fatalf("revision %d with %d keys", again.Revision(), again.Len())
	}
	next, res, _, err := again.Txn(kv.PutTxn(kv.PutRequest{Key: []byte("k0"), PrevKV: true}))
	if err != nil || next.Revision() != 14 || res.Responses[0].Put.Prev.ModRevision != 2 {
		t.Fatalf("%v %v", res, err)
	}
}

func leaseCallsUnsupported(t *testing.T) {
	s := start(t)
	s.want("/v3/lease/grant", `{"ID":"5","TTL":"60"}`, 200, `{`+header(1)+`,"ID":"5","TTL":"60"}`)
	s.want("/v3/lease/keepalive", `{"ID":"5"}`, 200, `{"result":{`+header(1)+`,"ID":"5","TTL":"60"}}`)
	if code, o := s.post("/v3/lease/timetolive", `{"ID":"5","keys":true}`); code != 200 || o["grantedTTL"] != "60" {
		t.Fatal(code, o)
	}
	s.want("/v3/lease/leases", `{}`, 200, `{`+header(1)+`,"leases":[{"ID":"5"}]}`)
	s.want("/v3/lease/revoke", `{"ID":"5"}`, 200, `{`+header(1)+`}`)
}

// Transactions of no pattern that anybody has foreseen.
func anyTransaction(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	r, err := c.Txn(ctx).If(
		clientv3.Compare(clientv3.Value("none"), "!=", "x"), // false: an absent key has no value
	).Else(
		clientv3.OpPut("a", "1"), clientv3.OpPut("b", "2"), clientv3.OpDelete("c", clientv3.WithPrefix()),
		clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision("a"), "<", 9).WithPrefix()}, []clientv3.Op{clientv3.OpPut("d", "")}, nil),
		clientv3.OpGet("", clientv3.WithFromKey(), clientv3.WithSort(clientv3.SortByVersion, clientv3.SortDescend)),
	).Commit()
	if err != nil || r.Succeeded || len(r.Responses) != 5 || r.Responses[4].GetResponseRange().Count != 3 || s.b.Store().Revision() != 2 {
		t.Fatalf("%v %v", r, err)
	}
}

func leaseIDIsTTL(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	a, errA := c.Grant(ctx, 60)
	b, errB := c.Grant(ctx, 60)
	if errA != nil || errB != nil || a.ID == b.ID || a.ID == 60 || b.ID == 60 {
		t.Fatalf("%v %v", a, b)
	}
	if _, err := c.Put(ctx, "a", "", clientv3.WithLease(a.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Revoke(ctx, b.ID); err != nil || s.b.Store().Len() != 1 {
		t.Fatal("the end of one lease has taken the key of another: ", err)
	}
}

func fullHeaders(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	put, err := c.Put(ctx, "a", "")
	if err != nil {
		t.Fatal(err)
	}
	get, _ := c.Get(ctx, "a")
	del, _ := c.Delete(ctx, "a")
	txn, _ := c.Txn(ctx).Then(clientv3.OpPut("a", "")).Commit()
	l, _ := c.Grant(ctx, 60)
	ka, _ := c.KeepAliveOnce(ctx, l.ID)
	for i, h := range []*pb.ResponseHeader{put.Header, get.Header, del.Header, txn.Header, l.ResponseHeader, ka.ResponseHeader} {
		if h.GetClusterId() == 0 || h.MemberId == 0 || h.RaftTerm == 0 || h.Revision == 0 {
			t.Errorf("reply %d: %v", i, h)
		}
	}
	if txn.Responses[0].GetResponsePut().Header.Revision != 4 {
		t.Error("Stolon reads the revision of the nested header")
	}
}

func readOptions(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	for _, k := range []string{"b", "a", "c", "a"} {
		if _, err := c.Put(ctx, k, "v"); err != nil {
			t.Fatal(err)
		}
	}
	for want, opts := range map[string][]clientv3.OpOption{
		"cba": {clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)},
		"acb": {clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend)},
		"bac": {clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend)},
		"ac":  {clientv3.WithMinModRev(4)},
		"b":   {clientv3.WithMaxModRev(2), clientv3.WithSerializable()},
		"c":   {clientv3.WithMinCreateRev(4), clientv3.WithKeysOnly()},
		"ab":  {clientv3.WithMaxCreateRev(3)},
		"a":   {clientv3.WithLimit(1)},
	} {
		r, err := c.Get(ctx, "", append(opts, clientv3.WithFromKey())...)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, k := range r.Kvs {
			got += string(k.Key)
		}
		if got != want || r.Count != 3 {
			t.Errorf("%q, want %q (count %d)", got, want, r.Count)
		}
	}
}

// Deletions between and at compactions, of one and of many keys.
func deletionInTheMiddleOfCompaction(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	for i := range 6 {
		if _, err := c.Put(ctx, fmt.Sprint("k", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []string{"k0", "k1", "k2"} { // 8, 9, 10
		if _, err := c.Delete(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Delete(ctx, "k", clientv3.WithPrefix()); err != nil { // 11
		t.Fatal(err)
	}
	for rev := int64(8); rev <= 11; rev++ {
		if _, err := c.Compact(ctx, rev); err != nil {
			t.Fatal(err)
		}
		wctx, cancel := context.WithCancel(ctx)
		ch, got := c.Watch(wctx, "k", clientv3.WithPrefix(), clientv3.WithRev(rev)), 0
		for want := int(11-rev) + 3; got < want; {
			for _, ev := range next(t, ch).Events {
				if ev.Type != mvccpb.Event_DELETE {
					t.Fatal(ev)
				}
				got++
			}
		}
		cancel()
	}
}

func keepaliveWithoutLeader(t *testing.T) {
	s, ctx := start(t, timeout(100*time.Millisecond)), ctxOf(t)
	c := s.client()
	l, err := c.Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	s.b.leaderless.Store(true)
	stream, err := pb.NewLeaseClient(s.dial()).LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(l.ID)}); err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Fatalf("%v %v", r, err)
	}
}

// A client that holds an address because of what it watches must notice that nobody
// watches any more.
func lostWatchIsSilent(t *testing.T) {
	s, ctx := start(t, timeout(100*time.Millisecond)), ctxOf(t)
	needy := s.client().Watch(clientv3.WithRequireLeader(ctx), "a", clientv3.WithCreatedNotify())
	next(t, needy)
	json := s.watch(`{"create_request":{"key":"YQ=="}}`)
	json.next()
	s.b.leaderless.Store(true)
	if r := next(t, needy); !errors.Is(r.Err(), rpctypes.ErrNoLeader) {
		t.Fatalf("%+v", r)
	}
	json.wantBroken()
}

func cancelIsSilent(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	for range 5 {
		s.post("/v3/kv/put", `{"key":"YQ=="}`)
	}
	s.post("/v3/kv/compaction", `{"revision":"5"}`)
	ch := s.client().Watch(ctx, "a", clientv3.WithRev(2))
	if r := next(t, ch); r.Err() == nil || !r.Canceled || r.CompactRevision != 5 {
		t.Fatalf("%+v", r)
	}
	if _, open := <-ch; open {
		t.Fatal("the watch goes on")
	}
	json := s.watch(`{"create_request":{"key":"YQ==","start_revision":"2"}}`)
	json.next()
	if o := json.next(); o["canceled"] != true {
		t.Fatal(o)
	}
	json.wantEnd()
}
