package fencing_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"quorate/fencing"
)

const ms = time.Millisecond

// offAfter turns off d after the first command.
func offAfter(d time.Duration) func(time.Duration) fencing.PowerState {
	return func(since time.Duration) fencing.PowerState {
		if since >= d {
			return fencing.PowerOff
		}
		return fencing.PowerOn
	}
}

// TestPollingSchedule: virtual time makes the intervals exact: 100 ms at first, 1 s after 5 s, 50 ms to confirm.
func TestPollingSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{state: offAfter(7500 * ms)}
		r := fencing.Off(t.Context(), host(fencing.Level{m}), fencing.Timing{Resend: time.Hour})
		if r.Outcome != fencing.Confirmed {
			t.Fatal(r.Reason)
		}
		var want []time.Duration
		want = append(want, 0, 0) // first contact; and right after the command
		for at := 100 * ms; at <= 5100*ms; at += 100 * ms {
			want = append(want, at)
		}
		want = append(want, 6100*ms, 7100*ms, 8100*ms, 8150*ms)
		if fmt.Sprint(m.reads) != fmt.Sprint(want) {
			t.Errorf("read at %v\nwant    %v", m.reads, want)
		}
		if e := r.Evidence; e.DeviceTime != 8100*ms || e.Overhead != 50*ms {
			t.Errorf("device time %v, overhead %v", e.DeviceTime, e.Overhead)
		}
	})
}

func TestTwoConsecutiveReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Off in single readings at 0, 300 and 600 ms; really off from 2 s on.
		m := &machine{state: func(since time.Duration) fencing.PowerState {
			if since >= 2*time.Second || (since >= 0 && since%(300*ms) == 0) {
				return fencing.PowerOff
			}
			return fencing.PowerOn
		}}
		r := fencing.Off(t.Context(), host(fencing.Level{m}), fencing.Timing{})
		if r.Outcome != fencing.Confirmed || r.Evidence.DeviceTime < 2*time.Second {
			t.Errorf("%s after %v: %s", r.Outcome, r.Evidence.DeviceTime, r.Reason)
		}
	})
}

// TestUnansweredReadingBreaksTheRow: Off, silence, Off are not two consecutive readings.
func TestUnansweredReadingBreaksTheRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		m := &machine{state: func(time.Duration) fencing.PowerState { return fencing.PowerOff }}
		m.readErr = func(since time.Duration) error {
			if n++; n%2 == 0 {
				return errors.New("no route to host")
			}
			return nil
		}
		r := fencing.Off(t.Context(), host(fencing.Level{m}), fencing.Timing{})
		if r.Outcome == fencing.Confirmed {
			t.Error(r.Reason)
		}
	})
}

func TestAlreadyOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{state: func(time.Duration) fencing.PowerState { return fencing.PowerOff }}
		r := fencing.Off(t.Context(), host(fencing.Level{m}), fencing.Timing{})
		if r.Outcome != fencing.Confirmed || len(m.commands) > 0 || len(m.reads) != 2 || m.reads[1] != 50*ms {
			t.Errorf("%s, commands %v, reads %v", r.Outcome, m.commands, m.reads)
		}
	})
}

