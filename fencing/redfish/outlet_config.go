package redfish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"quorate/fencing"
)

// OutletConfig describes the outlets of one host on one PDU. The connection is that of Config, of which the fields about
// systems stay empty.
type OutletConfig struct {
	Config
	PDU     string // ID or path of the PDU; default the only one
	Serial  string // of the PDU; must match, or nothing is sent; empty: not checked
	Outlets string // comma-separated, IDs or paths; either these
	Group   string // or the ID or path of an outlet group

	outlets []string
}

// paths reports whether nothing has to be looked up in the PDU.
func (c *OutletConfig) paths() bool {
	return (c.Group == "" || strings.HasPrefix(c.Group, "/")) &&
		!slices.ContainsFunc(c.outlets, func(o string) bool { return !strings.HasPrefix(o, "/") })
}

// OpenOutlets makes a device from textual settings, as they stand in configuration. It does no I/O but reading ca_file. Its
// error reports every fault at once; README.md lists the settings.
func OpenOutlets(settings map[string]string) (fencing.Device, error) {
	var c OutletConfig
	faults := c.parse(settings, map[string]*string{"pdu": &c.PDU, "serial": &c.Serial, "outlets": &c.Outlets, "group": &c.Group})
	device, err := NewOutlets(c)
	if err = errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	return device, nil
}

// NewOutlets makes a device. It does no I/O but reading CAFile. Its error reports every fault at once.
func NewOutlets(c OutletConfig) (*Outlets, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("redfish: "+format, args...)) }
	link, err := New(c.Config)
	if err != nil {
		faults = append(faults, err)
	}
	for part := range strings.SplitSeq(c.Outlets, ",") {
		switch part = strings.TrimSpace(part); {
		case part == "":
		case slices.Contains(c.outlets, part):
			fault("outlets: %s is listed twice", part)
		default:
			c.outlets = append(c.outlets, part)
		}
	}
	switch {
	case len(c.outlets) == 0 && c.Group == "":
		fault("outlets or group: list every outlet of this PDU that feeds the host, or name a group of them; one that is missing keeps it running")
	case len(c.outlets) > 0 && c.Group != "":
		fault("outlets and group: give one of them")
	case len(c.outlets) > fencing.MaxParts:
		fault("outlets: %d are more than the limit of %d", len(c.outlets), fencing.MaxParts)
	}
	for _, name := range append([]string{c.PDU, c.Group}, c.outlets...) {
		if strings.HasPrefix(name, "/") || !strings.Contains(name, "/") {
			continue
		}
		fault("pdu, outlets, group: %q is neither an ID nor a path that begins with a slash", redact(name))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if c.Name == "" {
		c.Name = link.origin.Host + " outlet " + strings.Join(append(slices.Clone(c.outlets), c.Group), ", ")
		c.Name = strings.TrimSuffix(c.Name, ", ")
	}
	return &Outlets{config: c, link: link}, nil
}

// Check reads every outlet and makes sure that each can be switched. It changes nothing.
func (d *Outlets) Check(ctx context.Context) (fencing.Readiness, error) {
	var ready fencing.Readiness
	reading, err := d.Read(ctx)
	ready.Reading = reading
	if err != nil {
		ready.Faults = append(ready.Faults, err.Error())
		return ready, err
	}
	warn := func(format string, args ...any) {
		ready.Warnings = append(ready.Warnings, fmt.Sprintf(format, args...))
	}
	to := d.outlets
	if d.group != nil {
		to = []*socket{d.group}
	}
	for _, s := range to {
		if _, err := d.target(s, "Off"); err != nil {
			ready.Faults = append(ready.Faults, err.Error())
		}
	}
	for _, s := range d.all() {
		if s.last.locked {
			warn("%s is locked: the PDU may refuse to switch it off", s.name)
		}
		if s.last.delay > 0 {
			warn("%s goes off %g s after the command (PowerOffDelaySeconds): set it to 0", s.name, s.last.delay)
		}
	}
	if d.group != nil && len(d.outlets) == 0 {
		warn("%s does not list its outlets, so its own word has to be taken for all of them: list them by the setting outlets", d.group.name)
	}
	if d.config.Insecure {
		warn("the PDU's certificate is not verified: whoever is on the path can read the password and fake the power state; pin it by cert_sha256 %s", d.link.wire.fingerprint())
	}
	if d.config.Serial == "" {
		warn("the PDU is not pinned: set serial %q, so that an exchanged address cannot switch another one", d.serial)
	}
	return ready, nil
}
