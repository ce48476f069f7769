package fencing

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits of one attempt.
const (
	contactTries = 3  // a BMC that refuses connections may be restarting; one that stays away must not hold up the next level
	maxCommands  = 10 // spread by Retry and Resend; a BMC that just switched off may refuse to switch on for seconds
)

// attempt brings one device to one state and proves it.
type attempt struct {
	dev   Device
	t     Timing
	want  PowerState
	need  int           // consecutive readings of want that prove it
	limit time.Duration // for the whole attempt
	log   *DeviceEvidence

	proves   Grade     // of the reading that completed the proof
	last     Reading   // the latest one
	silent   bool      // the latest reading was not answered
	sent     bool      // a command went out that may have been carried out
	commands int       // commands tried
	answered time.Time // when the first command was answered, however it was
	next     time.Time // not before this is the command repeated
	contact  time.Time // the latest answer of any kind
	asked    time.Time // when the latest reading was asked for
	row      int       // consecutive readings of want, the latest one included
	since    time.Time // when the first of them was answered: it was so from here until asked
}

// run returns nil once the state is proven. Its error says why it is not.
func (a *attempt) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, a.limit, a.tooLong())
	defer cancel()
	r, err := a.firstContact(ctx)
	if err != nil {
		return err
	}
	return a.prove(ctx, r)
}

// again looks at a state that was proven before once more, and brings it about anew if it has changed.
func (a *attempt) again(ctx context.Context, until time.Time) error {
	ctx, cancel := context.WithDeadlineCause(ctx, until, a.tooLong())
	defer cancel()
	a.contact = time.Now() // nobody has asked it since
	r, err := a.read(ctx)
	if err != nil {
		return err
	}
	return a.prove(ctx, r)
}

func (a *attempt) tooLong() error {
	return fmt.Errorf("not %s within the %v allowed for one device", a.want, a.limit)
}

// prove takes reading after reading, from r on, until the state is proven.
func (a *attempt) prove(ctx context.Context, r Reading) error {
	for {
		wait := a.t.Confirm
		var err error
		if r.State == a.want {
			if a.row++; a.row == 1 {
				a.since = time.Now()
				a.firstSeen()
			}
			if a.row >= a.need {
				a.proves = r.Proves
				return nil
			}
		} else {
			a.row = 0
			if wait, err = a.command(ctx); err != nil {
				return err
			}
		}
		if err := sleep(ctx, a.pause(wait)); err != nil {
			return a.gaveUp(err)
		}
		if r, err = a.read(ctx); err != nil {
			return err
		}
	}
}

// firstContact has one budget for connecting, logging in and the first reading together.
func (a *attempt) firstContact(ctx context.Context) (Reading, error) {
	silent := fmt.Errorf("no answer within the %v allowed for first contact", a.t.Contact)
	ctx, cancel := context.WithTimeoutCause(ctx, a.t.Contact, silent)
	defer cancel()
	for try := 1; ; try++ {
		a.asked = time.Now()
		r, err := a.dev.Read(ctx)
		a.contact = time.Now()
		if err == nil {
			r = r.sober()
			a.last = r
			a.log.step("first contact", nil)
			a.log.reading(r)
			return r, nil
		}
		a.log.step("first contact", err)
		if errors.Is(err, ErrPermanent) || try == contactTries || ctx.Err() != nil {
			return r, withCause(ctx, err)
		}
		if err := sleep(ctx, a.t.Retry); err != nil {
			return r, err
		}
	}
}

// read takes one reading. No answer is an unknown reading, until the device has been silent for too long.
func (a *attempt) read(ctx context.Context) (Reading, error) {
	budget := min(a.t.Call, a.t.Contact-time.Since(a.contact))
	call, cancel := context.WithTimeout(ctx, max(budget, a.t.Poll))
	defer cancel()
	a.asked = time.Now()
	r, err := a.dev.Read(call)
	if err == nil {
		r = r.sober()
		a.contact, a.last, a.silent = time.Now(), r, false
		a.log.reading(r)
		return r, nil
	}
	a.log.step("read", err)
	a.silent = true
	if errors.Is(err, ErrPermanent) {
		return r, err
	}
	if ctx.Err() != nil {
		return r, a.gaveUp(context.Cause(ctx))
	}
	if silence := time.Since(a.contact); silence >= a.t.Contact {
		return r, fmt.Errorf("vanished: no answer for %v (%w)", a.t.Contact, err)
	}
	return Reading{State: PowerUnknown}, nil
}

// pause is what is left of an interval between readings, which counts from one question to the next: what the answer took
// is part of it. Half of it is left to the device in any case.
func (a *attempt) pause(interval time.Duration) time.Duration {
	if interval <= a.t.Confirm {
		return interval
	}
	return max(interval/2, interval-time.Since(a.asked))
}

// command sends the command if it is due, and says how long to wait before the next reading. A device that does not answer
// is read until it does: the command before may have been carried out, and one more keeps a slow device from answering.
func (a *attempt) command(ctx context.Context) (time.Duration, error) {
	if a.commands < maxCommands && !a.silent && !time.Now().Before(a.next) {
		return 0, a.send(ctx)
	}
	if !a.answered.IsZero() && time.Since(a.answered) > a.t.PollFast {
		return a.t.PollSlow, nil
	}
	return a.t.Poll, nil
}

// send gives the command. Whatever the answer is, the state that is read afterwards decides: BMCs answer with an error
// when the machine is off already, and with success when they do nothing.
func (a *attempt) send(ctx context.Context) error {
	if overdue(ctx) {
		return a.gaveUp(errPaused)
	}
	call, cancel := context.WithTimeout(ctx, a.t.Call)
	defer cancel()
	order := a.dev.Off
	if a.want == PowerOn {
		order = a.dev.On
	}
	err := order(call)
	a.commands++
	a.log.step("command "+string(a.want), err)
	if errors.Is(err, ErrPermanent) {
		return err
	}
	now := time.Now()
	a.sent, a.contact = true, now // the command may have gone through: allow a full silence from here
	if a.answered.IsZero() {
		a.answered = now
	}
	a.next = now.Add(a.t.Resend)
	if err != nil {
		a.next = now.Add(a.t.Retry * time.Duration(a.commands))
	}
	return nil
}

func (a *attempt) firstSeen() {
	a.log.DeviceTime = 0
	if !a.answered.IsZero() {
		a.log.DeviceTime = time.Since(a.answered)
	}
}

func (a *attempt) gaveUp(cause error) error {
	return fmt.Errorf("%w; last state %s %q after %d command(s)", cause, a.last.State, clip(a.last.Raw, maxRaw), a.commands)
}

// withCause puts the reason why ctx ended, where it has, before the error that this produced.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

// errPaused is the end of an operation that was stopped longer than it had time.
var errPaused = errors.New("this process was stopped for longer than the operation may last: somebody else has taken over by now")

// overdue says whether the time of an operation is over, although nothing has ended it yet. A process that was stopped
// wakes up with all of its timers due at once; a command that it sent then could come after a later one of its successor.
func overdue(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && !time.Now().Before(deadline)
}

func sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
