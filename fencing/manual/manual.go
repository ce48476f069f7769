package manual

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"quorate/fencing"
)

// Limits of the texts: they become evidence in a replicated log.
const (
	maxInstructions = 160
	maxContact      = 60
)

// Config says where the machine is, and who can be asked.
type Config struct {
	Name         string // in evidence; default: by hand
	Instructions string // "rack 4, left PDU, outlets 3 and 5: pull both"
	Contact      string // "on-call, +49 30 …"
}

// Open makes a device from textual settings. Its error reports every fault at once; README.md lists the settings.
func Open(settings map[string]string) (fencing.Device, error) {
	var c Config
	var faults []error
	texts := map[string]*string{"name": &c.Name, "instructions": &c.Instructions, "contact": &c.Contact}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		if text, ok := texts[key]; ok {
			*text = settings[key]
		} else {
			faults = append(faults, fmt.Errorf("manual: %s: no such setting", key))
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
	var faults []error
	if strings.TrimSpace(c.Instructions) == "" {
		faults = append(faults, errors.New("manual: instructions: say where the machine is and what to pull; whoever reads it is in a hurry"))
	}
	for _, text := range []struct {
		setting, value string
		limit          int
	}{{"instructions", c.Instructions, maxInstructions}, {"contact", c.Contact, maxContact}} {
		if len(text.value) > text.limit {
			faults = append(faults, fmt.Errorf("manual: %s: %d bytes; the limit is %d", text.setting, len(text.value), text.limit))
		}
		if strings.ContainsFunc(text.value, unicode.IsControl) {
			faults = append(faults, fmt.Errorf("manual: %s: one line only", text.setting))
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if c.Name == "" {
		c.Name = "by hand"
	}
	return &Device{config: c}, nil
}

// Device is a person.
type Device struct{ config Config }

var _ fencing.Passive = (*Device)(nil)

// Name identifies the device in evidence.
func (d *Device) Name() string { return d.config.Name }

// Passive: nothing is switched from here.
func (d *Device) Passive() {}

// Read never proves anything: what a person has seen is recorded under that person's name, in the log, and not read back.
func (d *Device) Read(ctx context.Context) (fencing.Reading, error) {
	return fencing.Reading{
		State: fencing.PowerUnknown, Raw: "waits for a person", At: time.Now(), Device: d.config.Name, Identity: d.config.Instructions, Proves: fencing.GradeUnknown,
	}, ctx.Err()
}

// Off says what to do by hand. Nothing has been carried out.
func (d *Device) Off(context.Context) error { return d.order("switched off") }

// On says what to do by hand. Nothing has been carried out.
func (d *Device) On(context.Context) error { return d.order("switched on") }

func (d *Device) order(what string) error {
	text := fmt.Sprintf("%s by hand only: %s", what, d.config.Instructions)
	if d.config.Contact != "" {
		text += " (" + d.config.Contact + ")"
	}
	return fmt.Errorf("%w: %s; then witnessctl fence confirm-off", fencing.ErrPermanent, text)
}

// Check warns that this level needs somebody to be there.
func (d *Device) Check(ctx context.Context) (fencing.Readiness, error) {
	reading, err := d.Read(ctx)
	return fencing.Readiness{Reading: reading, Warnings: []string{
		"this level waits for a person: " + d.config.Instructions,
	}}, err
}

// Close has nothing to do.
func (d *Device) Close(context.Context) error { return nil }
