package fencing_test

import (
	"context"
	"testing"
	"time"

	"quorate/fencing"
)

// stopped is the context of a process that was stopped beyond its deadline and goes on: nothing has ended it yet.
type stopped struct{ context.Context }

func (stopped) Deadline() (time.Time, bool) { return time.Now().Add(-time.Second), true }

// A process that wakes up after its time sends no command: its successor may have done the opposite since.
func TestNoCommandAfterTheTimeIsOver(t *testing.T) {
	ctx := stopped{context.Background()}
	f := newFeed("outlet 1", 0)
	host := fencing.Host{Name: "db1", Levels: []fencing.Level{{f}}}
	if res := fencing.Off(ctx, host, fencing.Timing{}); len(f.orders) > 0 || res.Outcome != fencing.Refused {
		t.Errorf("off: %d commands, %s", len(f.orders), res.Outcome)
	}
	f.on = false
	if res := fencing.On(ctx, host, fencing.Timing{}); len(f.orders) > 0 || res.Outcome == fencing.Confirmed {
		t.Errorf("on: %d commands, %s: %s", len(f.orders), res.Outcome, res.Reason)
	}
}
