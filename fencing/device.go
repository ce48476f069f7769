package fencing

import (
	"context"
	"errors"
	"time"
)

// PowerState is what a device says about its power path, reduced to what may be decided on.
type PowerState string

// Only a device's exact word for off becomes PowerOff. Values on the way (PoweringOff, PoweringOn, Paused, an outlet's
// pending state) are PowerTransition; null, absent, unparseable and unheard-of values are PowerUnknown.
const (
	PowerOn         PowerState = "on"
	PowerOff        PowerState = "off"
	PowerTransition PowerState = "transition"
	PowerUnknown    PowerState = "unknown"
)

// Grade says what kind of proof stands behind "off", strongest first.
type Grade string

// The grades. This package gives GradeObservedOff, GradeFeedsOff and GradeUnknown; the other two come from a watchdog's
// time and from a named operator, and exist here so that every proof is recorded in one shape.
const (
	GradeObservedOff Grade = "observed-off"        // the machine's own power state was read Off
	GradeFeedsOff    Grade = "feeds-off"           // every feed of the machine was read Off
	GradeSelfFenced  Grade = "self-fenced"         // assumed by time: the machine's watchdog must have fired
	GradeByPerson    Grade = "confirmed-by-person" // a named person says so
	GradeUnknown     Grade = "unknown"             // nothing is proven
)

// Reading is one answer of a device.
type Reading struct {
	State PowerState `json:"state"`
	Raw   string     `json:"raw,omitempty"` // the device's own word, for the evidence
	At    time.Time  `json:"at"`            // wall clock of the reader; for people, never compared
	// Device, Identity and Proves are the same for every reading of a device: evidence keeps them once.
	Device   string `json:"device,omitempty"`
	Identity string `json:"identity,omitempty"` // what the device answered for: system, UUID, serial number
	Proves   Grade  `json:"proves,omitempty"`   // what an Off reading of this device proves
	// Parts are what was read of each outlet, for a device that switches several at once; empty for one that is a whole.
	// The device is off only if every part is: a State that says more than its parts is not believed.
	Parts []Part `json:"parts,omitempty"`
}

// Part is one outlet among those of a device.
type Part struct {
	Name  string     `json:"name"` // such as "outlet 3"
	State PowerState `json:"state"`
	Raw   string     `json:"raw,omitempty"`
}

// Together is the state of a device of which every part was read: on or off only if all of them are.
func Together(parts []Part) PowerState {
	if len(parts) == 0 {
		return PowerUnknown
	}
	state := known(parts[0].State)
	for _, p := range parts[1:] {
		switch next := known(p.State); {
		case next == state:
		case next == PowerUnknown || state == PowerUnknown:
			state = PowerUnknown
		default:
			state = PowerTransition
		}
	}
	return state
}

// sober takes back a state that the reading's own parts do not bear out.
func (r Reading) sober() Reading {
	if together := Together(r.Parts); len(r.Parts) > 0 && r.State != together {
		r.State = together
	}
	return r
}

// ErrPermanent marks a fault that no retry cures: wrong credentials, missing privilege, wrong machine, no way to switch
// off. The sequence goes to the next level at once, and does not hammer a BMC that might lock the account.
// An Off or On that returns it has certainly not been carried out.
var ErrPermanent = errors.New("permanent")

// Device is one power path of one host. It is opened without any I/O, connects at its first call, and belongs to one
// operation at a time: it need not be safe for concurrent use. Every method returns soon after its context ends.
type Device interface {
	// Name identifies the device in evidence; it never contains a secret.
	Name() string
	// Read asks for the power state. An answer that is no state (empty body, unknown word, server error) is a
	// reading with PowerUnknown and no error. An error means no answer; ErrPermanent as above.
	Read(ctx context.Context) (Reading, error)
	// Off commands an immediate, forced power-off, and returns once the command was answered. It must be idempotent.
	// Its error is recorded, but only Read decides. ErrPermanent as above.
	Off(ctx context.Context) error
	// On commands power-on. Same rules as Off.
	On(ctx context.Context) error
	// Check does all that Off would do except for sending the command. It changes nothing on the device.
	Check(ctx context.Context) (Readiness, error)
	// Close logs out and drops connections. The device connects again if it is used afterwards.
	Close(ctx context.Context) error
}

// Readiness tells whether a device could fence now, found out before it is needed.
type Readiness struct {
	Reading  Reading  `json:"reading"`
	Faults   []string `json:"faults,omitempty"`   // each makes Off impossible; says what to do
	Warnings []string `json:"warnings,omitempty"` // each deserves attention; Off would still be tried
}

// Ready reports whether Off would be expected to work.
func (r Readiness) Ready() bool { return len(r.Faults) == 0 }

// Level is the set of devices that must all be off for the host to be off: one BMC, or every outlet that feeds it.
type Level []Device

// Host is what gets fenced. Its levels are tried in order, the first that proves off ends the operation.
type Host struct {
	Name   string
	Levels []Level
}

// Limits on a host: they bound the work and the size of the evidence.
const (
	MaxLevels  = 9
	MaxDevices = 16 // in all levels together
	MaxParts   = 8  // of one device
)
