package fencing_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quorate/fencing"
)

var (
	schedules = flag.Int("schedules", 1500, "how many schedules TestSchedules plays; make soak plays 100,000")
	seed      = flag.Uint64("seed", 0, "play this schedule of TestSchedules only")
	firstSeed = flag.Uint64("first-seed", 1, "the first schedule of TestSchedules")
)

// TestSchedules plays machines with a BMC and one or two feeds whose devices
// are slow, dead, deaf, wrong, flickering, overloaded or half switched, and
// change their mind on the way; executors that are killed, and two at a time.
// Nothing is ever called off that is on, nothing that never took a command is
// called anything but refused, nothing goes on before all of it was off, and
// every attempt ends within its time.
func TestSchedules(t *testing.T) {
	first, last := *firstSeed, *firstSeed+uint64(*schedules)-1
	if *seed != 0 {
		first, last = *seed, *seed
	}
	var sum outcomes
	for n := first; n <= last && !t.Failed(); n++ {
		synctest.Test(t, func(t *testing.T) { play(t, n, &sum) })
		if t.Failed() {
			t.Logf("replay: go test ./fencing -run TestSchedules -args -seed %d", n)
		}
	}
	t.Logf("seeds %d to %d: %+v", first, last, sum)
	if *seed == 0 && *schedules >= 1000 && (sum.Confirmed == 0 || sum.Refused == 0 || sum.Unknown == 0 || sum.Level2 == 0 || sum.Killed == 0 || sum.NotOn == 0) {
		t.Errorf("the schedules do not reach everything: %+v", sum)
	}
}

type outcomes struct{ Confirmed, Refused, Unknown, Level2, Killed, NotOn int }

// server is what is really the case.
type server struct {
	mu     sync.Mutex
	began  time.Time
	system bool     // the BMC lets it run
	due    []change // of the system, in order
	feeds  []*outlet
}

// outlet feeds a machine.
type outlet struct {
	on  bool
	due []change
}

// later makes a change that takes effect after a delay; a newer one replaces
// those that have not.
func later(on bool, delay time.Duration) []change {
	return []change{{on, time.Now().Add(delay)}}
}

func settle(state *bool, due *[]change) {
	for len(*due) > 0 && !time.Now().Before((*due)[0].at) {
		*state, *due = (*due)[0].on, (*due)[1:]
	}
}

// settle carries out what is due; the lock is held.
func (m *server) settle() {
	settle(&m.system, &m.due)
	for _, f := range m.feeds {
		settle(&f.on, &f.due)
	}
}

func (m *server) powered() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
	for _, f := range m.feeds {
		if f.on {
			return true
		}
	}
	return false
}

func (m *server) running() bool {
	powered := m.powered()
	m.mu.Lock()
	defer m.mu.Unlock()
	return powered && m.system
}

// mood is how a device behaves for a while.
type mood int

const (
	works mood = iota
	slowAnswers
	silent     // takes the connection and never answers
	gone       // no route
	denies     // 401
	busy       // 503: takes no command, answers no reading
	deaf       // takes the command and does nothing
	vanishes   // does it, and answers nothing from then on
	complains  // does it, and answers with an error
	between    // does it, and shows a state on the way for ever
	babbles    // does it, and answers readings with something unheard-of
	flickers   // shows off for a single reading now and then, while it is on
	slowSwitch // does it after half a minute
	half       // of two outlets switches one
	moods
)

// gadget is one device: a BMC without outlets, or a PDU with one or two.
type gadget struct {
	m       *server
	rng     *rand.Rand
	name    string
	outlets []*outlet // empty: the BMC
	phases  []phase
	delay   time.Duration
	taken   *int // commands that were carried out, by all devices of the machine
	own     *int // those of this operation
	ons     *int // those of them that switch on
	lost    bool
	flick   bool
}

type phase struct {
	until time.Duration // since the beginning
	mood  mood
}

func (g *gadget) mood() mood {
	since := time.Since(g.m.began)
	for _, p := range g.phases {
		if since < p.until {
			return p.mood
		}
	}
	return works
}

