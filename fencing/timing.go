package fencing

import (
	"cmp"
	"time"
)

// Timing holds every deadline and interval of an operation. A field that is zero takes its default.
type Timing struct {
	Operation time.Duration // whole operation, all levels; default 60 s
	Attempt   time.Duration // one device, from first contact to proof of off; default 20 s
	AttemptOn time.Duration // one device, from first contact to On; default 60 s, as a BMC may have to boot first
	Contact   time.Duration // longest time without any answer before a device is given up, also at first; default 4.9 s: the next level starts within 5 s
	Call      time.Duration // one call to a device; default 5 s
	Close     time.Duration // logging out; default 1 s

	Poll     time.Duration // interval of readings in the first PollFast after the command; default 100 ms
	PollFast time.Duration // default 5 s
	PollSlow time.Duration // interval afterwards; default 1 s
	Confirm  time.Duration // between the first Off reading and the one that confirms it; default 50 ms

	Resend time.Duration // command again if it was accepted and has had no effect; default 5 s
	Retry  time.Duration // command or connect again after an error; default 500 ms
}

func (t Timing) withDefaults() Timing {
	return Timing{
		Operation: cmp.Or(t.Operation, 60*time.Second),
		Attempt:   cmp.Or(t.Attempt, 20*time.Second),
		AttemptOn: cmp.Or(t.AttemptOn, 60*time.Second),
		Contact:   cmp.Or(t.Contact, 4900*time.Millisecond),
		Call:      cmp.Or(t.Call, 5*time.Second),
		Close:     cmp.Or(t.Close, time.Second),
		Poll:      cmp.Or(t.Poll, 100*time.Millisecond),
		PollFast:  cmp.Or(t.PollFast, 5*time.Second),
		PollSlow:  cmp.Or(t.PollSlow, time.Second),
		Confirm:   cmp.Or(t.Confirm, 50*time.Millisecond),
		Resend:    cmp.Or(t.Resend, 5*time.Second),
		Retry:     cmp.Or(t.Retry, 500*time.Millisecond),
	}
}
