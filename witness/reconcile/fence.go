package reconcile

import (
	"context"
	"encoding/json"
	"fmt"

	"quorate/fencing"
	"quorate/witness"
)

// Driver opens a device from its declared settings. It does no I/O, and
// reports every fault in the settings at once.
type Driver func(settings map[string]string) (fencing.Device, error)

// Fencer executes power actions on the declared devices.
type Fencer struct {
	Drivers map[string]Driver
	Timing  fencing.Timing
	// Reveal returns the settings of a device with its secrets in clear; nil
	// takes them as they are.
	Reveal func(device string, settings map[string]string) (map[string]string, error)
}

var _ Executor = (*Fencer)(nil)

// Execute powers the host of an action off or on, as the state declares it.
func (f *Fencer) Execute(ctx context.Context, s *witness.State, a *witness.Action) witness.Finished {
	spec := s.Config.Host(a.Host)
	if spec == nil {
		return witness.Finished{Outcome: witness.Refused, Grade: witness.GradeUnknown, Reason: "host " + a.Host + " is declared no more"}
	}
	host := f.host(s.Config, spec)
	var res fencing.Result
	switch a.Kind {
	case witness.ActionFenceOff:
		res = fencing.Off(ctx, host, f.Timing)
	case witness.ActionFenceOn:
		res = fencing.On(ctx, host, f.Timing)
	default:
		return witness.Finished{Outcome: witness.Refused, Grade: witness.GradeUnknown, Reason: "this witness cannot execute " + a.Kind}
	}
	evidence, err := json.Marshal(res.Evidence)
	if err != nil {
		return witness.Finished{Outcome: witness.Unknown, Grade: witness.GradeUnknown, Reason: fmt.Sprintf("the evidence cannot be written: %v", err)}
	}
	return witness.Finished{Outcome: outcomes[res.Outcome], Grade: grades[res.Evidence.Grade], Reason: res.Reason, Evidence: evidence}
}

// What the fencing package says, in the words of the log. What is not in the
// tables becomes "", which proves nothing.
var (
	outcomes = map[fencing.Outcome]witness.Outcome{
		fencing.Confirmed: witness.Confirmed,
		fencing.Refused:   witness.Refused,
		fencing.Unknown:   witness.Unknown,
	}
	grades = map[fencing.Grade]witness.Grade{
		fencing.GradeObservedOff: witness.GradeObserved,
		fencing.GradeFeedsOff:    witness.GradeFeeds,
		fencing.GradeSelfFenced:  witness.GradeSelf,
		fencing.GradeUnknown:     witness.GradeUnknown,
	}
)

// host builds the levels of a host. A device that cannot be opened stays in
// its level as one that proves nothing, so that the level fails for a reason.
func (f *Fencer) host(cfg *witness.Config, spec *witness.Host) fencing.Host {
	steps := stepsOf(spec)
	host := fencing.Host{Name: spec.Name}
	for i, step := range steps {
		if i == 0 || step.Level != steps[i-1].Level {
			host.Levels = append(host.Levels, nil)
		}
		last := len(host.Levels) - 1
		host.Levels[last] = append(host.Levels[last], f.open(cfg, step.Device))
	}
	return host
}

func (f *Fencer) open(cfg *witness.Config, name string) fencing.Device {
	spec := cfg.Device(name)
	if spec == nil {
		return fencing.Unusable(name, fmt.Errorf("device %s is declared no more", name))
	}
	driver := f.Drivers[spec.Driver]
	if driver == nil {
		return fencing.Unusable(name, fmt.Errorf("this witness has no driver %q for device %s", spec.Driver, name))
	}
	settings := spec.Settings
	if f.Reveal != nil {
		var err error
		if settings, err = f.Reveal(name, settings); err != nil {
			return fencing.Unusable(name, fmt.Errorf("device %s: %w", name, err))
		}
	}
	dev, err := driver(settings)
	if err != nil {
		return fencing.Unusable(name, fmt.Errorf("device %s: %w", name, err))
	}
	return dev
}

// CheckSettings returns every fault in the settings of a declared device, as its driver finds them, without touching the
// device. A driver that this witness does not have is a fault of the configuration, and told there.
func (f *Fencer) CheckSettings(d witness.Device) error {
	driver := f.Drivers[d.Driver]
	if driver == nil {
		return nil
	}
	settings := d.Settings
	if f.Reveal != nil {
		var err error
		if settings, err = f.Reveal(d.Name, settings); err != nil {
			return nil // a secret that was sealed before and cannot be opened here is told by the checks of devices
		}
	}
	_, err := driver(settings)
	return err
}
