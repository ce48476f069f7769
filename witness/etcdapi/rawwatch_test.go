package etcdapi_test

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// rawWatch is a watch stream without a client library that hides its messages.
type rawWatch struct {
	*testing.T
	s pb.Watch_WatchClient
}

func (s *server) dial() *grpc.ClientConn {
	s.Helper()
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (s *server) rawWatch(ctx context.Context, opts ...grpc.CallOption) *rawWatch {
	s.Helper()
	stream, err := pb.NewWatchClient(s.dial()).Watch(ctx, opts...)
	if err != nil {
		s.Fatal(err)
	}
	return &rawWatch{s.T, stream}
}

func (w *rawWatch) send(r *pb.WatchRequest) {
	w.Helper()
	if err := w.s.Send(r); err != nil {
		w.Fatal(err)
	}
}

func (w *rawWatch) create(r *pb.WatchCreateRequest) {
	w.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

func (w *rawWatch) cancel(id int64) {
	w.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (w *rawWatch) progress() {
	w.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

func (w *rawWatch) recv() *pb.WatchResponse {
	w.Helper()
	r, err := w.s.Recv()
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func TestWatchIDs(t *testing.T) {
	s := start(t)
	w := s.rawWatch(ctxOf(t))
	a := []byte("a")
	for _, c := range []struct{ ask, want int64 }{{0, 0}, {1, 1}, {0, 2}, {7, 7}} {
		w.create(&pb.WatchCreateRequest{Key: a, WatchId: c.ask})
		if r := w.recv(); !r.Created || r.Canceled || r.WatchId != c.want {
			t.Fatalf("asked for %d: %v", c.ask, r)
		}
	}
	w.create(&pb.WatchCreateRequest{Key: a, WatchId: 7})
	if r := w.recv(); !r.Created || !r.Canceled || r.WatchId != -1 || r.CancelReason != "mvcc: duplicate watch ID provided on the WatchStream" {
		t.Fatal(r)
	}
	w.cancel(99) // unknown: no answer
	for _, id := range []int64{0, 1, 2} {
		w.cancel(id)
		if r := w.recv(); !r.Canceled || r.WatchId != id {
			t.Fatal(r)
		}
	}
	s.post("/v3/kv/put", `{"key":"YQ=="}`)
	if r := w.recv(); r.WatchId != 7 || len(r.Events) != 1 {
		t.Fatal(r)
	}
}

// Progress must never be ahead of the events (kine#731), and says nothing while a
// watch of the stream begins in the future.
func TestProgressOnRequest(t *testing.T) {
	s := start(t)
	w := s.rawWatch(ctxOf(t))
	w.progress() // no watch, no answer
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.recv()
	for rev := int64(2); rev < 50; rev++ {
		s.post("/v3/kv/put", `{"key":"YQ=="}`)
		w.progress()
		if r := w.recv(); len(r.Events) != 1 || r.Events[0].Kv.ModRevision != rev {
			t.Fatalf("revision %d: %v", rev, r)
		}
		if r := w.recv(); len(r.Events) != 0 || r.WatchId != -1 || r.Header.Revision != rev {
			t.Fatalf("revision %d: %v", rev, r)
		}
	}
	w.create(&pb.WatchCreateRequest{Key: []byte("b"), StartRevision: 60})
	w.recv()
	w.progress()
	w.cancel(1)
	if r := w.recv(); !r.Canceled {
		t.Fatalf("progress of a stream with a watch in the future: %v", r)
	}
}

// The gateway half-closes after the body of its request; a client may do so too.
func TestWatchGoesOnAfterHalfClose(t *testing.T) {
	s := start(t)
	w := s.rawWatch(ctxOf(t))
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.recv()
	if err := w.s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.post("/v3/kv/put", `{"key":"YQ=="}`)
		if r := w.recv(); len(r.Events) != 1 {
			t.Fatal(r)
		}
	}
}

// Events of the compacted revision itself are still delivered.
func TestWatchFromTheCompactedRevision(t *testing.T) {
	s := start(t)
	for range 3 {
		s.post("/v3/kv/put", `{"key":"YQ=="}`)
	}
	s.post("/v3/kv/deleterange", `{"key":"YQ=="}`)
	s.post("/v3/kv/compaction", `{"revision":5}`)
	w := s.rawWatch(ctxOf(t))
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 5, PrevKv: true})
	w.recv()
	if r := w.recv(); len(r.Events) != 1 || r.Events[0].Type != 1 || r.Events[0].Kv.ModRevision != 5 {
		t.Fatal(r)
	}
}

// Prev_kv is the version of the revision before, also when one transaction puts a key
// and deletes it (found by TestDifferential).
func TestPrevIsOfTheRevisionBefore(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	ch := c.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	next(t, ch)
	if _, err := c.Put(ctx, "b", "old"); err != nil {
		t.Fatal(err)
	}
	next(t, ch)
	for _, key := range []string{"a", "b"} {
		// Etcd does not see a collision of two nested transactions if the put comes first.
		one := clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(key, "new")}, nil)
		two := clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete(key)}, nil)
		if _, err := c.Txn(ctx).Then(one, two).Commit(); err != nil {
			t.Fatal(err)
		}
		evs := next(t, ch).Events
		if len(evs) != 2 || evs[1].Type != clientv3.EventTypeDelete {
			t.Fatalf("%v", evs)
		}
		if prev := evs[1].PrevKv; key == "a" && prev != nil || key == "b" && (prev == nil || string(prev.Value) != "old") {
			t.Errorf("the deletion of %s has the version %v before it", key, prev)
		}
	}
}
