package agent

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"quorate/fencing"
)

// Device is one machine as one agent knows it. It keeps nothing open between calls.
type Device struct {
	config Config
	trait  trait
	path   string
	mask   mask
}

var _ fencing.Patient = (*Device)(nil)

// Name identifies the device in evidence.
func (d *Device) Name() string { return d.config.Name }

// Patience: an agent needs a second to start, and one that switches waits for the device itself.
func (d *Device) Patience() fencing.Timing {
	status := d.config.StatusTimeout
	if !*d.config.Parallel {
		status *= time.Duration(max(1, len(d.config.Plugs)))
	}
	return fencing.Timing{
		Attempt: d.config.AttemptTimeout, Contact: status, Call: max(d.config.CallTimeout, status), Poll: 500 * time.Millisecond,
	}
}

// installed makes sure that the agent is there, and that nobody but its owner can have changed it.
func (d *Device) installed() error {
	info, err := os.Stat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is not installed on this witness: install it (Debian: fence-agents), or fence this host by another device", fencing.ErrPermanent, d.path)
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%w: %s is not a program", fencing.ErrPermanent, d.path)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%w: everybody may change %s, so it is not run: take the permission away (chmod o-w)", fencing.ErrPermanent, d.path)
	}
	return nil
}

// call runs the agent once. Its options go by standard input: arguments can be read by every user of the machine.
func (d *Device) call(ctx context.Context, action, plug string, limit time.Duration) (int, string, error) {
	if err := d.installed(); err != nil {
		return 0, "", err
	}
	var input strings.Builder
	fmt.Fprintf(&input, "action=%s\n", action)
	if plug != "" {
		fmt.Fprintf(&input, "plug=%s\nport=%s\n", plug, plug) // port is the older name; the newer one is not known everywhere
	}
	for _, name := range slices.Sorted(maps.Keys(d.config.Options)) {
		fmt.Fprintf(&input, "%s=%s\n", name, d.config.Options[name])
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s took longer than %v", d.config.Agent, limit))
	defer cancel()
	code, output, err := execute(ctx, d.path, input.String())
	return code, d.mask.hide(lastWords(output)), err
}

// each runs f for every plug, or once without one.
func (d *Device) each(f func(i int, plug string)) {
	plugs := d.config.Plugs
	if len(plugs) == 0 {
		plugs = []string{""}
	}
	var wg sync.WaitGroup
	for i, plug := range plugs {
		if *d.config.Parallel {
			wg.Go(func() { f(i, plug) })
		} else {
			f(i, plug)
		}
	}
	wg.Wait()
}

// Read asks for the state of every plug, each by a run of its own: agents that are asked about several answer for one.
func (d *Device) Read(ctx context.Context) (fencing.Reading, error) {
	n := max(1, len(d.config.Plugs))
	parts, errs := make([]fencing.Part, n), make([]error, n)
	d.each(func(i int, plug string) {
		parts[i], errs[i] = d.status(ctx, plug)
	})
	reading := fencing.Reading{
		State: fencing.PowerUnknown, At: time.Now(), Device: d.config.Name, Proves: d.config.Proves,
		Identity: fmt.Sprintf("%s risk=%s", d.path, d.trait.risk),
	}
	if err := errors.Join(errs...); err != nil {
		return reading, err
	}
	if len(d.config.Plugs) == 0 {
		reading.State, reading.Raw = parts[0].State, parts[0].Raw
		return reading, nil
	}
	reading.State, reading.Parts, reading.Raw = fencing.Together(parts), parts, string(fencing.Together(parts))
	return reading, nil
}

// status is the state of one plug. The codes are those of FenceAgentAPI.md: 0 on, 2 off, 1 not reached.
func (d *Device) status(ctx context.Context, plug string) (fencing.Part, error) {
	code, says, err := d.call(ctx, "status", plug, d.config.StatusTimeout)
	part := fencing.Part{Name: plug, State: fencing.PowerUnknown, Raw: fmt.Sprintf("exit %d: %s", code, says)}
	switch {
	case err != nil:
		return part, fmt.Errorf("%s: %w (%s)", d.what("status", plug), err, says)
	case code == 0 && contradicts(says, "off"), code == 2 && contradicts(says, "on"):
		return part, nil // its words say the opposite of its code: believe neither
	case code == 2 && says != "" && !offWord.MatchString(says):
		return part, nil // shells and Python leave with 2 as well when a script is broken
	case code == 0:
		part.State = fencing.PowerOn
	case code == 2:
		part.State = fencing.PowerOff
	case code == 1:
		return part, fmt.Errorf("%s: exit 1, the device was not reached: %s", d.what("status", plug), says)
	}
	return part, nil
}

// offWord is what an agent says that is not silent about an outlet or a machine that is off ("Status: OFF").
var offWord = regexp.MustCompile(`(?i)\boff\b`)

// contradicts reports whether an agent of fence-agents prints this state ("Status: ON").
func contradicts(says, state string) bool {
	return strings.Contains(strings.ToLower(says), "status: "+state)
}

func (d *Device) what(action, plug string) string {
	return strings.TrimSpace(d.config.Agent + " " + action + " " + plug)
}

// Off runs the agent's off for every plug. It never uses reboot: some agents cycle then, which cannot be verified.
func (d *Device) Off(ctx context.Context) error { return d.switchAll(ctx, "off") }

// On runs the agent's on for every plug.
func (d *Device) On(ctx context.Context) error { return d.switchAll(ctx, "on") }

func (d *Device) switchAll(ctx context.Context, action string) error {
	if err := d.installed(); err != nil {
		return err
	}
	errs := make([]error, max(1, len(d.config.Plugs)))
	d.each(func(i int, plug string) {
		code, says, err := d.call(ctx, action, plug, d.config.CallTimeout)
		switch {
		case err != nil:
			errs[i] = fmt.Errorf("%s: %w (%s)", d.what(action, plug), err, says)
		case code != 0:
			errs[i] = fmt.Errorf("%s: exit %d: %s", d.what(action, plug), code, says)
		}
	})
	return errors.Join(errs...)
}

// Check reads the state, and compares the options with those that the agent lists.
func (d *Device) Check(ctx context.Context) (fencing.Readiness, error) {
	var ready fencing.Readiness
	reading, err := d.Read(ctx)
	ready.Reading = reading
	if err != nil {
		ready.Faults = append(ready.Faults, err.Error())
		return ready, err
	}
	if reading.State == fencing.PowerUnknown {
		ready.Faults = append(ready.Faults, fmt.Sprintf("the agent tells no state that can be believed: %s", reading.Raw))
	}
	warn := func(format string, args ...any) {
		ready.Warnings = append(ready.Warnings, fmt.Sprintf(format, args...))
	}
	if d.trait.risk != low {
		warn("%s: risk of a false success %s: %s", d.config.Agent, d.trait.risk, d.trait.why)
	}
	if demand := d.trait.demand; demand != "" && d.config.Options[demand] == "" {
		warn("set %s%s: without it the agent chooses which machine it switches", optionPrefix, demand)
	}
	names, err := d.options(ctx)
	if err != nil {
		warn("its options could not be checked: %v", err)
		return ready, nil
	}
	for _, option := range slices.Sorted(maps.Keys(d.config.Options)) {
		if !slices.Contains(names, option) {
			warn("%s has no option %s and ignores it: is it misspelt?", d.config.Agent, option)
		}
	}
	return ready, nil
}

// options are the names that the agent's metadata list.
func (d *Device) options(ctx context.Context) ([]string, error) {
	if err := d.installed(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.config.StatusTimeout, fmt.Errorf("metadata took longer than %v", d.config.StatusTimeout))
	defer cancel()
	code, output, err := execute(ctx, d.path, "action=metadata\n")
	if err != nil || code != 0 {
		return nil, fmt.Errorf("metadata: exit %d: %w", code, err)
	}
	var metadata struct {
		Parameters []struct {
			Name string `xml:"name,attr"`
		} `xml:"parameters>parameter"`
	}
	if err := xml.Unmarshal([]byte(output), &metadata); err != nil {
		return nil, fmt.Errorf("its metadata cannot be read: %w", err)
	}
	var names []string
	for _, p := range metadata.Parameters {
		names = append(names, p.Name)
	}
	return names, nil
}

// Close has nothing to do: each run of the agent logs out itself.
func (d *Device) Close(context.Context) error { return nil }