// TestOutcomes: what one device does, and what becomes of it after how long.
func TestOutcomes(t *testing.T) {
	never := func(time.Duration) fencing.PowerState { return fencing.PowerOn }
	cases := map[string]struct {
		m        *machine
		want     fencing.Outcome
		took     time.Duration // exact, in virtual time
		commands int
		reason   string
	}{
		"off at once":         {&machine{}, fencing.Confirmed, 50 * ms, 1, "db1 is off"},
		"error code, yet off": {&machine{offErr: func(int) error { return errors.New("409") }}, fencing.Confirmed, 50 * ms, 1, ""},
		"no effect":           {&machine{state: never}, fencing.Unknown, 20 * time.Second, 4, "not off within the 20s"},
		"stalled":             {&machine{stall: true}, fencing.Refused, 4900 * ms, 0, "no answer within the 4.9s"},
		"no route":            {&machine{readErr: func(time.Duration) error { return errors.New("no route") }}, fencing.Refused, time.Second, 0, "no route"},
		"401 at login":        {&machine{readErr: func(time.Duration) error { return permanent("401") }}, fencing.Refused, 0, 0, "401"},
		"403 to the command":  {&machine{offErr: func(int) error { return permanent("403") }}, fencing.Refused, 0, 1, "403"},
		"401 after it":        {&machine{readErr: failAfterCommand(permanent("401"))}, fencing.Unknown, 0, 1, "401"},
		"vanishes":            {&machine{readErr: failAfterCommand(errors.New("connection refused"))}, fencing.Unknown, 4900 * ms, 1, "vanished"},
		"proves nothing":      {&machine{proves: fencing.GradeUnknown}, fencing.Unknown, 50 * ms, 1, ""},
		"transition for ever": {&machine{state: func(time.Duration) fencing.PowerState { return fencing.PowerTransition }}, fencing.Unknown, 20 * time.Second, 4, "transition"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started := time.Now()
				r := fencing.Off(t.Context(), host(fencing.Level{c.m}), fencing.Timing{})
				if r.Outcome != c.want || !strings.Contains(r.Reason, c.reason) {
					t.Errorf("%s: %s", r.Outcome, r.Reason)
				}
				if took := time.Since(started); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
				if len(c.m.commands) != c.commands {
					t.Errorf("commands at %v, want %d", c.m.commands, c.commands)
				}
				if c.m.closed != 1 || c.m.closeErr != nil {
					t.Errorf("closed %d times, context %v", c.m.closed, c.m.closeErr)
				}
				if (r.Outcome == fencing.Confirmed) != (r.Evidence.Grade != fencing.GradeUnknown) {
					t.Errorf("outcome %s with grade %s", r.Outcome, r.Evidence.Grade)
				}
			})
		})
	}
}

func failAfterCommand(err error) func(time.Duration) error {
	return func(since time.Duration) error {
		if since >= 0 {
			return err
		}
		return nil
	}
}

// TestLevels: AND inside a level, the next level at once after a failure, and no level after a proof.
func TestLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stalled := &machine{name: "bmc", stall: true}
		a := &machine{name: "outlet-a", proves: fencing.GradeFeedsOff, state: offAfter(3 * time.Second)}
		b := &machine{name: "outlet-b", proves: fencing.GradeFeedsOff, state: offAfter(2 * time.Second)}
		unused := &machine{name: "unused"}
		r := fencing.Off(t.Context(), host(fencing.Level{stalled}, fencing.Level{a, b}, fencing.Level{unused}), fencing.Timing{})
		if r.Outcome != fencing.Confirmed || r.Evidence.Grade != fencing.GradeFeedsOff || r.Evidence.Level != 2 {
			t.Fatalf("%+v", r)
		}
		// 4.9 s for the stalled one, then the maximum of the outlets and not their sum.
		if took := r.Evidence.Finished.Sub(r.Evidence.Started); took != 7950*ms {
			t.Errorf("took %v", took)
		}
		if !a.started.Equal(b.started) || len(unused.reads) > 0 || unused.closed > 0 {
			t.Errorf("a at %v, b at %v, unused %v", a.started, b.started, unused.reads)
		}
		if len(r.Evidence.Devices) != 3 || r.Evidence.Devices[1].Identity != "serial outlet-a" {
			t.Errorf("%+v", r.Evidence.Devices)
		}
	})
}

// TestOneFeedStaysOn is the dual-fed host whose second outlet never switches: never a success.
func TestOneFeedStaysOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &machine{name: "a", proves: fencing.GradeFeedsOff}
		b := &machine{name: "b", proves: fencing.GradeFeedsOff, state: func(time.Duration) fencing.PowerState { return fencing.PowerOn }}
		r := fencing.Off(t.Context(), host(fencing.Level{a, b}), fencing.Timing{})
		if r.Outcome != fencing.Unknown || !strings.Contains(r.Reason, "level 1, b:") || strings.Contains(r.Reason, "level 1, a:") {
			t.Errorf("%s: %s", r.Outcome, r.Reason)
		}
	})
}

