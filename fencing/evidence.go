package fencing

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Outcome of an operation. Only Confirmed may unlock anything.
type Outcome string

const (
	// Confirmed: every device of one level was read in the wanted state.
	Confirmed Outcome = "confirmed"
	// Refused: no device was ever given a command that it may have carried out. The host is as it was.
	Refused Outcome = "refused"
	// Unknown: commands may have been carried out, but the state is not proven. Treat the host as running.
	Unknown Outcome = "unknown"
)

// Result of an operation on a host.
type Result struct {
	Outcome  Outcome  `json:"outcome"`
	Reason   string   `json:"reason"` // for the operator: what happened, what it means, what to do
	Evidence Evidence `json:"evidence"`
}

// Limits on evidence, which is stored in a replicated log. MaxEvidenceBytes bounds the JSON of a Result in the worst
// case (MaxDevices devices that all answer nonsense); a usual one has about 1 kB.
const (
	MaxEvidenceBytes = 128 << 10
	maxSteps         = 12 // per device
	maxReadings      = 12 // per device
	maxText          = 240
	maxRaw           = 64
	maxPartReadings  = 3  // per part: the first and the two latest
	maxPartText      = 24 // name, and raw value
	maxReason        = 1200
)

// Evidence is all that was seen and done, device by device.
type Evidence struct {
	Host       string           `json:"host"`
	Grade      Grade            `json:"grade"`           // the weakest of the devices that prove the outcome
	Level      int              `json:"level,omitempty"` // the level that proved it, from 1; 0: none did
	Devices    []DeviceEvidence `json:"devices"`         // in the order tried; levels that were not needed are absent
	Started    time.Time        `json:"started"`
	Finished   time.Time        `json:"finished"`
	DeviceTime time.Duration    `json:"device_time_ns"` // the slowest device's of the proving level
	Overhead   time.Duration    `json:"overhead_ns"`    // the rest: failed levels, connecting, confirming
}

// DeviceEvidence is what one device was asked and what it answered.
type DeviceEvidence struct {
	Device          string         `json:"device"`
	Level           int            `json:"level"`
	Identity        string         `json:"identity,omitempty"`
	Grade           Grade          `json:"grade"`
	Steps           []Step         `json:"steps"`
	Readings        []Reading      `json:"readings"`                   // the first and the latest ones
	Parts           []PartEvidence `json:"parts,omitempty"`            // outlet by outlet, if the device switches several at once
	DroppedSteps    int            `json:"dropped_steps,omitempty"`    // left out to bound the size
	DroppedReadings int            `json:"dropped_readings,omitempty"` // left out to bound the size
	Started         time.Time      `json:"started"`
	Finished        time.Time      `json:"finished"`
	DeviceTime      time.Duration  `json:"device_time_ns"`  // from the answer to the command until the first Off reading
	Error           string         `json:"error,omitempty"` // why this device proved nothing
}

// PartEvidence is what was read of one outlet: the first reading and the two latest, which are the proof if there is one.
type PartEvidence struct {
	Part     string    `json:"part"`
	Readings []Reading `json:"readings"`
}

// Step is something done to a device.
type Step struct {
	What  string    `json:"what"`
	At    time.Time `json:"at"`
	Error string    `json:"error,omitempty"`
}

func (e *DeviceEvidence) step(what string, err error) {
	s := Step{What: what, At: time.Now()}
	if err != nil {
		s.Error = clip(err.Error(), maxText)
	}
	e.Steps, e.DroppedSteps = keep(e.Steps, s, maxSteps, e.DroppedSteps)
}

func (e *DeviceEvidence) reading(r Reading) {
	if r.Identity != "" {
		e.Identity = clip(r.Identity, maxText)
	}
	e.parts(r)
	r.Device, r.Identity, r.Proves, r.Parts = "", "", "", nil
	r.Raw = clip(r.Raw, maxRaw)
	e.Readings, e.DroppedReadings = keep(e.Readings, r, maxReadings, e.DroppedReadings)
}

func (e *DeviceEvidence) parts(r Reading) {
	for i, p := range r.Parts[:min(len(r.Parts), MaxParts)] {
		if i == len(e.Parts) {
			e.Parts = append(e.Parts, PartEvidence{Part: clip(p.Name, maxPartText)})
		}
		one := Reading{State: known(p.State), Raw: clip(p.Raw, maxPartText), At: r.At}
		e.Parts[i].Readings, _ = keep(e.Parts[i].Readings, one, maxPartReadings, 0)
	}
}

// known keeps a driver's slip out of the evidence.
func known(s PowerState) PowerState {
	switch s {
	case PowerOn, PowerOff, PowerTransition:
		return s
	default:
		return PowerUnknown
	}
}

// keep appends v, and beyond limit drops from the middle: how it began and how it ended both matter.
func keep[T any](list []T, v T, limit, dropped int) ([]T, int) {
	if len(list) < limit {
		return append(list, v), dropped
	}
	head := limit / 3
	copy(list[head:], list[head+1:])
	list[limit-1] = v
	return list, dropped + 1
}

// clip bounds text that came from a device, by its size in JSON, and keeps it on one line.
func clip(s string, limit int) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	size, end := 0, 0 // end: the longest prefix that leaves room for the ellipsis
	for i, r := range s {
		if size <= limit-len("…") {
			end = i
		}
		switch r {
		case '<', '>', '&', '\u2028', '\u2029': // encoding/json writes \u003c
			size += 6
		case '"', '\\':
			size += 2
		default:
			size += utf8.RuneLen(r)
		}
		if size > limit {
			return s[:end] + "…"
		}
	}
	return s
}
