package redfish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"quorate/fencing"
)

// Outlets are the outlets of one host on one PDU that speaks Redfish (DSP8010 PowerDistribution, Outlet, OutletGroup): listed
// one by one, or a group. It connects at its first call. It is not safe for concurrent use.
type Outlets struct {
	config OutletConfig
	link   *Device // the connection, the login and the requests; it knows of no system

	pdu     string             // path, once it is found
	serial  string             // its SerialNumber
	outlets []*socket          // once they are found: the listed ones, or the members of the group
	group   *socket            // nil: none
	refused error              // permanent, of a command of which a part may have been carried out
	wanted  fencing.PowerState // by that command
}

var _ fencing.Device = (*Outlets)(nil)

// socket is an outlet, or a group of them.
type socket struct {
	name, uri string
	kind      string // Outlet or OutletGroup
	last      outletResource
	seen      bool
}

// outletResource is what fencing needs of an Outlet or an OutletGroup.
type outletResource struct {
	power      string
	target     string
	allowed    []string
	actionInfo string
	locked     bool
	delay      float64 // PowerOffDelaySeconds
	members    []string
}

// Name identifies the device in evidence.
func (d *Outlets) Name() string { return d.config.Name }

// open logs in and finds the outlets. Every call starts here.
func (d *Outlets) open(ctx context.Context) error {
	d.link.wire.call = ctx
	if err := d.link.connect(); err != nil {
		return err
	}
	if len(d.outlets) > 0 || d.group != nil {
		return nil
	}
	return d.find()
}

// all are the sockets that are read: every outlet, and the group.
func (d *Outlets) all() []*socket {
	if d.group == nil {
		return d.outlets
	}
	return append(slices.Clone(d.outlets), d.group)
}

// Read asks for the PowerState of every outlet, and of the group.
func (d *Outlets) Read(ctx context.Context) (fencing.Reading, error) {
	r := fencing.Reading{State: fencing.PowerUnknown, At: time.Now(), Device: d.config.Name, Proves: fencing.GradeFeedsOff}
	if err := d.open(ctx); errors.Is(err, errOdd) {
		r.Raw = err.Error()
		return r, nil
	} else if err != nil {
		return r, err
	}
	var words []string
	for _, s := range d.all() {
		part, err := d.readSocket(s)
		if err != nil {
			return r, err
		}
		if s == d.group && s.last.power == "" && len(d.outlets) > 0 {
			continue // a group need not have a state of its own; its outlets tell
		}
		r.Parts = append(r.Parts, part)
		words = append(words, s.name+"="+part.Raw)
	}
	r.At, r.State, r.Raw = time.Now(), fencing.Together(r.Parts), strings.Join(words, " ")
	r.Identity = d.identity()
	if d.refused != nil && r.State != d.wanted {
		return r, d.refused
	}
	return r, nil
}

func (d *Outlets) identity() string {
	var paths []string
	for _, s := range d.all() {
		paths = append(paths, s.uri)
	}
	text := d.link.origin.Scheme + "://" + d.link.origin.Host + " " + strings.Join(paths, " ")
	if d.serial != "" {
		text += " serial=" + d.serial
	}
	return text
}

func (d *Outlets) readSocket(s *socket) (fencing.Part, error) {
	part := fencing.Part{Name: s.name, State: fencing.PowerUnknown}
	r, err := d.link.get(s.uri)
	if err != nil {
		return part, err
	}
	switch {
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		return part, d.link.failure("reading the state of "+s.name, r)
	case r.status == http.StatusNotFound && !s.seen:
		return part, fmt.Errorf("%w: the PDU has no %s: correct the settings pdu, outlets or group", fencing.ErrPermanent, s.uri)
	case r.status != http.StatusOK:
		part.Raw = fmt.Sprintf("HTTP %d", r.status)
		return part, nil
	}
	res, err := parseOutlet(r.body, s.kind)
	if err != nil {
		part.Raw = "unparseable"
		return part, nil
	}
	if res.target != "" || !s.seen {
		s.last, s.seen = res, true
	}
	s.last.power = res.power
	part.State, part.Raw = powerState(res.power), res.power
	if res.locked {
		part.Raw += " locked"
	}
	return part, nil
}

