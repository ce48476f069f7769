package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quorate/fencing"
	"quorate/witness"
)

// bmc is a device whose answers a test sets.
type bmc struct {
	mu    sync.Mutex
	state fencing.PowerState
	fault string

	warning string
	hangs   bool
	checks  int
	orders  []string
}

func (b *bmc) set(edit func(*bmc)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	edit(b)
}

func (b *bmc) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.checks
}

func (b *bmc) done() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.orders, " ")
}

// handle is one opening of it.
type handle struct{ *bmc }

var _ fencing.Device = handle{}

func (h handle) Name() string { return "bmc" }

func (h handle) Read(ctx context.Context) (fencing.Reading, error) {
	h.mu.Lock()
	state, hangs, fault := h.state, h.hangs, h.fault
	h.mu.Unlock()
	switch {
	case hangs:
		<-ctx.Done()
		return fencing.Reading{}, ctx.Err()
	case fault != "":
		return fencing.Reading{}, errors.New(fault)
	}
	return fencing.Reading{State: state, Raw: string(state), At: time.Now(), Proves: fencing.GradeObservedOff}, nil
}

func (h handle) command(ctx context.Context, to fencing.PowerState) error {
	if _, err := h.Read(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.orders, h.state = append(h.orders, string(to)), to
	return nil
}

func (h handle) Off(ctx context.Context) error       { return h.command(ctx, fencing.PowerOff) }
func (h handle) On(ctx context.Context) error        { return h.command(ctx, fencing.PowerOn) }
func (h handle) Close(context.Context) error         { return nil }
func (h handle) String() string                      { return "bmc" }
func (b *bmc) open(map[string]string) fencing.Device { return handle{b} }

func (h handle) Check(ctx context.Context) (fencing.Readiness, error) {
	h.mu.Lock()
	h.checks++
	warning := h.warning
	h.mu.Unlock()
	r, err := h.Read(ctx)
	out := fencing.Readiness{Reading: r}
	if warning != "" {
		out.Warnings = []string{warning}
	}
	if err != nil {
		out.Faults = []string{err.Error()}
	}
	return out, err
}

func fencer(b *bmc) *Fencer {
	return &Fencer{Drivers: map[string]Driver{"fake": func(s map[string]string) (fencing.Device, error) { return b.open(s), nil }}}
}

func check(t *testing.T, n *node, b *bmc) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	c := &Checker{Node: n, Fencer: fencer(b), Log: slog.New(slog.DiscardHandler)}
	go func() { done <- c.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func TestOnlyEdgesAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		b := &bmc{state: fencing.PowerOn}
		n := &node{cluster: c, name: "w2"}
		stop := check(t, n, b)
		defer stop()
		time.Sleep(10 * time.Minute)
		if ready, _ := n.State().Readiness("h1", "w2"); ready != witness.ReadyYes {
			t.Fatalf("h1 from w2: %s, paths %+v", ready, n.State().Host("h1").Paths)
		}
		index, checks := n.State().Index, b.count()
		time.Sleep(2 * time.Hour)
		if n.State().Index != index {
			t.Errorf("two quiet hours wrote %d entries", n.State().Index-index)
		}
		if more := b.count() - checks; more < 3*20 || more > 3*31 {
			t.Errorf("%d checks of three hosts in two hours: want one in about five minutes each", more)
		}

		// A BMC that restarts is no news; one that stays away is, once.
		b.set(func(b *bmc) { b.fault = "401 the password was changed" })
		time.Sleep(20 * time.Minute)
		h := n.State().Host("h1")
		if len(h.Paths) != 1 || h.Paths[0].Ready || !strings.Contains(h.Paths[0].Detail, "401") {
			t.Errorf("paths %+v", h.Paths)
		}
		if !n.State().NobodyCan("h1") || n.State().Index != index+3 {
			t.Errorf("unfenceable %v, %d entries for three hosts", n.State().NobodyCan("h1"), n.State().Index-index)
		}
		alerts := 0
		for _, ev := range n.State().Events(0) {
			if ev.Kind == "unfenceable" && ev.Level == witness.LevelAlert && strings.Contains(ev.Text, "401") {
				alerts++
			}
		}
		if alerts != 3 {
			t.Errorf("%d alerts for three hosts", alerts)
		}
	})
}

func TestOneFailureIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		b := &bmc{state: fencing.PowerOn}
		n := &node{cluster: c, name: "w1"}
		stop := check(t, n, b)
		defer stop()
		time.Sleep(10 * time.Minute)
		index := n.State().Index
		b.set(func(b *bmc) { b.fault = "connection refused" })
		for before := b.count(); b.count() < before+3; {
			time.Sleep(time.Second) // each host fails once; it is looked at again 15 s later
			if b.count() > before {
				b.set(func(b *bmc) { b.fault = "" })
			}
		}
		time.Sleep(time.Hour)
		if n.State().Index != index {
			t.Errorf("a BMC that was away once wrote %d entries", n.State().Index-index)
		}
	})
}

func TestAStateThatNobodyUnderstandsIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		got, err := fencer(&bmc{state: fencing.PowerUnknown}).Check(t.Context(), c.state, "h1")
		if err != nil || got.Devices[0].Ready {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := fencer(&bmc{}).Check(t.Context(), c.state, "nosuch"); witness.ErrorCode(err) != witness.CodeNotFound {
			t.Errorf("no such host: %v", err)
		}
		// A silent BMC has its deadline.
		began := time.Now()
		got, err = fencer(&bmc{hangs: true}).Check(t.Context(), c.state, "h1")
		if err != nil || got.Devices[0].Ready || time.Since(began) > 6*time.Second {
			t.Errorf("%+v, %v after %s", got, err, time.Since(began))
		}
	})
}

// The witness that can reach the device does it, although another one leads.
func TestTheWitnessThatCanDoesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		c.leader, c.alive = "w1", []string{"w1", "w2"}
		machine := &bmc{state: fencing.PowerOn}
		blind := &bmc{hangs: true}
		n1, n2 := &node{cluster: c, name: "w1"}, &node{cluster: c, name: "w2"}
		defer check(t, n1, blind)()
		defer check(t, n2, machine)()
		defer run(t, n1, fencer(blind))()
		defer run(t, n2, fencer(machine))()
		time.Sleep(15 * time.Minute)
		began := time.Now()
		c.must(t, witness.LeaseExpire{IDs: []int64{1}, Term: c.term})
		time.Sleep(3 * time.Second)
		if c.holder().Holder != "" || machine.done() != "off" {
			t.Fatalf("after %s: holder %q, orders %q", time.Since(began), c.holder().Holder, machine.done())
		}
		for _, a := range n1.State().Actions() {
			if a.By != "w2" {
				t.Errorf("action %+v, want it done by w2", a)
			}
		}
	})
}

// person is a device that switches nothing by itself.
type person struct{ handle }

func (person) Passive() {}

// A last level that waits for a person is no fault, and no path of a witness.
func TestAPersonIsNoPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		cfg := *c.state.Config
		cfg.Devices = append(cfg.Devices, witness.Device{Name: "door", Driver: "person"})
		cfg.Hosts = append([]witness.Host(nil), cfg.Hosts...)
		cfg.Hosts[0].Fence = append(cfg.Hosts[0].Fence, witness.FenceStep{Level: 2, Device: "door"})
		c.must(t, witness.Configure{Config: cfg})
		b := &bmc{state: fencing.PowerOn}
		f := fencer(b)
		f.Drivers["person"] = func(map[string]string) (fencing.Device, error) {
			return person{handle{&bmc{state: fencing.PowerUnknown}}}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := &node{cluster: c, name: "w1"}
		checker := &Checker{Node: n, Fencer: f, Log: slog.New(slog.DiscardHandler)}
		done := make(chan error, 1)
		go func() { done <- checker.Run(ctx) }()
		time.Sleep(20 * time.Minute)
		if ready, level := n.State().Readiness("h1", "w1"); ready != witness.ReadyYes || level != 1 {
			t.Errorf("%s, level %d", ready, level)
		}
		for _, ev := range n.State().Events(0) {
			if ev.Rule == "fence.path" {
				t.Errorf("an event about it: %+v", ev)
			}
		}
		b.set(func(b *bmc) { b.fault = "no route to host" })
		time.Sleep(20 * time.Minute)
		if !n.State().NobodyCan("h1") {
			t.Error("a host that only a person can power off counts as fenceable")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What deserves attention is kept for whoever asks this witness, and is no
// entry of the log.
func TestWarningsStayHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.patroni(t, witness.FastOff)
		b := &bmc{state: fencing.PowerOn, warning: "its certificate expires in 9 days"}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		checker := &Checker{Node: &node{cluster: c, name: "w1"}, Fencer: fencer(b), Log: slog.New(slog.DiscardHandler)}
		if got := checker.Warnings("h1"); len(got) != 0 {
			t.Errorf("before it has looked: %v", got)
		}
		done := make(chan error, 1)
		go func() { done <- checker.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		if got := checker.Warnings("h1"); len(got) != 1 || got[0] != "bmc: its certificate expires in 9 days" {
			t.Errorf("got %v", got)
		}
		b.set(func(b *bmc) { b.warning = "" })
		time.Sleep(10 * time.Minute)
		if got := checker.Warnings("h1"); len(got) != 0 {
			t.Errorf("after it is mended: %v", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
