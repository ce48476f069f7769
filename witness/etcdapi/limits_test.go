package etcdapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"quorate/witness/etcdapi"
)

func limits(l etcdapi.Limits) option { return func(s *etcdapi.Server) { s.Limits = l } }

// wantClosed waits for the end of a connection by the server.
func wantClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	var timeout net.Error
	if _, err := io.Copy(io.Discard, conn); errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("the connection is still open")
	}
}

func (s *server) connect() net.Conn {
	s.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestConnectionsAreBounded(t *testing.T) {
	for name, l := range map[string]etcdapi.Limits{"of all hosts": {Conns: 3}, "of one host": {ConnsPerHost: 3}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, limits(l))
			var open []net.Conn
			for range 3 {
				open = append(open, s.connect())
			}
			eventually(t, "three connections", func() bool { list := s.srv.Sessions(); return len(list) == 1 && list[0].Conns == 3 })
			wantClosed(t, s.connect())
			_ = open[0].Close()
			eventually(t, "room", func() bool { list := s.srv.Sessions(); return len(list) == 1 && list[0].Conns == 2 })
			s.want("/v3/kv/put", `{"key":"YQ=="}`, 200, `{`+header(2)+`}`)
		})
	}
}

func TestWatchesAreBounded(t *testing.T) {
	s := start(t, limits(etcdapi.Limits{WatchesPerStream: 3, Watches: 5}))
	create := func(w *rawWatch) *pb.WatchResponse {
		w.create(&pb.WatchCreateRequest{Key: []byte("a")})
		return w.recv()
	}
	first, ctx := s.rawWatch(ctxOf(t)), ctxOf(t)
	for range 3 {
		if r := create(first); r.Canceled {
			t.Fatal(r)
		}
	}
	if r := create(first); !r.Canceled || !r.Created || !strings.Contains(r.CancelReason, "too many watches") {
		t.Fatal(r)
	}
	ctx2, cancel := context.WithCancel(ctx)
	second := s.rawWatch(ctx2)
	create(second)
	create(second)
	if r := create(second); !r.Canceled {
		t.Fatalf("the sixth watch: %v", r)
	}
	w := s.watch(`{"create_request":{"key":"YQ=="}}`)
	if o := w.next(); o["canceled"] != true {
		t.Fatal(o)
	}
	w.wantEnd()
	// What is cancelled, and what a stream leaves behind, is given back.
	first.cancel(0)
	first.recv()
	if r := create(first); r.Canceled {
		t.Fatal(r)
	}
	cancel()
	eventually(t, "the watches of a stream that is gone do not count", func() bool {
		w := s.watch(`{"create_request":{"key":"YQ=="}}`)
		ok := w.next()["canceled"] != true
		_ = w.body.Close()
		return ok
	})
}

// A body that trickles in must not hold a request for ever; a watch reads its
// connection on after its body and must not be hit by the same limit.
func TestTricklingBodies(t *testing.T) {
	s := start(t, limits(etcdapi.Limits{BodyTime: 300 * time.Millisecond}))
	watch := s.watch(`{"create_request":{"key":"YQ=="}}`)
	watch.next()
	begin := time.Now()
	for _, request := range []string{"POST /v3/kv/put", "POST /v3/watch", "GET /version", "GET /health", "GET /livez", "POST /nothing"} {
		conn := s.connect()
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", request)
		wantClosed(t, conn)
	}
	if time.Since(begin) < 300*time.Millisecond {
		t.Fatal("the watch was not open for longer than the limit")
	}
	// A keepalive stream is quiet between its requests, and a unary call is not.
	ctx := ctxOf(t)
	stream, err := s.dial().NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/etcdserverpb.KV/Put")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&pb.PutResponse{}); err == nil || ctx.Err() != nil {
		t.Fatalf("a call without its request: %v", err)
	}
	s.post("/v3/kv/put", `{"key":"YQ=="}`)
	if got := watch.events(watch.next()); got != ":YQ==@2" {
		t.Fatal(got)
	}
}

