package fencing_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"quorate/fencing"
)

// onAfter is off until d after the first command.
func onAfter(d time.Duration) func(time.Duration) fencing.PowerState {
	return func(since time.Duration) fencing.PowerState {
		if since >= d {
			return fencing.PowerOn
		}
		return fencing.PowerOff
	}
}

// TestOnOrder: a BMC needs its outlets, so the last level comes first.
func TestOnOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bmc := &machine{name: "bmc", state: onAfter(time.Second)}
		a := &machine{name: "a", state: onAfter(2 * time.Second)}
		b := &machine{name: "b", state: func(time.Duration) fencing.PowerState { return fencing.PowerOn }}
		r := fencing.On(t.Context(), host(fencing.Level{bmc}, fencing.Level{a, b}), fencing.Timing{})
		if r.Outcome != fencing.Confirmed {
			t.Fatal(r.Reason)
		}
		if len(b.commands) > 0 || bmc.started.Sub(a.started) != 2*time.Second {
			t.Errorf("b got %v; the BMC was asked %v after the outlets", b.commands, bmc.started.Sub(a.started))
		}
	})
}

// TestOnGoesOn: a device that fails does not keep the others off.
func TestOnGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bmc := &machine{name: "bmc", state: onAfter(0)}
		dead := &machine{name: "dead", stall: true}
		other := &machine{name: "other", state: onAfter(8 * time.Second)}
		r := fencing.On(t.Context(), host(fencing.Level{bmc}, fencing.Level{dead, other}), fencing.Timing{})
		if r.Outcome != fencing.Unknown || len(bmc.commands) != 1 || len(other.commands) == 0 {
			t.Errorf("%s: %s; bmc %v, other %v", r.Outcome, r.Reason, bmc.commands, other.commands)
		}
	})
}

// TestOnConflict: On is repeated while the device refuses it, for as long as a BMC may need to settle.
func TestOnConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		m.state = func(time.Duration) fencing.PowerState {
			if len(m.commands) >= 6 {
				return fencing.PowerOn
			}
			return fencing.PowerOff
		}
		m.offErr = func(n int) error {
			if n < 6 {
				return errors.New("409 conflict")
			}
			return nil
		}
		r := fencing.On(t.Context(), host(fencing.Level{m}), fencing.Timing{})
		if r.Outcome != fencing.Confirmed || len(m.commands) != 6 {
			t.Errorf("%s: %s; commands at %v", r.Outcome, r.Reason, m.commands)
		}
	})
}

func TestState(t *testing.T) {
	bmc := func(s fencing.PowerState) *machine {
		return &machine{name: "bmc", state: func(time.Duration) fencing.PowerState { return s }}
	}
	outlet := func(s fencing.PowerState) *machine {
		m := bmc(s)
		m.proves = fencing.GradeFeedsOff
		return m
	}
	const (
		on, off, between, unknown = fencing.PowerOn, fencing.PowerOff, fencing.PowerTransition, fencing.PowerUnknown
	)
	dead := &machine{name: "dead", stall: true}
	cases := map[string]struct {
		host fencing.Host
		want fencing.PowerState
	}{
		"on":                         {host(fencing.Level{bmc(on)}), on},
		"off":                        {host(fencing.Level{bmc(off)}), off},
		"off, outlets on":            {host(fencing.Level{bmc(off)}, fencing.Level{outlet(on), outlet(on)}), off},
		"BMC dead, outlets off":      {host(fencing.Level{dead}, fencing.Level{outlet(off), outlet(off)}), off},
		"BMC dead, one outlet off":   {host(fencing.Level{dead}, fencing.Level{outlet(off), outlet(on)}), unknown},
		"BMC dead, outlets on":       {host(fencing.Level{dead}, fencing.Level{outlet(on)}), unknown},
		"one of two outlets off":     {host(fencing.Level{outlet(off), outlet(on)}), on},
		"they contradict each other": {host(fencing.Level{bmc(on)}, fencing.Level{outlet(off)}), unknown},
		"going off":                  {host(fencing.Level{bmc(between)}), between},
		"dead":                       {host(fencing.Level{dead}), unknown},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started := time.Now()
				if s := fencing.State(t.Context(), c.host, fencing.Timing{}); s.State != c.want {
					t.Errorf("%+v, want %s", s, c.want)
				}
				if took := time.Since(started); took > 5*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// bystander switches nothing.
type bystander struct{ fencing.Device }

func (bystander) Passive() {}

// running reads On.
type running struct{ fencing.Device }

func (running) Read(context.Context) (fencing.Reading, error) {
	return fencing.Reading{State: fencing.PowerOn, Proves: fencing.GradeObservedOff}, nil
}

// TestOnLeavesPassiveDevicesOut: a person in the last level does not keep a host from being on; a host with nobody else
// cannot be switched on.
func TestOnLeavesPassiveDevicesOut(t *testing.T) {
	t.Parallel()
	person := bystander{fencing.Unusable("person", errors.New("by hand only"))}
	bmc := running{fencing.Unusable("bmc", errors.New("not asked"))}
	r := fencing.On(t.Context(), fencing.Host{Name: "db1", Levels: []fencing.Level{{bmc, person}, {person}}}, fencing.Timing{})
	if r.Outcome != fencing.Confirmed || len(r.Evidence.Devices) != 1 {
		t.Errorf("%s, %d devices: %s", r.Outcome, len(r.Evidence.Devices), r.Reason)
	}
	r = fencing.On(t.Context(), fencing.Host{Name: "db1", Levels: []fencing.Level{{person}}}, fencing.Timing{})
	if r.Outcome != fencing.Refused {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
}
