package fencing_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"quorate/fencing"
)

// feed is one outlet that obeys after a delay, and remembers when it really was off and when it was told what.
type feed struct {
	name    string
	delay   time.Duration
	stuckOn bool      // takes the command and never switches off
	stuck   bool      // takes the command and never switches on again
	back    time.Time // switches on again by itself; zero: it does not

	on     bool
	due    time.Time // when the latest command takes effect
	want   bool
	wentTo []change // what really happened
	orders []change // what was asked
}

type change struct {
	on bool
	at time.Time
}

func newFeed(name string, delay time.Duration) *feed {
	return &feed{name: name, delay: delay, on: true}
}

func (f *feed) settle() {
	if !f.due.IsZero() && !time.Now().Before(f.due) {
		f.on = f.want
		f.wentTo = append(f.wentTo, change{f.on, f.due})
		f.due = time.Time{}
	}
	if !f.back.IsZero() && !time.Now().Before(f.back) {
		f.on, f.back = true, time.Time{}
	}
}

func (f *feed) order(on bool) error {
	f.settle()
	f.orders = append(f.orders, change{on, time.Now()})
	if (!on && f.stuckOn) || (on && f.stuck) || f.on == on {
		return nil
	}
	f.want, f.due = on, time.Now().Add(f.delay)
	return nil
}

func (f *feed) Name() string              { return f.name }
func (f *feed) Off(context.Context) error { return f.order(false) }
func (f *feed) On(context.Context) error  { return f.order(true) }
func (f *feed) Close(context.Context) error {
	return nil
}

func (f *feed) Read(context.Context) (fencing.Reading, error) {
	f.settle()
	state := fencing.PowerOff
	if f.on {
		state = fencing.PowerOn
	}
	return fencing.Reading{State: state, At: time.Now(), Proves: fencing.GradeFeedsOff}, nil
}

func (f *feed) Check(context.Context) (fencing.Readiness, error) { return fencing.Readiness{}, nil }

// off is when the feed went off, on when it went on again; zero: it did not.
func (f *feed) times() (off, on time.Time) {
	for _, c := range f.wentTo {
		if c.on {
			on = c.at
		} else {
			off = c.at
		}
	}
	return off, on
}

// TestRebootTakesBothFeedsTogether: no feed goes on before every feed was off at one moment, and the slower one alone
// says how long it takes.
func TestRebootTakesBothFeedsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFeed("a", time.Second), newFeed("b", 4*time.Second)
		r := fencing.Reboot(t.Context(), host(fencing.Level{a, b}), fencing.Timing{})
		if r.Off.Outcome != fencing.Confirmed || r.On == nil || r.On.Outcome != fencing.Confirmed {
			t.Fatalf("%+v", r)
		}
		aOff, aOn := a.times()
		bOff, bOn := b.times()
		if !aOn.After(bOff) || !bOn.After(aOff) {
			t.Errorf("a was off from %v to %v, b from %v to %v: the host had power all the time", aOff, aOn, bOff, bOn)
		}
		if took := r.Off.Evidence.Finished.Sub(r.Off.Evidence.Started); took != 4050*time.Millisecond {
			t.Errorf("off took %v, want that of the slower feed", took)
		}
		if !a.orders[0].at.Equal(b.orders[0].at) {
			t.Errorf("told at %v and %v", a.orders[0].at, b.orders[0].at)
		}
	})
}

// TestFeedsAreOffTogether: a PDU that restarts switches its outlet on again while the other feed is still going off. At no
// moment has the host been without power, so that is no proof until both are off at once.
func TestFeedsAreOffTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFeed("a", time.Second), newFeed("b", 4*time.Second)
		a.back = time.Now().Add(2 * time.Second)
		r := fencing.Off(t.Context(), host(fencing.Level{a, b}), fencing.Timing{})
		a.settle()
		b.settle()
		if r.Outcome == fencing.Confirmed && (a.on || b.on) {
			t.Errorf("off is confirmed, and a is on: %v, b is on: %v: %s", a.on, b.on, r.Reason)
		}
		if r.Outcome != fencing.Confirmed || len(a.orders) != 2 || r.Evidence.Devices[0].DroppedReadings == 0 && len(r.Evidence.Devices[0].Readings) < 4 {
			t.Errorf("%s with %v: want a switched off once more, and both read off after that", r.Outcome, a.orders)
		}
	})
}

// TestOffIsHeld: what is off stays off until somebody asks for on, also when the fence as a whole did not succeed.
func TestOffIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFeed("a", time.Second), newFeed("b", time.Second)
		b.stuckOn = true
		r := fencing.Reboot(t.Context(), host(fencing.Level{a, b}), fencing.Timing{})
		if r.Off.Outcome != fencing.Unknown || r.On != nil {
			t.Fatalf("%+v", r)
		}
		for _, f := range []*feed{a, b} {
			for _, o := range f.orders {
				if o.on {
					t.Errorf("%s was told to go on at %v", f.name, o.at)
				}
			}
		}
		// The next attempt finds one feed off already.
		b.stuckOn = false
		if r := fencing.Off(t.Context(), host(fencing.Level{a, b}), fencing.Timing{}); r.Outcome != fencing.Confirmed {
			t.Errorf("%s: %s", r.Outcome, r.Reason)
		}
	})
}

// TestRebootThatStaysOff: the fence has succeeded; that the host does not come back is reported beside it.
func TestRebootThatStaysOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFeed("a", time.Second)
		a.stuck = true
		r := fencing.Reboot(t.Context(), host(fencing.Level{a}), fencing.Timing{AttemptOn: 5 * time.Second})
		if r.Off.Outcome != fencing.Confirmed || r.On == nil || r.On.Outcome != fencing.Unknown || !strings.Contains(r.On.Reason, "not sure that db1 is on") {
			t.Errorf("%+v", r)
		}
	})
}
