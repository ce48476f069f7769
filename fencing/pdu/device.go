package pdu

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"quorate/fencing"
)

// Of the system group (RFC 3418).
const (
	sysObjectID = ".1.3.6.1.2.1.1.2.0"
	sysName     = ".1.3.6.1.2.1.1.5.0"
)

// Device is the outlets of one host on one PDU. It connects at its first call. It is not safe for concurrent use.
type Device struct {
	config  Config
	host    string
	port    uint16
	model   *model
	outlets []outlet

	session  *session           // nil: not connected
	identity string             // empty: the PDU has not yet shown what it is
	seen     bool               // every outlet has been read
	pending  bool               // the PDU has the column of pending commands
	single   bool               // the PDU takes one outlet in a Set
	refused  error              // permanent, of a Set of which a part may have been carried out
	wanted   fencing.PowerState // by that Set
}

var _ fencing.Device = (*Device)(nil)

// Name identifies the device in evidence.
func (d *Device) Name() string { return d.config.Name }

// open connects and finds out what is at the address. Every call starts here.
func (d *Device) open(ctx context.Context) error {
	if d.session == nil {
		s, err := d.dial(ctx)
		if err != nil {
			return err
		}
		d.session = s
	}
	if d.identity != "" {
		return nil
	}
	a, err := d.session.get(ctx, []string{sysObjectID, sysName})
	if err != nil {
		return d.failed(err)
	}
	if a.status != gosnmp.NoError {
		return d.named(fmt.Errorf("%w: it does not tell what it is (%s): the user or community must be allowed to read the system group",
			fencing.ErrPermanent, a.status))
	}
	return d.identify(a.values[0], text(a.values[1]))
}

// named puts the PDU before what happened.
func (d *Device) named(err error) error { return fmt.Errorf("%s: %w", d.config.Address, err) }

// failed gives up a session that the PDU no longer knows, so that the next call begins anew, and identifies the PDU again.
func (d *Device) failed(err error) error {
	if errors.Is(err, errStale) {
		_ = d.session.close() // of a socket without a connection
		d.session, d.identity = nil, ""
	}
	return d.named(err)
}

// identify refuses every PDU that is not of the configured model: the same numbers mean other things there.
func (d *Device) identify(id gosnmp.SnmpPDU, name string) error {
	objectID, ok := id.Value.(string)
	if !ok || id.Type != gosnmp.ObjectIdentifier {
		return d.named(errors.New("it does not tell what it is (no sysObjectID)"))
	}
	best := identify(objectID)
	fits := slices.Contains(best, d.model) || d.model.name == customModel && d.model.matches(objectID) > 0
	if !fits {
		return d.named(fmt.Errorf("%w: wrong model: it is sysObjectID %s, which is %s of the known models, but %s is configured; nothing was sent",
			fencing.ErrPermanent, objectID, names(best), d.model.name))
	}
	if d.config.SysName != "" && name != d.config.SysName {
		return d.named(fmt.Errorf("%w: wrong PDU: its sysName is %q, but %q is configured; nothing was sent", fencing.ErrPermanent, name, d.config.SysName))
	}
	d.pending = d.model.pending.oid != ""
	d.identity = fmt.Sprintf("snmp%s://%s:%d %s sysObjectID=%s sysName=%s", d.config.Version, d.host, d.port, d.model.name, objectID, name)
	if engine := d.session.engine(); engine != "" {
		d.identity += " engine=" + engine
	}
	return nil
}

func text(v gosnmp.SnmpPDU) string {
	b, _ := v.Value.([]byte)
	return string(b)
}

// Read asks for the state of every outlet, in one request.
func (d *Device) Read(ctx context.Context) (fencing.Reading, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	unknown := fencing.Reading{State: fencing.PowerUnknown, At: time.Now(), Device: d.config.Name, Proves: fencing.GradeFeedsOff, Identity: d.identity}
	if err := d.open(ctx); err != nil {
		return unknown, err
	}
	unknown.Identity = d.identity
	parts, err := d.readAll(ctx)
	if err != nil {
		return unknown, err
	}
	r := unknown
	r.At, r.Parts, r.State = time.Now(), parts, fencing.Together(parts)
	r.Raw = raw(parts)
	if d.refused != nil && r.State != d.wanted {
		return r, d.refused
	}
	return r, nil
}

