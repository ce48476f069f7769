package watchdog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"quorate/fencing"
)

// Config is a contract with a name.
type Config struct {
	Name string // in evidence; default: watchdog
	Contract
}

// Open makes a device from textual settings. Its error reports every fault at once; README.md lists the settings.
func Open(settings map[string]string) (fencing.Device, error) {
	c := Config{Contract: Contract{Kind: Hardware}}
	var faults []error
	durations := map[string]*time.Duration{"timeout": &c.Timeout, "feed": &c.Feed, "margin": &c.Margin}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		value := settings[key]
		var err error
		switch d := durations[key]; {
		case d != nil:
			*d, err = time.ParseDuration(value)
		case key == "name":
			c.Name = value
		case key == "kind":
			c.Kind = Kind(value)
		case key == "nowayout":
			c.Nowayout, err = strconv.ParseBool(value)
		default:
			err = errors.New("no such setting")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("watchdog: %s: %w", key, err))
		}
	}
	device, err := New(c)
	if err = errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	return device, nil
}

// New makes a device. Its error reports every fault at once.
func New(c Config) (*Device, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Name == "" {
		c.Name = "watchdog"
	}
	return &Device{config: c}, nil
}

// Device is the watchdog in a machine, as seen from outside: it cannot be asked, and cannot be told.
type Device struct{ config Config }

var _ fencing.Passive = (*Device)(nil)

// Name identifies the device in evidence.
func (d *Device) Name() string { return d.config.Name }

// Passive: nothing is switched from here.
func (d *Device) Passive() {}

// Contract is what the machine promises.
func (d *Device) Contract() Contract { return d.config.Contract }

// Read never proves anything: silence is judged on the log's clock, which a driver does not have.
func (d *Device) Read(ctx context.Context) (fencing.Reading, error) {
	return fencing.Reading{
		State: fencing.PowerUnknown, Raw: "by time only", At: time.Now(), Device: d.config.Name,
		Identity: fmt.Sprintf("%s watchdog timeout=%v silence=%v", d.config.Kind, d.config.Timeout, d.config.Silence()), Proves: fencing.GradeUnknown,
	}, ctx.Err()
}

// Off says when the machine will have fenced itself. Nothing has been carried out.
func (d *Device) Off(context.Context) error {
	return fmt.Errorf("%w: the machine fences itself, which nobody can read back: %v after its last renewal, a cluster with on_unproven: release-after may release what it held",
		fencing.ErrPermanent, d.config.Silence())
}

// On: a machine that was reset starts by itself.
func (d *Device) On(context.Context) error {
	return fmt.Errorf("%w: a watchdog switches nothing on", fencing.ErrPermanent)
}

// Check names what weakens the promise.
func (d *Device) Check(ctx context.Context) (fencing.Readiness, error) {
	reading, err := d.Read(ctx)
	ready := fencing.Readiness{Reading: reading, Warnings: []string{fmt.Sprintf(
		"evidence by time only: the cluster's release_after must be at least %v", d.config.Silence())}}
	if d.config.Kind == Software && d.config.Nowayout {
		ready.Warnings = append(ready.Warnings, "a software watchdog does not bite when the kernel hangs or the machine is paused: use the hardware's")
	}
	if d.config.Kind == Software && !d.config.Nowayout {
		ready.Faults = append(ready.Faults, "a software watchdog that can be disarmed proves nothing: load softdog with nowayout=1, and set nowayout")
	}
	return ready, err
}

// Close has nothing to do.
func (d *Device) Close(context.Context) error { return nil }
