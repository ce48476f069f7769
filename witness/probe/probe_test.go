package probe

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
	"quorate/witness/kv"
)

// log commits at once; it can be cut off.
type log struct {
	mu      sync.Mutex
	state   *witness.State
	began   time.Time
	cutOff  bool
	entries int
	reports []witness.Observation
}

var _ Node = (*log)(nil)

func (l *log) Name() string             { return "w1" }
func (l *log) Changed() <-chan struct{} { return nil }

func (l *log) State() *witness.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *log) Propose(_ context.Context, cmd witness.Command) (witness.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cutOff {
		return witness.Result{}, witness.ErrNoQuorum
	}
	var res witness.Result
	l.state, res, _ = l.state.Apply(witness.Entry{Index: l.state.Index + 1, Term: 1, Stamp: witness.Stamp{Time: time.Since(l.began)}, Cmd: cmd})
	if o, ok := cmd.(witness.Observe); ok {
		l.entries++
		l.reports = append(l.reports, o.Items...)
	}
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
}

func (l *log) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *log) down(kind string) (down, known bool) {
	for _, s := range l.State().Host("h1").Signals {
		if s.Kind == kind && s.Witness == "w1" {
			return s.Down, true
		}
	}
	return false, false
}

// world is the network that the probes see.
type world struct {
	mu    sync.Mutex
	open  map[string]bool
	conns map[string]int
}

func (w *world) dial(_ context.Context, _, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.open[addr] {
		return nil, errors.New("connection refused")
	}
	a, b := net.Pipe()
	_ = b.Close()
	return a, nil
}

func (w *world) Connections() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for ip, n := range w.conns {
		out[ip] = n
	}
	return out
}

func (w *world) set(f func()) {
	w.mu.Lock()
	f()
	w.mu.Unlock()
}

const (
	api = "10.0.0.1:8008"
	sql = "10.0.0.1:5432"
)

// watch runs a reporter over one host with one member and calls check in the
// same bubble.
func watch(t *testing.T, check func(l *log, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &log{state: witness.New(), began: time.Now()}
		w := &world{open: map[string]bool{api: true, sql: true}, conns: map[string]int{"10.0.0.1": 2}}
		ctx, cancel := context.WithCancel(t.Context())
		for _, cmd := range []witness.Command{
			witness.Configure{Config: witness.Config{
				Hosts:    []witness.Host{{Name: "h1", Addresses: []string{"10.0.0.1"}}},
				Clusters: []witness.ClusterSpec{{Name: "demo", Kind: witness.KindPatroni, Fencing: witness.FencingNone, Members: []witness.MemberSpec{{Name: "pg1", Host: "h1"}}}},
			}},
			witness.Txn{Req: kv.PutTxn(kv.PutRequest{
				Key:   []byte("/service/demo/members/pg1"),
				Value: []byte(`{"role":"master","state":"running","api_url":"http://` + api + `/patroni","conn_url":"postgres://` + sql + `/postgres"}`),
			})},
		} {
			if _, err := l.Propose(ctx, cmd); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		r := &Reporter{Node: l, Sessions: w, Dial: w.dial, Log: slog.New(slog.DiscardHandler)}
		go func() { done <- r.Run(ctx) }()
		time.Sleep(2 * time.Second)
		check(l, w)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestHealthyHostCostsOneEntry(t *testing.T) {
	watch(t, func(l *log, _ *world) {
		time.Sleep(time.Hour)
		if down, known := l.down(witness.SignalSession); down || !known {
			t.Errorf("session: down=%v known=%v, want a known connection", down, known)
		}
		if _, known := l.down(witness.SignalReach); known || l.entries != 1 {
			t.Errorf("a healthy host cost %d entries in an hour, want 1 (its session)", l.entries)
		}
	})
}

func TestReachNeedsAllServicesSilent(t *testing.T) {
	watch(t, func(l *log, w *world) {
		w.set(func() { w.open[sql] = false })
		time.Sleep(time.Minute)
		if down, _ := l.down(witness.SignalReach); down {
			t.Fatal("a host whose Patroni answers is called unreachable")
		}
		w.set(func() { w.open[api] = false })
		time.Sleep(900 * time.Millisecond)
		if down, _ := l.down(witness.SignalReach); down {
			t.Fatal("called unreachable after fewer than three rounds")
		}
		time.Sleep(time.Second)
		if down, _ := l.down(witness.SignalReach); !down {
			t.Fatal("three failed rounds are no sign")
		}
		w.set(func() { w.open[api] = true })
		time.Sleep(time.Second)
		if down, _ := l.down(witness.SignalReach); down {
			t.Error("a host that answers again is still called unreachable")
		}
	})
}

func TestDownIsAssertedAgain(t *testing.T) {
	watch(t, func(l *log, w *world) {
		w.set(func() { w.open = map[string]bool{} })
		time.Sleep(3 * time.Second)
		before := l.entries
		time.Sleep(10 * witness.SignalRefresh)
		if again := l.entries - before; again < 8 || again > 12 {
			t.Errorf("asserted again %d times in ten intervals", again)
		}
	})
}

func TestSessionLostAfterGrace(t *testing.T) {
	watch(t, func(l *log, w *world) {
		w.set(func() { w.conns = nil })
		time.Sleep(500 * time.Millisecond)
		w.set(func() { w.conns = map[string]int{"10.0.0.1": 1} })
		time.Sleep(5 * time.Second)
		if down, _ := l.down(witness.SignalSession); down {
			t.Fatal("a client that only reconnected is called gone")
		}
		w.set(func() { w.conns = nil })
		time.Sleep(2 * time.Second)
		if down, _ := l.down(witness.SignalSession); !down {
			t.Error("a client without connections is not called gone")
		}
	})
}

func TestReportsWhatItMissedWhileCutOff(t *testing.T) {
	watch(t, func(l *log, w *world) {
		l.set(func() { l.cutOff = true })
		w.set(func() { w.open = map[string]bool{} })
		time.Sleep(5 * time.Second)
		l.set(func() { l.cutOff = false })
		time.Sleep(time.Second)
		if down, _ := l.down(witness.SignalReach); !down {
			t.Error("what happened while cut off is not reported afterwards")
		}
	})
}

func TestMemberWithoutKeyIsNotProbed(t *testing.T) {
	watch(t, func(l *log, w *world) {
		w.set(func() { w.open = map[string]bool{} })
		if _, err := l.Propose(t.Context(), witness.Txn{Req: kv.DeleteTxn(kv.DeleteRequest{Key: []byte("/service/demo/members/pg1")})}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if _, known := l.down(witness.SignalReach); known {
			t.Error("a host without a reporting member got a verdict")
		}
	})
}
