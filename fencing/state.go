package fencing

import (
	"context"
	"slices"
	"sync"
)

// HostState is what all devices of a host say at one moment. It is for display and for monitoring; it takes one reading
// of each device, so it is no proof of off.
type HostState struct {
	State   PowerState    `json:"state"`
	Devices []DeviceState `json:"devices"`
}

// DeviceState is one device's share of it. Readiness is set by Check only.
type DeviceState struct {
	Device    string     `json:"device"`
	Level     int        `json:"level"`
	Reading   Reading    `json:"reading"`
	Readiness *Readiness `json:"readiness,omitempty"`
	Error     string     `json:"error,omitempty"` // no answer: why
}

// State reads every device of the host once, all at the same time, and closes them.
func State(ctx context.Context, host Host, t Timing) HostState {
	return survey(ctx, host, t, func(ctx context.Context, dev Device, s *DeviceState) error {
		r, err := dev.Read(ctx)
		s.Reading = r
		return err
	})
}

// Check asks every device of the host whether it could fence now, all at the same time, and closes them. It changes
// nothing. A device that fails it is still used by Off.
func Check(ctx context.Context, host Host, t Timing) HostState {
	return survey(ctx, host, t, func(ctx context.Context, dev Device, s *DeviceState) error {
		r, err := dev.Check(ctx)
		s.Readiness, s.Reading = &r, r.Reading
		return err
	})
}

func survey(ctx context.Context, host Host, t Timing, ask func(context.Context, Device, *DeviceState) error) HostState {
	t = t.withDefaults()
	var devices []DeviceState
	var wg sync.WaitGroup
	for i, level := range host.Levels {
		for _, dev := range level {
			devices = append(devices, DeviceState{Device: dev.Name(), Level: i + 1})
		}
	}
	n := 0
	for _, level := range host.Levels {
		for _, dev := range level {
			s := &devices[n]
			n++
			wg.Go(func() {
				call, cancel := context.WithTimeout(ctx, timingFor(dev, t).Contact)
				defer cancel()
				err := ask(call, dev, s)
				s.Reading = s.Reading.sober()
				if err != nil {
					s.Reading.State = PowerUnknown
					s.Error = clip(withCause(call, err).Error(), maxText)
				}
				closing, stop := context.WithTimeout(context.WithoutCancel(ctx), t.Close)
				defer stop()
				_ = dev.Close(closing) // as in operation.close
			})
		}
	}
	wg.Wait()
	return HostState{State: combine(devices), Devices: devices}
}

// combine says off only if a whole level reads Off and no device sees the machine itself running.
func combine(devices []DeviceState) PowerState {
	levelOff := map[int]bool{}
	on, off := false, false
	for _, d := range devices {
		isOff := d.Reading.State == PowerOff
		if seen, ok := levelOff[d.Level]; ok {
			isOff = isOff && seen
		}
		levelOff[d.Level] = isOff
		if d.Reading.State == PowerOn && d.Reading.Proves == GradeObservedOff {
			on = true
		}
	}
	for _, all := range levelOff {
		off = off || all
	}
	switch {
	case on && off:
		return PowerUnknown // they contradict each other
	case on:
		return PowerOn
	case off:
		return PowerOff
	default:
		return feeds(devices)
	}
}

// feeds judges a host of which no device sees the machine itself. A feed that is on says nothing about a machine whose
// BMC is silent.
func feeds(devices []DeviceState) PowerState {
	for _, d := range devices {
		if d.Error != "" {
			return PowerUnknown
		}
	}
	for _, d := range devices {
		if d.Reading.State == PowerOn || slices.ContainsFunc(d.Reading.Parts, func(p Part) bool { return p.State == PowerOn }) {
			return PowerOn
		}
	}
	for _, d := range devices {
		if d.Reading.State == PowerTransition {
			return PowerTransition
		}
	}
	return PowerUnknown
}