// TestFailureStopsTheLevel: a level that cannot pass any more does not hold up the next one.
func TestFailureStopsTheLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := &machine{name: "wrong", readErr: func(time.Duration) error { return permanent("401") }}
		slow := &machine{name: "slow", state: offAfter(10 * time.Second)}
		next := &machine{name: "next"}
		r := fencing.Off(t.Context(), host(fencing.Level{wrong, slow}, fencing.Level{next}), fencing.Timing{})
		if took := r.Evidence.Finished.Sub(r.Evidence.Started); r.Outcome != fencing.Confirmed || took > 200*ms {
			t.Errorf("%s after %v: %s", r.Outcome, took, r.Reason)
		}
		if slow.closed != 1 || slow.closeErr != nil {
			t.Errorf("the stopped device was closed %d times, context %v", slow.closed, slow.closeErr)
		}
	})
}

func TestWeakestGrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fencing.Off(t.Context(), host(fencing.Level{&machine{}, &machine{proves: fencing.GradeFeedsOff}}), fencing.Timing{})
		if r.Evidence.Grade != fencing.GradeFeedsOff {
			t.Errorf("%s", r.Evidence.Grade)
		}
	})
}

func TestOperationDeadlineAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := func(time.Duration) fencing.PowerState { return fencing.PowerOn }
		a, b := &machine{name: "a", state: on}, &machine{name: "b", state: on}
		r := fencing.Off(t.Context(), host(fencing.Level{a}, fencing.Level{b}), fencing.Timing{Attempt: 8 * time.Second, Operation: 10 * time.Second})
		if took := r.Evidence.Finished.Sub(r.Evidence.Started); r.Outcome != fencing.Unknown || took != 10*time.Second {
			t.Errorf("%s after %v: %s", r.Outcome, took, r.Reason)
		}
		if !strings.Contains(r.Reason, "the 10s allowed for the whole operation are over") {
			t.Error(r.Reason)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c := &machine{}
		if r := fencing.Off(ctx, host(fencing.Level{c}), fencing.Timing{}); r.Outcome != fencing.Refused || len(c.commands) > 0 {
			t.Errorf("%s: %s", r.Outcome, r.Reason)
		}
	})
}

func TestUnusableAndInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := fencing.Unusable("bmc", errors.New("url is missing"))
		r := fencing.Off(t.Context(), host(fencing.Level{bad}, fencing.Level{&machine{}}), fencing.Timing{})
		if r.Outcome != fencing.Confirmed || r.Evidence.Level != 2 {
			t.Errorf("%+v", r)
		}
		var many fencing.Level
		for range fencing.MaxDevices + 1 {
			many = append(many, &machine{})
		}
		for name, h := range map[string]fencing.Host{"no level": host(), "empty level": host(nil, fencing.Level{&machine{}}), "too many": host(many)} {
			if r := fencing.Off(t.Context(), h, fencing.Timing{}); r.Outcome != fencing.Refused {
				t.Errorf("%s: %+v", name, r)
			}
			if r := fencing.On(t.Context(), h, fencing.Timing{}); r.Outcome != fencing.Refused {
				t.Errorf("%s: %+v", name, r)
			}
		}
	})
}

// TestEvidenceIsBounded: devices that answer long nonsense until the deadline do not fill the log.
func TestEvidenceIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noise := strings.Repeat("\x00<é\"\n\xff\u2028", 500)
		var level fencing.Level
		for range fencing.MaxDevices {
			n := 0
			m := &machine{name: noise, offErr: func(int) error { return errors.New(noise) }}
			m.state = func(time.Duration) fencing.PowerState { return fencing.PowerState(strings.Repeat("x", 3)) }
			m.parts = func(time.Duration) []fencing.Part {
				return slices.Repeat([]fencing.Part{{Name: noise, State: fencing.PowerState(noise), Raw: noise}}, fencing.MaxParts+1)
			}
			m.readErr = func(time.Duration) error {
				if n++; n > 1 && n%3 == 0 {
					return errors.New(noise)
				}
				return nil
			}
			level = append(level, m)
		}
		r := fencing.Off(t.Context(), host(level), fencing.Timing{})
		data, err := json.Marshal(r)
		if err != nil || len(data) > fencing.MaxEvidenceBytes {
			t.Fatalf("%d bytes, %v", len(data), err)
		}
		d := r.Evidence.Devices[0]
		if d.DroppedReadings == 0 || d.DroppedSteps == 0 || d.Steps[0].What != "first contact" {
			t.Errorf("dropped %d readings, %d steps; first step %q", d.DroppedReadings, d.DroppedSteps, d.Steps[0].What)
		}
		t.Logf("%d bytes for %d devices", len(data), fencing.MaxDevices)
	})
}