func parseOutlet(data []byte, kind string) (outletResource, error) {
	o, err := parseObject(data)
	if err != nil {
		return outletResource{}, err
	}
	if t := o.text("@odata.type"); t != "" && !strings.HasPrefix(t, "#"+kind+".") {
		return outletResource{}, fmt.Errorf("the answer is no %s", kind)
	}
	control := o.object("Actions").object("#" + kind + ".PowerControl")
	res := outletResource{
		power: o.text("PowerState"), target: control.text("target"),
		allowed: control.texts("PowerState@Redfish.AllowableValues"), actionInfo: control.text("@Redfish.ActionInfo"),
		locked: o.flag("PowerControlLocked"), delay: o.number("PowerOffDelaySeconds"),
	}
	for _, member := range o.object("Links").objects("Outlets") {
		res.members = append(res.members, member.text("@odata.id"))
	}
	return res, nil
}

// Off sends PowerControl with PowerState Off: to the group, or to each outlet.
func (d *Outlets) Off(ctx context.Context) error { return d.control(ctx, "Off", fencing.PowerOff) }

// On sends PowerControl with PowerState On.
func (d *Outlets) On(ctx context.Context) error { return d.control(ctx, "On", fencing.PowerOn) }

func (d *Outlets) control(ctx context.Context, state string, want fencing.PowerState) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	to := d.outlets
	if d.group != nil {
		to = []*socket{d.group}
	}
	targets := make([]string, len(to))
	for i, s := range to { // all of them can be switched, or nothing is sent
		var err error
		if targets[i], err = d.target(s, state); err != nil {
			return err
		}
	}
	d.refused, d.wanted = nil, want
	var faults []error
	refused := 0
	for i, s := range to {
		err := d.link.act(state+" of "+s.name, s.uri, targets[i], map[string]string{"PowerState": state})
		if err != nil {
			faults = append(faults, err)
		}
		if errors.Is(err, fencing.ErrPermanent) {
			refused++
		}
	}
	err := errors.Join(faults...)
	if refused == 0 || refused == len(to) {
		return err
	}
	// Another outlet may have been switched: a permanent error would say that nothing was. The next reading brings it up.
	d.refused = err
	return errors.New(strings.ReplaceAll(err.Error(), fencing.ErrPermanent.Error()+": ", ""))
}

// target is where PowerControl is sent to: always what the PDU publishes, and never to another server.
func (d *Outlets) target(s *socket, state string) (string, error) {
	if !s.seen {
		part, err := d.readSocket(s)
		if err != nil {
			return "", err
		}
		if !s.seen {
			return "", fmt.Errorf("nothing was sent: %s cannot be read (%s)", s.name, part.Raw)
		}
	}
	if s.last.target == "" {
		return "", fmt.Errorf("%w: %s offers no action %s.PowerControl, so it cannot be switched", fencing.ErrPermanent, s.uri, s.kind)
	}
	target, err := localPath(d.link.origin, s.last.target)
	if err != nil {
		return "", fmt.Errorf("%w: the target of %s.PowerControl: %w", fencing.ErrPermanent, s.kind, err)
	}
	allowed := s.last.allowed
	if s.last.actionInfo != "" && !slices.Contains(allowed, state) {
		allowed = append(slices.Clone(allowed), d.link.actionInfo(s.last.actionInfo, "PowerState")...)
	}
	if len(allowed) > 0 && !slices.Contains(allowed, state) {
		return "", fmt.Errorf("%w: %s does not offer %s, only %s: fence this host by another device",
			fencing.ErrPermanent, s.name, state, strings.Join(allowed, ", "))
	}
	return target, nil
}

// Close logs out and drops the connection.
func (d *Outlets) Close(ctx context.Context) error {
	d.pdu, d.serial, d.outlets, d.group, d.refused, d.wanted = "", "", nil, nil, nil, ""
	return d.link.Close(ctx)
}
