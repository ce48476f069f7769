package pdu

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gosnmp/gosnmp"

	"quorate/fencing"
)

// Off switches all outlets off, at once and in one request. It never sends a delayed or a cycle command.
func (d *Device) Off(ctx context.Context) error { return d.command(ctx, fencing.PowerOff, d.model.off) }

// On switches all outlets on.
func (d *Device) On(ctx context.Context) error { return d.command(ctx, fencing.PowerOn, d.model.on) }

func (d *Device) command(ctx context.Context, want fencing.PowerState, c command) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if err := d.open(ctx); err != nil {
		return err
	}
	if !d.seen { // nothing is sent to outlets that have not been seen
		if _, err := d.readAll(ctx); err != nil {
			return err
		}
		if !d.seen {
			return d.named(errors.New("nothing was sent: the state of its outlets cannot be read"))
		}
	}
	d.refused, d.wanted = nil, want
	if !d.single {
		err := d.set(ctx, want, c, d.outlets)
		var r *refusal
		if !errors.As(err, &r) || len(d.outlets) == 1 || r.final() {
			return d.partly(err)
		}
		d.single = true // some agents take one outlet in a request only
	}
	var faults []error
	for _, o := range d.outlets {
		if d.session == nil { // given up after the one before
			break
		}
		faults = append(faults, d.set(ctx, want, c, []outlet{o}))
	}
	return d.partly(errors.Join(faults...))
}

// partly keeps the promise that a permanent error means that nothing was carried out: a Set of several outlets is all or
// nothing (RFC 3416, section 4.2.5), but not every agent keeps to it. The next reading that is not as wanted brings the
// error up.
func (d *Device) partly(err error) error {
	if !errors.Is(err, fencing.ErrPermanent) || len(d.outlets) == 1 {
		return err
	}
	d.refused = err
	return withoutMark(err)
}

// withoutMark is the same error, not marked as permanent.
func withoutMark(err error) error {
	return errors.New(strings.ReplaceAll(err.Error(), fencing.ErrPermanent.Error()+": ", ""))
}

// set writes one value to the command column of some outlets.
func (d *Device) set(ctx context.Context, want fencing.PowerState, c command, outlets []outlet) error {
	var oids []string
	for _, o := range outlets {
		oids = append(oids, d.model.oid(c.oid, o))
	}
	a, err := d.session.set(ctx, oids, c.value)
	switch {
	case errors.Is(err, errStale):
		return d.failed(err)
	case errors.Is(err, fencing.ErrPermanent): // a report, for which nobody vouches: what it says may be untrue
		d.refused = d.named(err)
		return withoutMark(d.refused)
	case err != nil:
		return d.named(fmt.Errorf("%s of outlet %s was sent and not answered, so it may have been carried out: %w", want, join(outlets), err))
	}
	if a.status == gosnmp.NoError {
		return nil
	}
	r := &refusal{status: a.status, what: string(want), outlets: join(outlets)}
	if a.index >= 0 && a.index < len(outlets) {
		r.outlets = outlets[a.index].name
	}
	if r.final() {
		return d.named(fmt.Errorf("%w: %w", fencing.ErrPermanent, r))
	}
	return d.named(r)
}

// refusal is an answer with an error status.
type refusal struct {
	status        gosnmp.SNMPError
	what, outlets string
}

// The statuses that no retry changes (RFC 3416, section 4.2.5; version 1: RFC 1157, section 4.1.5).
var (
	noRight   = []gosnmp.SNMPError{gosnmp.NoAccess, gosnmp.NotWritable, gosnmp.ReadOnly, gosnmp.AuthorizationError, gosnmp.NoSuchName}
	wrongKind = []gosnmp.SNMPError{
		gosnmp.BadValue, gosnmp.WrongType, gosnmp.WrongLength, gosnmp.WrongEncoding, gosnmp.WrongValue, gosnmp.NoCreation, gosnmp.InconsistentName,
	}
)

func (r *refusal) final() bool {
	return slices.Contains(noRight, r.status) || slices.Contains(wrongKind, r.status)
}

func (r *refusal) Error() string {
	why := ""
	switch {
	case slices.Contains(noRight, r.status):
		why = ": the user or community may only read, or the outlet is locked or cannot be switched"
	case slices.Contains(wrongKind, r.status):
		why = ": it takes no such command there, is the model right?"
	}
	return fmt.Sprintf("the PDU refuses %s of outlet %s (%s)%s", r.what, r.outlets, r.status, why)
}
