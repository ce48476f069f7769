package fencing

import "cmp"

// Patient is a Device that needs other times than those of the operation: a program that takes a second to start, a cloud
// that takes a minute to stop a machine. Its fields that are not zero hold for this device alone; the operation as a whole
// keeps its limit.
type Patient interface {
	Device
	Patience() Timing
}

// timingFor is t with the device's own times in it.
func timingFor(dev Device, t Timing) Timing {
	p, ok := dev.(Patient)
	if !ok {
		return t
	}
	own := p.Patience()
	return Timing{
		Operation: t.Operation,
		Attempt:   cmp.Or(own.Attempt, t.Attempt),
		AttemptOn: cmp.Or(own.AttemptOn, t.AttemptOn),
		Contact:   cmp.Or(own.Contact, t.Contact),
		Call:      cmp.Or(own.Call, t.Call),
		Close:     cmp.Or(own.Close, t.Close),
		Poll:      cmp.Or(own.Poll, t.Poll),
		PollFast:  cmp.Or(own.PollFast, t.PollFast),
		PollSlow:  cmp.Or(own.PollSlow, t.PollSlow),
		Confirm:   cmp.Or(own.Confirm, t.Confirm),
		Resend:    cmp.Or(own.Resend, t.Resend),
		Retry:     cmp.Or(own.Retry, t.Retry),
	}
}