// The time that a body takes to arrive is not taken from that of its answer.
func TestSlowBodyIsAnswered(t *testing.T) {
	const short = 500 * time.Millisecond
	s := start(t, timeout(short), limits(etcdapi.Limits{BodyTime: time.Minute}))
	conn, body := s.connect(), `{"key":"YQ=="}`
	fmt.Fprintf(conn, "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:1])
	time.Sleep(2 * short)
	_, _ = io.WriteString(conn, body[1:])
	buf := make([]byte, 4<<10)
	if n, err := conn.Read(buf); err != nil || !strings.Contains(string(buf[:n]), "200 OK") {
		t.Fatalf("%s %v", buf[:n], err)
	}
}

// A client that leaves data untaken is dropped: nothing is queued for it, and what it
// pins does not stay.
func TestWatchersThatDoNotReadAreDropped(t *testing.T) {
	s := start(t, limits(etcdapi.Limits{Patience: 300 * time.Millisecond}))
	conn := s.connect().(*net.TCPConn)
	_ = conn.SetReadBuffer(4 << 10)
	body := `{"create_request":{"key":"YQ=="}}`
	fmt.Fprintf(conn, "POST /v3/watch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	raw := s.rawWatch(ctxOf(t)) // its library takes 64 KiB and no more
	raw.create(&pb.WatchCreateRequest{Key: []byte("a")})
	watching := func() (n int) {
		for _, info := range s.srv.Sessions() {
			n += info.Watches
		}
		return n
	}
	eventually(t, "two watches", func() bool { return watching() == 2 })
	good := s.client().Watch(ctxOf(t), "a", clientv3.WithCreatedNotify())
	next(t, good)
	value, last := b64(strings.Repeat("x", 256<<10)), int64(0)
	eventually(t, "the two are dropped", func() bool {
		s.post("/v3/kv/put", `{"key":"YQ==","value":"`+value+`"}`)
		rev := s.b.Store().Revision()
		if rev > 20 {
			s.post("/v3/kv/compaction", fmt.Sprintf(`{"revision":"%d"}`, rev-10))
		}
		for last < rev {
			last = next(t, good).Header.Revision
		}
		return watching() == 1
	})
}

// When the quota is used up only what makes the key space smaller is served.
func TestQuota(t *testing.T) {
	s, ctx := start(t, limits(etcdapi.Limits{QuotaBytes: 1 << 20})), ctxOf(t)
	c := s.client()
	var err error
	for n := 0; err == nil && n < 100; n++ {
		_, err = c.Put(ctx, fmt.Sprint("k", n), strings.Repeat("x", 64<<10))
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatal(err)
	}
	s.want("/v3/kv/put", `{"key":"YQ=="}`, 429,
		`{"code":8,"message":"etcdserver: mvcc: database space exceeded","error":"etcdserver: mvcc: database space exceeded"}`)
	nested := clientv3.OpTxn(nil, nil, []clientv3.Op{clientv3.OpPut("a", "")})
	if _, err := c.Txn(ctx).Then(nested).Commit(); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatal(err)
	}
	if _, err := c.Grant(ctx, 60); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatal(err)
	}
	alarms, err := c.AlarmList(ctx)
	if err != nil || len(alarms.Alarms) != 1 || alarms.Alarms[0].Alarm != pb.AlarmType_NOSPACE || alarms.Alarms[0].MemberID != 7 {
		t.Fatalf("%v %v", alarms, err)
	}
	if st, err := c.Status(ctx, s.addr); err != nil || len(st.Errors) != 1 || st.DbSizeQuota != 1<<20 || st.DbSize <= st.DbSizeQuota {
		t.Fatalf("%v %v", st, err)
	}
	if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: 7, Alarm: pb.AlarmType_NOSPACE}); err == nil {
		t.Fatal("the alarm was disarmed while the quota is used up")
	}
	if _, err := c.Get(ctx, "k0"); err != nil {
		t.Fatal(err)
	}
	del, err := c.Delete(ctx, "k", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compact(ctx, del.Header.Revision); err != nil {
		t.Fatal(err)
	}
	if alarms, err := c.AlarmList(ctx); err != nil || len(alarms.Alarms) != 0 {
		t.Fatalf("%v %v", alarms, err)
	}
	if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(ctx, "a", ""); err != nil {
		t.Fatal(err)
	}
}

// Patroni sends head and body in two segments and waits with the second for the
// acknowledgement of the first. Ours must not be the one that is delayed by 40 ms.
func TestSmallSegmentsAreAcknowledgedAtOnce(t *testing.T) {
	s := start(t)
	conn := s.connect().(*net.TCPConn)
	if err := conn.SetNoDelay(false); err != nil {
		t.Fatal(err)
	}
	body := `{"key":"YQ=="}`
	buf := make([]byte, 4<<10)
	fast := 0
	for range 50 {
		begin := time.Now()
		fmt.Fprintf(conn, "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
		_, _ = io.WriteString(conn, body)
		if n, err := conn.Read(buf); err != nil || !strings.Contains(string(buf[:n]), "200 OK") {
			t.Fatalf("%s %v", buf[:n], err)
		}
		// No delayed acknowledgement of Linux is shorter than 40 ms: one answer in
		// less time is one that did not wait for it.
		if time.Since(begin) < 40*time.Millisecond {
			fast++
		}
	}
	if fast < 25 {
		t.Errorf("only %d of 50 requests were answered before a delayed acknowledgement could come", fast)
	}
}

func TestMoveLeader(t *testing.T) {
	s, ctx := start(t), ctxOf(t)
	c := s.client()
	if _, err := c.MoveLeader(ctx, 7); err != nil || s.b.moved.Load() != 7 {
		t.Fatal(err, s.b.moved.Load())
	}
	if _, err := c.MoveLeader(ctx, 8); !errors.Is(err, rpctypes.ErrBadLeaderTransferee) {
		t.Fatal(err)
	}
}
