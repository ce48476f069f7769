package etcdapi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quorate/witness/etcdapi"
)

func TestKeyspaceOverGRPC(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	for i := range 5 {
		if _, err := c.Put(ctx, fmt.Sprint("k", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	put, err := c.Put(ctx, "k0", "w", clientv3.WithPrevKV())
	if err != nil || string(put.PrevKv.Value) != "v" || put.Header.Revision != 7 || put.Header.MemberId != 7 {
		t.Fatalf("%v %v", put, err)
	}
	get, err := c.Get(ctx, "k", clientv3.WithPrefix(), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend))
	if err != nil || len(get.Kvs) != 2 || string(get.Kvs[0].Key) != "k0" || get.Count != 5 || !get.More {
		t.Fatalf("%v %v", get, err)
	}
	old, err := c.Get(ctx, "k0", clientv3.WithRev(2))
	if err != nil || string(old.Kvs[0].Value) != "v" || old.Header.Revision != 7 {
		t.Fatalf("%v %v", old, err)
	}
	txn, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Version("k0"), "=", 2), clientv3.Compare(clientv3.LeaseValue("k0"), "=", 0)).
		Then(clientv3.OpPut("k9", "x"), clientv3.OpGet("k9"), clientv3.OpDelete("k1")).Else().Commit()
	if err != nil || !txn.Succeeded || len(txn.Responses) != 3 || txn.Responses[1].GetResponseRange().Kvs[0].ModRevision != 8 ||
		txn.Responses[0].GetResponsePut().Header.Revision != 8 {
		t.Fatalf("%v %v", txn, err)
	}
	// Reads in a transaction need no write.
	before := s.b.txns.Load()
	read, err := c.Txn(ctx).Then(clientv3.OpGet("k9")).Commit()
	if err != nil || read.Header.Revision != 8 || s.b.txns.Load() != before {
		t.Fatalf("%v %v", read, err)
	}
	del, err := c.Delete(ctx, "", clientv3.WithFromKey(), clientv3.WithPrevKV())
	if err != nil || del.Deleted != 5 || len(del.PrevKvs) != 5 {
		t.Fatalf("%v %v", del, err)
	}
	if _, err := c.Put(ctx, "a", "", clientv3.WithLease(99)); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Fatal(err)
	}
	if _, err := c.Put(ctx, "a", strings.Repeat("x", 1600<<10)); !errors.Is(err, rpctypes.ErrRequestTooLarge) {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, "a", clientv3.WithRev(99)); !errors.Is(err, rpctypes.ErrFutureRev) {
		t.Fatal(err)
	}
}

func TestLeasesOverGRPC(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	l, err := c.Grant(ctx, 600)
	if err != nil || l.ID == 0 || l.TTL != 600 {
		t.Fatalf("%v %v", l, err)
	}
	if _, err := c.Put(ctx, "a", "", clientv3.WithLease(l.ID)); err != nil {
		t.Fatal(err)
	}
	ttl, err := c.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
	if err != nil || ttl.GrantedTTL != 600 || ttl.TTL < 500 || string(ttl.Keys[0]) != "a" {
		t.Fatalf("%v %v", ttl, err)
	}
	alive, err := c.KeepAlive(ctx, l.ID)
	if err != nil {
		t.Fatal(err)
	}
	if ka := <-alive; ka == nil || ka.TTL != 600 {
		t.Fatalf("%v", ka)
	}
	if all, err := c.Leases(ctx); err != nil || len(all.Leases) != 1 {
		t.Fatalf("%v %v", all, err)
	}
	if _, err := c.Revoke(ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.KeepAliveOnce(ctx, l.ID); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Fatal(err)
	}
	if s.b.Store().Len() != 0 {
		t.Fatal("the key outlived its lease")
	}
	// A dead lease looks like one that is gone, and does not disturb the stream.
	dead, _ := c.Grant(ctx, 600)
	s.b.kill(t, int64(dead.ID))
	if _, err := c.KeepAliveOnce(ctx, dead.ID); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Fatal(err)
	}
	short, _ := c.Grant(ctx, 1)
	if _, err := c.Put(ctx, "b", "", clientv3.WithLease(short.ID)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lease of one second has ended", func() bool { return s.b.Store().Len() == 0 })
}

// next returns the next response of a watch, which must come.
func next(t *testing.T, ch clientv3.WatchChan) clientv3.WatchResponse {
	t.Helper()
	select {
	case r, ok := <-ch:
		if !ok {
			t.Fatal("watch channel is closed")
		}
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("no watch response")
	}
	return clientv3.WatchResponse{}
}

