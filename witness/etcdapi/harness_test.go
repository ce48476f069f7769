package etcdapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"quorate/witness/etcdapi"
	"quorate/witness/kv"
)

// backend is the in-memory one with faults to switch on.
type backend struct {
	*etcdapi.Memory
	leaderless atomic.Bool
	guarded    atomic.Pointer[string] // key that nobody may put
	refusal    error                  // of the guarded key, nil = ErrGuarded
	stuck      atomic.Bool            // writes hang until the caller gives up
	txns       atomic.Int64
	returning  atomic.Bool   // nobody is powering the holder off
	moved      atomic.Uint64 // member that was made the leader
	extra      atomic.Int64  // seconds that leases have on top
}

func (b *backend) TimeToLive(ctx context.Context, id int64) (int64, error) {
	left, err := b.Memory.TimeToLive(ctx, id)
	return left + b.extra.Load(), err
}

func (b *backend) Fencing(int64) bool { return !b.returning.Load() }

func (b *backend) MoveLeader(_ context.Context, id uint64) error {
	b.moved.Store(id)
	return nil
}

func (b *backend) Status() etcdapi.Status {
	st := b.Memory.Status()
	if b.leaderless.Load() {
		st.LeaderID, st.HasLeader = 0, false
	}
	return st
}

func (b *backend) Barrier(context.Context) error {
	if b.leaderless.Load() {
		return etcdapi.ErrNoLeader
	}
	return nil
}

func (b *backend) Txn(ctx context.Context, t kv.TxnRequest) (kv.TxnResult, error) {
	b.txns.Add(1)
	if b.stuck.Load() {
		<-ctx.Done()
		return kv.TxnResult{}, ctx.Err()
	}
	if g := b.guarded.Load(); g != nil && len(t.Success) == 1 && t.Success[0].Put != nil && string(t.Success[0].Put.Key) == *g {
		if b.refusal != nil {
			return kv.TxnResult{}, b.refusal
		}
		return kv.TxnResult{}, fmt.Errorf("%w: pg1 is being fenced", etcdapi.ErrGuarded)
	}
	return b.Memory.Txn(ctx, t)
}

// kill marks a lease dead behind the API's back.
func (b *backend) kill(t *testing.T, id int64) {
	t.Helper()
	if err := b.Memory.Kill(id); err != nil {
		t.Fatal(err)
	}
}

// server is a running Server.
type server struct {
	*testing.T
	srv  *etcdapi.Server
	b    *backend
	addr string
	stop func() error // ends Run and returns what it returned
}

type option func(*etcdapi.Server)

func start(t *testing.T, opts ...option) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	b := &backend{Memory: etcdapi.NewMemory(etcdapi.Member{ID: 7, Name: "w1", ClientURLs: []string{"http://" + addr}})}
	s := &server{T: t, b: b, addr: addr, srv: &etcdapi.Server{
		Listener: l, Backend: b, Log: slog.New(slog.DiscardHandler),
	}}
	for _, o := range opts {
		o(s.srv)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, expired := make(chan error, 1), make(chan error, 1)
	go func() { done <- s.srv.Run(ctx) }()
	go func() { expired <- b.Memory.Run(ctx) }()
	var result error
	var once atomic.Bool
	s.stop = func() error {
		if once.CompareAndSwap(false, true) {
			cancel()
			result = <-done
			<-expired
		}
		return result
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return s
}

func (s *server) client(change ...func(*clientv3.Config)) *clientv3.Client {
	s.Helper()
	cfg := clientv3.Config{Endpoints: []string{s.addr}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()}
	for _, c := range change {
		c(&cfg)
	}
	c, err := clientv3.New(cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// object is a decoded JSON object.
type object = map[string]any

func (s *server) post(path, body string) (int, object) {
	s.Helper()
	res, err := http.Post("http://"+s.addr+path, "application/json", bytes.NewBufferString(body))
	if err != nil {
		s.Fatalf("POST %s: %v", path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatalf("POST %s: %v", path, err)
	}
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		s.Fatalf("POST %s: %v in %s", path, err, b)
	}
	return res.StatusCode, o
}

// want posts and compares the decoded reply with the golden one.
func (s *server) want(path, body string, code int, golden string) {
	s.Helper()
	gotCode, got := s.post(path, body)
	var want object
	if err := json.Unmarshal([]byte(golden), &want); err != nil {
		s.Fatalf("golden reply: %v", err)
	}
	if gotCode != code || !reflect.DeepEqual(got, want) {
		b, _ := json.Marshal(got)
		s.Fatalf("POST %s %s\n got %d %s\nwant %d %s", path, body, gotCode, b, code, golden)
	}
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition on a machine that may be busy.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("after 30 s still not: %s", what)
}

func timeout(d time.Duration) option { return func(s *etcdapi.Server) { s.Timeout = d } }

func withTLS(cfg *tls.Config) option { return func(s *etcdapi.Server) { s.TLS = cfg } }

func every(d time.Duration) option { return func(s *etcdapi.Server) { s.ProgressInterval = d } }
