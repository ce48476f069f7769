package fencing

import (
	"context"
	"fmt"
)

// On powers the host on again: every device of every level, the last level first, because a BMC needs its outlets. Passive
// devices are left out.
// Confirmed means that every device reads On, not that the machine has booted. It closes the devices that it used.
func On(ctx context.Context, host Host, t Timing) Result {
	op := newOperation(host, t)
	ctx, cancel := op.deadline(ctx)
	defer cancel()
	if err := host.validate(); err != nil {
		return op.finish(Refused, GradeUnknown, 0, err.Error())
	}
	failed := 0
	for i := len(host.Levels) - 1; i >= 0; i-- {
		for _, r := range op.level(ctx, i+1, host.Levels[i].active(), PowerOn, 1) {
			if r.err != nil {
				failed++
			}
		}
	}
	switch {
	case len(op.evidence.Devices) == 0:
		return op.finish(Refused, GradeUnknown, 0, fmt.Sprintf("%s has no device that switches it on: do it by hand.", host.Name))
	case failed == 0:
		return op.finish(Confirmed, GradeUnknown, 0, fmt.Sprintf("%s is on: all of its devices read On.", host.Name))
	case !op.sent && failed == len(op.evidence.Devices):
		return op.finish(Refused, GradeUnknown, 0, fmt.Sprintf(
			"%s was not switched on, no device took a command: %s. Correct the device settings and try again.", host.Name, op.failures()))
	default:
		return op.finish(Unknown, GradeUnknown, 0, fmt.Sprintf(
			"it is not sure that %s is on: %s. Look at these devices, then switch it on again.", host.Name, op.failures()))
	}
}

// Rebooted is the result of Reboot. The fence succeeded if Off is Confirmed; On says whether the host came back, and
// is nil if the host was not proven off: then it is not switched on either.
type Rebooted struct {
	Off Result  `json:"off"`
	On  *Result `json:"on,omitempty"`
}

// Reboot powers the host off, proves it, and powers it on. It never uses a device's own cycle or restart command:
// they cannot be verified.
func Reboot(ctx context.Context, host Host, t Timing) Rebooted {
	r := Rebooted{Off: Off(ctx, host, t)}
	if r.Off.Outcome == Confirmed {
		on := On(ctx, host, t)
		r.On = &on
	}
	return r
}