func TestWatchesOnOneStream(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	all := c.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	if r := next(t, all); !r.Created || r.Header.Revision != 1 {
		t.Fatalf("%+v", r)
	}
	subCtx, cancel := context.WithCancel(ctx)
	deletes := c.Watch(subCtx, "k1", clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	next(t, deletes)
	future := c.Watch(ctx, "k1", clientv3.WithRev(4), clientv3.WithCreatedNotify())
	next(t, future)
	for _, v := range []string{"1", "2"} { // revisions 2 and 3
		if _, err := c.Put(ctx, "k1", v); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Delete(ctx, "k1"); err != nil { // 4
		t.Fatal(err)
	}
	for i, want := range []string{"", "1", "2"} {
		ev := next(t, all).Events[0]
		if want != "" && string(ev.PrevKv.GetValue()) != want || ev.Kv.ModRevision != int64(i+2) {
			t.Fatalf("event %d: %v", i, ev)
		}
	}
	for _, ch := range []clientv3.WatchChan{deletes, future} {
		if r := next(t, ch); len(r.Events) != 1 || r.Events[0].Type != mvccpb.Event_DELETE || r.Events[0].Kv.ModRevision != 4 || r.Events[0].PrevKv != nil {
			t.Fatalf("%+v", r)
		}
	}
	cancel()
	for range deletes { // ends with the cancellation, the others go on
	}
	if _, err := c.Put(ctx, "k1", "3"); err != nil {
		t.Fatal(err)
	}
	if r := next(t, future); r.Events[0].Kv.ModRevision != 5 {
		t.Fatalf("%+v", r)
	}
	if _, err := c.Compact(ctx, 5); err != nil {
		t.Fatal(err)
	}
	if r := next(t, c.Watch(ctx, "k1", clientv3.WithRev(2))); r.CompactRevision != 5 || !errors.Is(r.Err(), rpctypes.ErrCompacted) {
		t.Fatalf("%+v", r)
	}
}

func TestLongCatchUpComesInOrder(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	const n = 2500
	for range n {
		s.post("/v3/kv/put", `{"key":"YQ=="}`)
	}
	ch := c.Watch(ctx, "a", clientv3.WithRev(2), clientv3.WithFragment())
	for want := int64(2); want < n+2; {
		for _, ev := range next(t, ch).Events {
			if ev.Kv.ModRevision != want {
				t.Fatalf("revision %d, want %d", ev.Kv.ModRevision, want)
			}
			want++
		}
	}
}

func TestLargeRevisionsAreFragmentedOnlyIfAsked(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	value := strings.Repeat("x", 1<<20)
	l, err := c.Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if _, err := c.Put(ctx, fmt.Sprint("k", i), value, clientv3.WithLease(l.ID)); err != nil {
			t.Fatal(err)
		}
	}
	// Deleted in one revision; with the previous values that is 4 MiB.
	if _, err := c.Revoke(ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	// The client joins fragments; what its messages may hold shows that there were any.
	small := s.client(func(cfg *clientv3.Config) { cfg.MaxCallRecvMsgSize = 2 << 20 })
	r := next(t, small.Watch(ctx, "k", clientv3.WithFragment(), clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(6)))
	if len(r.Events) != 4 {
		t.Fatalf("%d events", len(r.Events))
	}
	raw := s.rawWatch(ctx, grpc.MaxCallRecvMsgSize(2<<20))
	raw.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), PrevKv: true, StartRevision: 6})
	raw.recv()
	if _, err := raw.s.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("a message of 4 MiB came through 2 MiB: %v", err)
	}
	if r := next(t, c.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(6))); len(r.Events) != 4 {
		t.Fatalf("%d events", len(r.Events))
	}
}

func TestProgressNotifications(t *testing.T) {
	s, ctx := start(t, func(s *etcdapi.Server) { s.ProgressInterval = 50 * time.Millisecond }), ctxOf(t)
	c := s.client()
	quiet := c.Watch(ctx, "quiet", clientv3.WithProgressNotify())
	if r := next(t, quiet); !r.IsProgressNotify() || r.Header.Revision != 1 {
		t.Fatalf("%+v", r)
	}
	if _, err := c.Put(ctx, "other", ""); err != nil {
		t.Fatal(err)
	}
	for r := next(t, quiet); r.Header.Revision != 2; r = next(t, quiet) {
		if !r.IsProgressNotify() {
			t.Fatalf("%+v", r)
		}
	}
}