// reach is what every call has to get through.
func (g *gadget) reach(ctx context.Context) error {
	mood := g.mood()
	if len(g.outlets) == 0 && !g.m.powered() {
		mood = gone // a BMC lives on the machine's own feeds
	}
	if g.lost && mood == vanishes {
		mood = silent
	}
	wait := time.Duration(g.rng.IntN(60)) * time.Millisecond
	switch mood {
	case slowAnswers:
		wait = time.Duration(g.rng.IntN(9000)) * time.Millisecond
	case silent:
		<-ctx.Done()
		return ctx.Err()
	case gone:
		return errors.New("no route to host")
	case denies:
		return fmt.Errorf("%w: 401", fencing.ErrPermanent)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

func (g *gadget) Name() string { return g.name }

func (g *gadget) proves() fencing.Grade {
	if len(g.outlets) == 0 {
		return fencing.GradeObservedOff
	}
	return fencing.GradeFeedsOff
}

func state(on bool) fencing.PowerState {
	if on {
		return fencing.PowerOn
	}
	return fencing.PowerOff
}

func (g *gadget) Read(ctx context.Context) (fencing.Reading, error) {
	if err := g.reach(ctx); err != nil {
		return fencing.Reading{}, err
	}
	g.m.mu.Lock()
	defer g.m.mu.Unlock()
	g.m.settle()
	r := fencing.Reading{At: time.Now(), Proves: g.proves()}
	if len(g.outlets) == 0 {
		r.State = state(g.m.system)
	} else {
		for i, o := range g.outlets {
			r.Parts = append(r.Parts, fencing.Part{Name: fmt.Sprint("outlet ", i+1), State: state(o.on)})
		}
		r.State = r.Parts[0].State // as agents do that look at the first one: it is not to be believed
		if len(r.Parts) == 1 {
			r.Parts = nil
		}
	}
	switch mood := g.mood(); {
	case mood == busy:
		return fencing.Reading{State: fencing.PowerUnknown, Raw: "503", Proves: g.proves()}, nil
	case mood == between && *g.taken > 0:
		return fencing.Reading{State: fencing.PowerTransition, Raw: "PoweringOff", Proves: g.proves()}, nil
	case mood == babbles:
		return fencing.Reading{State: fencing.PowerUnknown, Raw: "Quiescent", Proves: g.proves()}, nil
	case mood == flickers:
		if g.flick = !g.flick && g.rng.IntN(3) == 0; g.flick {
			return fencing.Reading{State: fencing.PowerOff, Raw: "Off", Proves: g.proves()}, nil
		}
	}
	return r, nil
}

func (g *gadget) switchTo(ctx context.Context, on bool) error {
	if err := g.reach(ctx); err != nil {
		return err
	}
	g.m.mu.Lock()
	defer g.m.mu.Unlock()
	mood := g.mood()
	switch mood {
	case busy:
		return errors.New("503: no session left")
	case deaf, flickers:
		return nil
	}
	*g.taken++
	*g.own++
	if on {
		*g.ons++
	}
	delay := g.delay
	if mood == slowSwitch {
		delay = 30 * time.Second
	}
	if len(g.outlets) == 0 {
		g.m.due = later(on, delay)
	}
	for i, o := range g.outlets {
		if mood == half && i > 0 {
			break
		}
		o.due = later(on, delay)
	}
	switch mood {
	case vanishes:
		g.lost = true
		return errors.New("connection reset")
	case complains:
		return errors.New("400: the state is what it is")
	}
	return nil
}

func (g *gadget) Off(ctx context.Context) error   { return g.switchTo(ctx, false) }
func (g *gadget) On(ctx context.Context) error    { return g.switchTo(ctx, true) }
func (g *gadget) Close(ctx context.Context) error { return g.reach(ctx) }

func (g *gadget) Check(ctx context.Context) (fencing.Readiness, error) {
	r, err := g.Read(ctx)
	return fencing.Readiness{Reading: r}, err
}

// schedule is one machine and what will happen to its devices.
type schedule struct {
	rng         *rand.Rand
	m           *server
	layout      [][]int // level → devices by number of outlets; 0 = BMC
	script      [][]phase
	taken, ons  int
	description string
}

func newSchedule(n uint64) *schedule {
	s := &schedule{rng: rand.New(rand.NewPCG(n, 0xfe)), m: &server{began: time.Now(), system: true}}
	if s.rng.IntN(20) == 0 {
		s.m.system = false // off already
	}
	feeds := 1 + s.rng.IntN(2)
	for range feeds {
		s.m.feeds = append(s.m.feeds, &outlet{on: true})
	}
	pdus := []int{feeds} // both outlets on one PDU, in one command
	if feeds == 2 && s.rng.IntN(2) == 0 {
		pdus = []int{1, 1}
	}
	switch s.rng.IntN(4) {
	case 0:
		s.layout = [][]int{{0}}
	case 1:
		s.layout = [][]int{pdus}
	default:
		s.layout = [][]int{{0}, pdus}
	}
	for _, level := range s.layout {
		for range level {
			var phases []phase
			at := time.Duration(0)
			for range 1 + s.rng.IntN(3) {
				at += time.Duration(s.rng.IntN(40_000)) * time.Millisecond
				m := mood(s.rng.IntN(int(moods)))
				if s.rng.IntN(3) == 0 {
					m = works
				}
				phases = append(phases, phase{at, m})
			}
			s.script = append(s.script, phases)
		}
	}
	s.description = fmt.Sprint(s.layout, s.script)
	return s
}

// host opens the devices, as each operation does anew.
func (s *schedule) host() (fencing.Host, *int) {
	own := new(int)
	h := fencing.Host{Name: "db1"}
	n, next := 0, 0
	for _, level := range s.layout {
		var devices fencing.Level
		for _, outlets := range level {
			g := &gadget{
				m: s.m, rng: rand.New(rand.NewPCG(s.rng.Uint64(), 1)), name: fmt.Sprint("device", n), phases: s.script[n], taken: &s.taken, own: own, ons: &s.ons,
				delay: time.Duration(s.rng.IntN(3000)) * time.Millisecond,
			}
			if outlets > 0 {
				g.outlets = s.m.feeds[next : next+outlets]
				next += outlets
			}
			devices = append(devices, g)
			n++
		}
		h.Levels = append(h.Levels, devices)
	}
	return h, own
}

func play(t *testing.T, n uint64, sum *outcomes) {
	s := newSchedule(n)
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("schedule %d: %s\n%s", n, fmt.Sprintf(format, args...), s.description)
	}
	ctx := context.Background()
	off := func(ctx context.Context, host fencing.Host, taken *int, sum *outcomes) fencing.Result {
		res := fencing.Off(ctx, host, fencing.Timing{})
		judge(fail, s, res, sum, *taken)
		return res
	}
	if s.rng.IntN(4) == 0 { // the first executor is killed on the way, or only looks so and goes on
		sum.Killed++
		kctx, kill := context.WithTimeout(ctx, time.Duration(s.rng.IntN(12_000))*time.Millisecond)
		defer kill()
		other, taken := s.host()
		if s.rng.IntN(2) == 0 {
			off(kctx, other, taken, &outcomes{})
		} else {
			done := make(chan struct{})
			defer func() { <-done }()
			go func() {
				defer close(done)
				off(kctx, other, taken, &outcomes{})
			}()
		}
	}
	host, taken := s.host()
	res := off(ctx, host, taken, sum)
	if res.Outcome != fencing.Confirmed || t.Failed() {
		return
	}
	// The second step of a reboot, after the proof is in the log.
	time.Sleep(time.Duration(s.rng.IntN(2000)) * time.Millisecond)
	if s.m.running() || s.ons > 0 {
		fail("it runs again, or something was switched on, before anybody asked for it")
	}
	host, _ = s.host()
	on := fencing.On(ctx, host, fencing.Timing{})
	limits(fail, &on, 60*time.Second)
	if on.Outcome == fencing.Confirmed && !s.m.powered() {
		fail("on is confirmed, and no feed is on")
	}
	if on.Outcome != fencing.Confirmed {
		sum.NotOn++
	}
}

func judge(fail func(string, ...any), s *schedule, res fencing.Result, sum *outcomes, taken int) {
	limits(fail, &res, 20*time.Second)
	switch res.Outcome {
	case fencing.Confirmed:
		sum.Confirmed++
		if s.m.running() {
			fail("false success: off is confirmed as %s and the machine runs: %s", res.Evidence.Grade, res.Reason)
		}
		if res.Evidence.Grade != fencing.GradeObservedOff && res.Evidence.Grade != fencing.GradeFeedsOff {
			fail("confirmed with grade %q", res.Evidence.Grade)
		}
		if res.Evidence.Grade == fencing.GradeFeedsOff && s.m.powered() {
			fail("false success: feeds are called off, and one is on")
		}
		if res.Evidence.Level == 2 {
			sum.Level2++
		}
	case fencing.Refused:
		sum.Refused++
		if taken > 0 {
			fail("refused, although a device took a command: %s", res.Reason)
		}
	case fencing.Unknown:
		sum.Unknown++
	default:
		fail("outcome %q", res.Outcome)
	}
	for _, d := range res.Evidence.Devices {
		for _, step := range d.Steps {
			if strings.HasPrefix(step.What, "command on") {
				fail("a power-off switched something on")
			}
		}
	}
}

// limits: every attempt, and the whole, ended within its time.
func limits(fail func(string, ...any), res *fencing.Result, attempt time.Duration) {
	e := &res.Evidence
	if took := e.Finished.Sub(e.Started); took > 60*time.Second {
		fail("the operation took %s", took)
	}
	for _, d := range e.Devices {
		if took := d.Finished.Sub(d.Started); took > attempt {
			fail("the attempt at %s took %s", d.Device, took)
		}
	}
}
