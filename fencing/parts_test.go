package fencing_test

import (
	"testing"
	"testing/synctest"
	"time"

	"quorate/fencing"
)

func outlets(states ...fencing.PowerState) []fencing.Part {
	names := []string{"outlet 3", "outlet 5", "outlet 7"}
	parts := make([]fencing.Part, len(states))
	for i, s := range states {
		parts[i] = fencing.Part{Name: names[i], State: s, Raw: string(s)}
	}
	return parts
}

func TestTogether(t *testing.T) {
	const (
		on, off, between, unknown = fencing.PowerOn, fencing.PowerOff, fencing.PowerTransition, fencing.PowerUnknown
	)
	for _, c := range []struct {
		parts []fencing.Part
		want  fencing.PowerState
	}{
		{nil, unknown},
		{outlets(off), off},
		{outlets(off, off), off},
		{outlets(on, on), on},
		{outlets(off, on), between},
		{outlets(off, between), between},
		{outlets(off, unknown), unknown},
		{outlets(unknown, off, off), unknown},
		{outlets(off, on, unknown), unknown},
		{outlets(on, on, off), between},
	} {
		if got := fencing.Together(c.parts); got != c.want {
			t.Errorf("%v together are %s, want %s", c.parts, got, c.want)
		}
	}
}

// TestDriverThatOverstates: a driver whose state says off while one of its own outlets is on is not believed.
func TestDriverThatOverstates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{
			state: func(time.Duration) fencing.PowerState { return fencing.PowerOff },
			parts: func(time.Duration) []fencing.Part { return outlets(fencing.PowerOff, fencing.PowerOn) },
		}
		if r := fencing.Off(t.Context(), host(fencing.Level{m}), fencing.Timing{}); r.Outcome != fencing.Unknown {
			t.Errorf("%s: %s", r.Outcome, r.Reason)
		}
		if s := fencing.State(t.Context(), host(fencing.Level{m}), fencing.Timing{}); s.State == fencing.PowerOff {
			t.Errorf("%+v", s)
		}
	})
}

// TestPartsCostTheSlowest: two outlets of one device take as long as the slower one, and each has evidence of its own.
func TestPartsCostTheSlowest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{proves: fencing.GradeFeedsOff}
		m.parts = func(since time.Duration) []fencing.Part {
			return outlets(offAfter(2*time.Second)(since), offAfter(3*time.Second)(since))
		}
		r := fencing.Off(t.Context(), host(fencing.Level{m}), fencing.Timing{})
		if r.Outcome != fencing.Confirmed || r.Evidence.DeviceTime != 3*time.Second || len(m.commands) != 1 {
			t.Fatalf("%s after %v, commands at %v: %s", r.Outcome, r.Evidence.DeviceTime, m.commands, r.Reason)
		}
		parts := r.Evidence.Devices[0].Parts
		if len(parts) != 2 || parts[0].Part != "outlet 3" || parts[1].Part != "outlet 5" {
			t.Fatalf("%+v", parts)
		}
		for _, p := range parts {
			n := len(p.Readings)
			if n != 3 || p.Readings[0].State != fencing.PowerOn || p.Readings[n-1].State != fencing.PowerOff || p.Readings[n-2].State != fencing.PowerOff {
				t.Errorf("%s: %+v", p.Part, p.Readings)
			}
		}
	})
}