func TestConcurrencyRecipes(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	first, err := concurrency.NewSession(c, concurrency.WithTTL(60))
	if err != nil {
		t.Fatal(err)
	}
	second, err := concurrency.NewSession(c, concurrency.WithTTL(60))
	if err != nil {
		t.Fatal(err)
	}
	m1, m2 := concurrency.NewMutex(first, "/lock"), concurrency.NewMutex(second, "/lock")
	if err := m1.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m2.TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() { got <- m2.Lock(ctx) }()
	if err := first.Close(); err != nil { // revokes the lease
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	e := concurrency.NewElection(second, "/election")
	if err := e.Campaign(ctx, "me"); err != nil {
		t.Fatal(err)
	}
	if r, err := e.Leader(ctx); err != nil || string(r.Kvs[0].Value) != "me" {
		t.Fatalf("%v %v", r, err)
	}
	if err := e.Resign(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestLeaderlessOverGRPC(t *testing.T) {
	s, ctx := start(t, timeout(300*time.Millisecond)), ctxOf(t)
	c := s.client()
	plain := c.Watch(ctx, "a", clientv3.WithCreatedNotify())
	next(t, plain)
	needy := c.Watch(clientv3.WithRequireLeader(ctx), "a", clientv3.WithCreatedNotify())
	next(t, needy)
	s.b.leaderless.Store(true)
	if r := next(t, needy); !errors.Is(r.Err(), rpctypes.ErrNoLeader) {
		t.Fatalf("%+v %v", r, r.Err())
	}
	if _, err := c.Get(ctx, "a", clientv3.WithSerializable()); err != nil {
		t.Fatalf("serializable read: %v", err)
	}
	if _, err := c.Get(clientv3.WithRequireLeader(ctx), "a", clientv3.WithSerializable()); !errors.Is(err, rpctypes.ErrNoLeader) {
		t.Fatalf("serializable read that requires a leader: %v", err)
	}
	if _, err := c.Put(ctx, "a", ""); !errors.Is(err, rpctypes.ErrNoLeader) {
		t.Fatalf("put: %v", err)
	}
	st, err := c.Status(ctx, s.addr)
	if err != nil || st.Leader != 0 || len(st.Errors) != 1 {
		t.Fatalf("%v %v", st, err)
	}
	s.b.leaderless.Store(false)
	if _, err := c.Put(ctx, "a", ""); err != nil {
		t.Fatal(err)
	}
	if r := next(t, plain); len(r.Events) != 1 {
		t.Fatalf("the watch that does not require a leader has ended: %+v", r)
	}
}

func TestMaintenanceAndCluster(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	if err := c.Sync(ctx); err != nil || c.Endpoints()[0] != "http://"+s.addr {
		t.Fatalf("%v %v", c.Endpoints(), err)
	}
	st, err := c.Status(ctx, s.addr)
	if err != nil || st.Version != etcdapi.Version || st.Leader != 7 || st.RaftTerm != 1 {
		t.Fatalf("%v %v", st, err)
	}
	if a, err := c.AlarmList(ctx); err != nil || len(a.Alarms) != 0 {
		t.Fatalf("%v %v", a, err)
	}
	h1, err := c.HashKV(ctx, s.addr, 0)
	if err != nil || h1.HashRevision != 1 {
		t.Fatalf("%v %v", h1, err)
	}
	if _, err := c.Put(ctx, "a", ""); err != nil {
		t.Fatal(err)
	}
	if h2, err := c.HashKV(ctx, s.addr, 0); err != nil || h2.Hash == h1.Hash {
		t.Fatalf("%v %v", h2, err)
	}
	if _, err := c.Defragment(ctx, s.addr); err != nil {
		t.Fatal(err)
	}
	if _, err := c.MemberAdd(ctx, []string{"http://127.0.0.1:1"}); err == nil {
		t.Fatal("a member was added over the etcd API")
	}
	// A password that nobody asked for does not keep a client out.
	p := s.client(func(cfg *clientv3.Config) { cfg.Username, cfg.Password = "patroni", "secret" })
	if _, err := p.Get(ctx, "a"); err != nil {
		t.Fatal(err)
	}
}

// A put that is wrong in two ways gets etcd's answer: outside of a transaction that is
// about the lease, in one about the key.
func TestUnknownLeaseComesFirst(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	put := clientv3.OpPut("absent", "", clientv3.WithLease(99), clientv3.WithIgnoreValue())
	c := s.client()
	if _, err := c.Do(ctx, put); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Error(err)
	}
	if _, err := c.Txn(ctx).Then(put).Commit(); !errors.Is(err, rpctypes.ErrKeyNotFound) {
		t.Error(err)
	}
	// A new leader may count some time on top; a client is never told of it.
	l, err := c.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	s.b.extra.Store(5)
	if r, err := c.TimeToLive(ctx, l.ID); err != nil || r.TTL != 60 {
		t.Errorf("%v %v", r, err)
	}
}
