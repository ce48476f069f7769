package fencing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// offReadings is how many consecutive Off readings prove it: power states lag and flicker.
const offReadings = 2

var errLevelFailed = errors.New("stopped: another device of this level failed, so the level cannot prove anything")

// Off powers the host off and proves it. A host that is found off is confirmed without a command. It may be called
// again, by this process or another one, as often as one likes. It closes the devices that it used.
func Off(ctx context.Context, host Host, t Timing) Result {
	op := newOperation(host, t)
	ctx, cancel := op.deadline(ctx)
	defer cancel()
	if err := host.validate(); err != nil {
		return op.finish(Refused, GradeUnknown, 0, err.Error())
	}
	for i, level := range host.Levels {
		if ctx.Err() != nil {
			break
		}
		runs := op.level(ctx, i+1, level, PowerOff, offReadings)
		if grade, ok := proven(runs); ok {
			return op.finish(Confirmed, grade, i+1, fmt.Sprintf(
				"%s is off: level %d (%s) read Off %d times in a row; what it held may be released.",
				host.Name, i+1, names(level), offReadings))
		}
	}
	if !op.sent {
		return op.finish(Refused, GradeUnknown, 0, fmt.Sprintf(
			"%s was not switched off and no device took a command: %s. Nothing was released; correct the device settings and fence again.",
			host.Name, op.failures()))
	}
	return op.finish(Unknown, GradeUnknown, 0, fmt.Sprintf(
		"it is not proven that %s is off: %s. Treat it as running; nothing was released. Look at the machine, then fence again or confirm by hand.",
		host.Name, op.failures()))
}

// operation collects what all levels of one operation did.
type operation struct {
	t        Timing
	sent     bool     // some device may have carried out a command
	failed   []string // why devices proved nothing, in the operator's words
	evidence Evidence
	closing  sync.WaitGroup
}

func newOperation(host Host, t Timing) *operation {
	return &operation{
		t:        t.withDefaults(),
		evidence: Evidence{Host: clip(host.Name, maxText), Started: time.Now(), Devices: []DeviceEvidence{}},
	}
}

func (op *operation) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, op.t.Operation,
		fmt.Errorf("the %v allowed for the whole operation are over", op.t.Operation))
}

// run is one device's part in a level.
type run struct {
	attempt
	err error
}

// level drives all devices of a level at the same time. The first that fails to switch off stops the others, so that
// the next level starts at once.
func (op *operation) level(ctx context.Context, n int, devices Level, want PowerState, need int) []*run {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	runs := make([]*run, len(devices))
	var wg sync.WaitGroup
	start := func(r *run, work func(context.Context) error) {
		wg.Go(func() {
			r.err = work(ctx)
			r.log.Finished = time.Now()
			if r.err != nil && want == PowerOff {
				cancel(errLevelFailed)
			}
		})
	}
	var until time.Time // the end of the last attempt
	for i, dev := range devices {
		log := &DeviceEvidence{
			Device: clip(dev.Name(), maxText), Level: n, Grade: GradeUnknown,
			Steps: []Step{}, Readings: []Reading{}, Started: time.Now(),
		}
		t := timingFor(dev, op.t)
		limit := t.Attempt
		if want == PowerOn {
			limit = t.AttemptOn
		}
		r := &run{attempt: attempt{dev: dev, t: t, want: want, need: need, limit: limit, log: log}}
		runs[i] = r
		if end := log.Started.Add(limit); end.After(until) {
			until = end
		}
		start(r, r.attempt.run)
	}
	wg.Wait()
	for late := apart(runs); want == PowerOff && len(late) > 0; late = apart(runs) {
		for _, r := range late {
			start(r, func(ctx context.Context) error { return r.again(ctx, until) })
		}
		wg.Wait()
	}
	for _, r := range runs {
		op.record(r)
		op.close(ctx, r.dev)
	}
	return runs
}

// apart returns the runs of a proven level that were last looked at before the slowest of them was off. A PDU that has
// restarted meanwhile, or a person, may have switched its outlet on again: the host would never have been without power.
func apart(runs []*run) []*run {
	var all time.Time // from here on all of them were off, unless one has changed since it was read
	for _, r := range runs {
		if r.err != nil {
			return nil
		}
		if r.since.After(all) {
			all = r.since
		}
	}
	var late []*run
	for _, r := range runs {
		if r.asked.Before(all) {
			late = append(late, r)
		}
	}
	return late
}

func (op *operation) record(r *run) {
	op.sent = op.sent || r.sent
	if r.err != nil {
		r.log.Error = clip(r.err.Error(), maxText)
		if !errors.Is(r.err, errLevelFailed) { // the device that failed first is the one to name
			op.failed = append(op.failed, fmt.Sprintf("level %d, %s: %s", r.log.Level, r.log.Device, r.log.Error))
		}
	} else {
		r.log.Grade = r.proves
	}
	op.evidence.Devices = append(op.evidence.Devices, *r.log)
}

// close logs out on every way out, also when the operation was cancelled, and without holding up the next level.
func (op *operation) close(ctx context.Context, dev Device) {
	op.closing.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), op.t.Close)
		defer cancel()
		_ = dev.Close(ctx) // a session that stays behind times out on the BMC; it changes nothing about the proof
	})
}

// proven gives the weakest grade of a level in which every device proved its state.
func proven(runs []*run) (Grade, bool) {
	grade := GradeObservedOff
	for _, r := range runs {
		switch {
		case r.err != nil:
			return GradeUnknown, false
		case r.proves == GradeObservedOff:
		case r.proves == GradeFeedsOff:
			grade = GradeFeedsOff
		default: // a driver that does not say what its reading proves has proved nothing
			return GradeUnknown, false
		}
	}
	return grade, len(runs) > 0
}

func (op *operation) finish(outcome Outcome, grade Grade, level int, reason string) Result {
	op.closing.Wait()
	e := &op.evidence
	e.Grade, e.Level = grade, level
	for _, d := range e.Devices {
		if d.Level == level {
			e.DeviceTime = max(e.DeviceTime, d.DeviceTime)
		}
		if d.Finished.After(e.Finished) {
			e.Finished = d.Finished
		}
	}
	if e.Finished.IsZero() {
		e.Finished = time.Now()
	}
	e.Overhead = e.Finished.Sub(e.Started) - e.DeviceTime
	return Result{Outcome: outcome, Reason: clip(reason, maxReason), Evidence: *e}
}

// failures lists why each device proved nothing.
func (op *operation) failures() string {
	if len(op.failed) == 0 {
		return "no device was tried before the time was over"
	}
	return strings.Join(op.failed, "; ")
}

func (h Host) validate() error {
	if len(h.Levels) == 0 {
		return fmt.Errorf("%s has no fence device, so it cannot be fenced: give it at least one", h.Name)
	}
	devices := 0
	for i, level := range h.Levels {
		if len(level) == 0 {
			return fmt.Errorf("fence level %d of %s is empty and would prove nothing: give it a device or remove it", i+1, h.Name)
		}
		devices += len(level)
	}
	if len(h.Levels) > MaxLevels || devices > MaxDevices {
		return fmt.Errorf("%s has %d fence levels with %d devices; the limits are %d and %d",
			h.Name, len(h.Levels), devices, MaxLevels, MaxDevices)
	}
	return nil
}

func names(level Level) string {
	list := make([]string, len(level))
	for i, d := range level {
		list[i] = d.Name()
	}
	return clip(strings.Join(list, ", "), maxText)
}
