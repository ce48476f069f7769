package fencing_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"quorate/fencing"
)

// slow takes a while for each answer.
type slow struct {
	machine
	takes time.Duration
}

func (s *slow) Read(ctx context.Context) (fencing.Reading, error) {
	r, err := s.machine.Read(ctx)
	time.Sleep(s.takes)
	return r, err
}

// TestIntervalCountsTheAnswer: readings are asked for every 100 ms although each answer takes 30, and a device that takes
// 90 keeps half of the interval for itself.
func TestIntervalCountsTheAnswer(t *testing.T) {
	for takes, want := range map[time.Duration][]time.Duration{
		30 * ms: {0, 30 * ms, 130 * ms, 230 * ms, 330 * ms, 410 * ms},
		90 * ms: {0, 90 * ms, 230 * ms, 370 * ms, 510 * ms},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := &slow{machine: machine{state: offAfter(300 * ms)}, takes: takes}
			if takes == 90*ms {
				m.state = offAfter(200 * ms)
			}
			r := fencing.Off(t.Context(), host(fencing.Level{m}), fencing.Timing{})
			if r.Outcome != fencing.Confirmed || fmt.Sprint(m.reads) != fmt.Sprint(want) {
				t.Errorf("answers take %v: %s, read at %v, want %v", takes, r.Outcome, m.reads, want)
			}
		})
	}
}
