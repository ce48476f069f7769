package node

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
)

// jitter is a network that takes base, and up to more on top of it. One message
// in rare takes spike.
func jitter(seed uint64, base, more, spike time.Duration, rare int) func(string, string) time.Duration {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 0))
	return func(string, string) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		d := base + time.Duration(rnd.Int64N(int64(more)))
		if rnd.IntN(rare) == 0 {
			d += spike
		}
		return d
	}
}

// Nothing may change leaders while nothing is broken, however long it lasts and
// however uneven the network is.
func TestNoElectionWhileAllIsWell(t *testing.T) {
	for name, c := range map[string]struct {
		delay func(string, string) time.Duration
		tune  func(*Options)
	}{
		"LAN": {jitter(1, 0, 5*time.Millisecond, 60*time.Millisecond, 50), nil},
		"WAN": {jitter(2, 40*time.Millisecond, 40*time.Millisecond, 250*time.Millisecond, 50), func(o *Options) {
			o.HeartbeatTimeout = time.Second
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, func(o *Options) {
					if c.tune != nil {
						o.HeartbeatTimeout = 0
						c.tune(o)
					}
				}, "a", "b", "c")
				l.net.Delay(c.delay)
				l.leader()
				l.settle()
				lead, term := l.leader(), l.leader().Term()
				for range 120 { // twenty minutes
					time.Sleep(10 * time.Second)
					put(t, l.live["b"].Node, "/k", "v")
				}
				if now := l.leader(); now != lead || now.Term() != term {
					t.Errorf("term %d became %d without a fault", term, now.Term())
				}
			})
		})
	}
}

// A vanished leader is replaced within 1.3 heartbeat timeouts, also if messages
// take a while, and also in a cluster of five.
func TestVanishedLeaderIsReplacedInTime(t *testing.T) {
	for name, c := range map[string]struct {
		nodes []string
		delay func(string, string) time.Duration
		most  time.Duration
	}{
		"three":          {[]string{"a", "b", "c"}, nil, 390 * time.Millisecond},
		"five":           {[]string{"a", "b", "c", "d", "e"}, nil, 390 * time.Millisecond},
		"three, 1-3 ms":  {[]string{"a", "b", "c"}, jitter(3, time.Millisecond, 2*time.Millisecond, 0, 1), 390 * time.Millisecond},
		"three, 20 ms":   {[]string{"a", "b", "c"}, jitter(4, 20*time.Millisecond, time.Millisecond, 0, 1), 700 * time.Millisecond},
		"three, 5-50 ms": {[]string{"a", "b", "c"}, jitter(5, 5*time.Millisecond, 45*time.Millisecond, 0, 1), 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, nil, c.nodes...)
				l.net.Delay(c.delay)
				var took []time.Duration
				for range 25 {
					l.settle()
					time.Sleep(3 * time.Second)
					took = append(took, l.replace(t, l.net.Isolate))
					l.net.Heal()
				}
				slices.Sort(took)
				t.Logf("median %s, longest %s", took[12], took[24])
				// Messages in flight may split one vote in many: a second attempt.
				if took[23] > c.most || took[24] > 3*c.most {
					t.Errorf("a vanished leader was replaced after %s and %s, want at most %s", took[23], took[24], c.most)
				}
			})
		})
	}
}

// replace breaks the leader and returns how long it took until a write was
// confirmed through another witness.
func (l *lab) replace(t *testing.T, fault func(name string)) time.Duration {
	t.Helper()
	old, f := l.leader(), l.followers()[0]
	fault(old.opts.Name)
	began := time.Now()
	for time.Since(began) < 20*time.Second {
		if _, err := f.Propose(t.Context(), witness.Touch{}); err == nil {
			return time.Since(began)
		}
	}
	t.Fatal("no write 20 s after the fault")
	return 0
}

// The address of a dead process refuses connections: that is noticed after the
// leader lease timeout already.
func TestDeadLeaderIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		var longest time.Duration
		for range 25 {
			l.settle()
			time.Sleep(3 * time.Second)
			name := l.leader().opts.Name
			longest = max(longest, l.replace(t, func(name string) {
				r := l.live[name]
				delete(l.live, name)
				// As a kernel ends a process: its connections break, its port refuses,
				// and none of its own code runs.
				r.port.kill()
				l.live["dead "+name] = r
			}))
			r := l.live["dead "+name]
			delete(l.live, "dead "+name)
			r.cancel()
			<-r.done
			l.start(name)
		}
		t.Logf("longest %s", longest)
		if longest > 250*time.Millisecond {
			t.Errorf("a dead leader was replaced after %s", longest)
		}
	})
}

// kill closes what the kernel closes when a process dies.
func (p *port) kill() {
	_ = p.ln.Close()
	p.isolate(true)
}

// A follower that alone does not hear the leader changes nothing: the other one
// hears it and refuses.
func TestFollowerCutFromLeaderDeposesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		l.settle()
		lead, cut := l.leader(), l.followers()[0]
		term := lead.Term()
		l.net.Cut(lead.opts.Name, cut.opts.Name)
		for range 60 {
			time.Sleep(time.Second)
			put(t, lead.Node, "/k", "v")
			if !lead.IsLeader() || lead.Term() != term {
				t.Fatalf("the leader of term %d was deposed by one follower", term)
			}
		}
		if counter(t, cut.Node, "wakes_total", "silent") == 0 {
			t.Error("the follower never stood: this test shows nothing")
		}
		l.net.Heal()
		l.settle()
		if lead.Term() != term {
			t.Errorf("term %d became %d when the link was healed", term, lead.Term())
		}
		w := newWaker(cut.Node, cut.rt())
		w.leader, w.normal.HeartbeatTimeout, w.normal.ElectionTimeout = lead.opts.Name, cut.opts.HeartbeatTimeout, cut.opts.ElectionTimeout
		rank, _, _ := w.place()
		until(t, "the follower has the timeouts of one that nobody has woken", func() bool {
			c, want := cut.rt().ReloadableConfig(), w.rest(rank)
			return c.HeartbeatTimeout == want.HeartbeatTimeout && c.ElectionTimeout == want.ElectionTimeout
		})
	})
}

// A leader, and a witness that was itself paused, wake nobody.
func TestWakerKeepsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "a", "b", "c")
		l.settle()
		lead, f := l.leader(), l.followers()[0]
		for _, f := range l.followers() {
			l.net.Isolate(f.opts.Name)
		}
		time.Sleep(140 * time.Millisecond) // it leads still, and hears nobody
		w := newWaker(lead.Node, lead.rt())
		for range 5 {
			time.Sleep(10 * time.Millisecond)
			w.look(t.Context(), time.Now())
		}
		if got := counter(t, lead.Node, "wakes_total", ""); got != 0 {
			t.Errorf("the leader woke itself %v times", got)
		}
		l.net.Heal()
		l.settle()
		before := counter(t, f.Node, "wakes_total", "")
		p := newWaker(f.Node, f.rt())
		p.last = time.Now().Add(-10 * time.Second)
		p.look(t.Context(), time.Now().Add(350*time.Millisecond)) // the last contact looks old after a pause
		if got := counter(t, f.Node, "wakes_total", "") - before; got != 0 {
			t.Error("a witness blamed the leader for its own pause")
		}
	})
}