func raw(parts []fencing.Part) string {
	if len(parts) == 1 {
		return parts[0].Raw
	}
	var list []string
	for _, p := range parts {
		list = append(list, strings.TrimPrefix(p.Name, "outlet ")+"="+p.Raw)
	}
	return strings.Join(list, " ")
}

func (d *Device) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d.config.CallTimeout, fmt.Errorf("no answer within %v", d.config.CallTimeout))
}

func (d *Device) readAll(ctx context.Context) ([]fencing.Part, error) {
	var oids []string
	for _, o := range d.outlets {
		oids = append(oids, d.model.oid(d.model.status, o))
	}
	if d.pending {
		for _, o := range d.outlets {
			oids = append(oids, d.model.oid(d.model.pending.oid, o))
		}
	}
	a, err := d.session.get(ctx, oids)
	if err != nil {
		return nil, d.failed(err)
	}
	n := len(d.outlets)
	switch {
	case a.status == gosnmp.NoSuchName && d.pending && !d.seen && a.index >= n: // version 1 answers so for the whole request
		d.pending = false
		return d.readAll(ctx)
	case a.status == gosnmp.NoSuchName && !d.seen && a.index >= 0 && a.index < n:
		return nil, d.noOutlet(d.outlets[a.index])
	case a.status == gosnmp.AuthorizationError || a.status == gosnmp.NoAccess:
		return nil, d.named(fmt.Errorf("%w: it refuses to tell the state of outlets (%s): the user or community may not read them", fencing.ErrPermanent, a.status))
	case a.status != gosnmp.NoError:
		return d.unread(a.status.String()), nil
	}
	return d.judge(a.values[:n], a.values[n:])
}

func (d *Device) unread(why string) []fencing.Part {
	parts := make([]fencing.Part, len(d.outlets))
	for i, o := range d.outlets {
		parts[i] = fencing.Part{Name: "outlet " + o.name, State: fencing.PowerUnknown, Raw: why}
	}
	return parts
}

func (d *Device) noOutlet(o outlet) error {
	return d.named(fmt.Errorf("%w: the PDU has no outlet %s, or does not show it to this user: correct the setting outlets (%s numbers them %s)",
		fencing.ErrPermanent, o.name, d.model.name, d.model.form()))
}

// judge makes parts of the values of the status column and of the pending column, if there is one.
func (d *Device) judge(values, waiting []gosnmp.SnmpPDU) ([]fencing.Part, error) {
	parts := d.unread("")
	absent := 0
	for i, v := range values {
		number, ok := integer(v)
		if !ok {
			if !d.seen && missing(v) {
				return nil, d.noOutlet(d.outlets[i])
			}
			parts[i].Raw = v.Type.String()
			continue
		}
		parts[i].State, parts[i].Raw = d.model.states.judge(number)
		if i >= len(waiting) {
			continue
		}
		switch number, ok := integer(waiting[i]); {
		case !ok && !d.seen && missing(waiting[i]):
			absent++
		case !ok:
			parts[i].State, parts[i].Raw = fencing.PowerUnknown, parts[i].Raw+" pending ?"
		case number != d.model.pending.idle: // off now, and perhaps on in a moment
			parts[i].State, parts[i].Raw = fencing.PowerTransition, parts[i].Raw+" pending"
		}
	}
	if absent > 0 && absent == len(waiting) {
		d.pending = false // an older firmware
	}
	d.seen = true
	return parts, nil
}

func missing(v gosnmp.SnmpPDU) bool {
	return v.Type == gosnmp.NoSuchInstance || v.Type == gosnmp.NoSuchObject || v.Type == gosnmp.Null
}

// integer reads a number. Vendors use INTEGER and the unsigned types for enumerations; anything else is none.
func integer(v gosnmp.SnmpPDU) (int64, bool) {
	switch v.Type {
	case gosnmp.Integer, gosnmp.Gauge32, gosnmp.Uinteger32:
		n := gosnmp.ToBigInt(v.Value)
		return n.Int64(), n.IsInt64()
	default:
		return 0, false
	}
}

// Close drops the connection; SNMP has no session to log out of.
func (d *Device) Close(context.Context) error {
	s := d.session
	d.session, d.identity, d.seen, d.pending, d.single, d.refused, d.wanted = nil, "", false, false, false, nil, ""
	if s == nil {
		return nil
	}
	return s.close()
}
