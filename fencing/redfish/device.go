package redfish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stmcginnis/gofish"
	gofishsystem "github.com/stmcginnis/gofish/redfish"

	"quorate/fencing"
)

// Device is one system behind one BMC. It connects at its first call. It is not safe for concurrent use.
type Device struct {
	config Config
	origin *url.URL
	wire   *wire

	client   *gofish.APIClient // nil: not logged in
	session  string            // to delete at the end; empty with Basic
	again    bool              // it was lost once, and made anew
	uri      string            // of the system, once it is found
	last     system            // the latest one that could be parsed
	answered bool              // last is set
}

var _ fencing.Device = (*Device)(nil)

// Name identifies the device in evidence.
func (d *Device) Name() string { return d.config.Name }

// open logs in and finds the system. Every call starts here.
func (d *Device) open(ctx context.Context) error {
	d.wire.call = ctx
	if err := d.connect(); err != nil {
		return err
	}
	if d.uri != "" {
		return nil
	}
	uri, err := d.find()
	if err != nil {
		return err
	}
	d.uri = uri
	return nil
}

// Read asks for the system's PowerState.
func (d *Device) Read(ctx context.Context) (fencing.Reading, error) {
	if err := d.open(ctx); errors.Is(err, errOdd) {
		return d.unknown(err.Error()), nil
	} else if err != nil {
		return fencing.Reading{State: fencing.PowerUnknown}, err
	}
	r, err := d.get(d.uri)
	if err != nil {
		return fencing.Reading{State: fencing.PowerUnknown}, err
	}
	return d.judge(r)
}

func (d *Device) unknown(raw string) fencing.Reading {
	return fencing.Reading{
		State: fencing.PowerUnknown, Raw: raw, At: time.Now(), Device: d.config.Name, Proves: fencing.GradeObservedOff,
	}
}

// judge makes a reading of an answer about the system.
func (d *Device) judge(r reply) (fencing.Reading, error) {
	reading := d.unknown("")
	switch {
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		return reading, d.failure("reading the power state", r)
	case r.status == http.StatusNotFound && !d.answered:
		return reading, fmt.Errorf("%w: the BMC has no %s: correct the setting system", fencing.ErrPermanent, d.uri)
	case r.status != http.StatusOK:
		reading.Raw = fmt.Sprintf("HTTP %d", r.status)
		return reading, nil
	}
	sys, err := parseSystem(r.body)
	if err != nil { // BMCs send empty bodies in mid-transition
		reading.Raw = "unparseable answer: " + err.Error()
		return reading, nil
	}
	if err := d.contradicts(sys); err != nil {
		return reading, err
	}
	if sys.power == "" && sys.target == "" { // an object, but an empty one: as an empty body
		reading.Raw = "no PowerState"
		return reading, nil
	}
	if sys.target != "" || !d.answered {
		d.last, d.answered = sys, true
	}
	reading.State, reading.Raw = powerState(sys.power), sys.power
	reading.Identity = d.identity(sys)
	return reading, nil
}

func (d *Device) identity(sys system) string {
	var b strings.Builder
	b.WriteString(d.origin.Scheme + "://" + d.origin.Host + d.uri)
	for _, f := range [][2]string{{"uuid", sys.uuid}, {"serial", sys.serial}, {"hostname", sys.hostName}} {
		if f[1] != "" {
			fmt.Fprintf(&b, " %s=%s", f[0], f[1])
		}
	}
	return b.String()
}

// Off sends ForceOff. It never sends a graceful shutdown, a button press or a restart.
func (d *Device) Off(ctx context.Context) error {
	return d.reset(ctx, gofishsystem.ForceOffResetType)
}

// On sends On.
func (d *Device) On(ctx context.Context) error {
	return d.reset(ctx, gofishsystem.OnResetType)
}

func (d *Device) reset(ctx context.Context, kind gofishsystem.ResetType) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	if !d.answered { // nothing is sent to a machine that has not shown who it is
		if err := d.reread(); err != nil {
			return err
		}
	}
	if err := d.verify(d.last); err != nil {
		return err
	}
	resource, target, err := d.action(kind)
	if err != nil {
		return err
	}
	return d.act(string(kind), resource, target, map[string]string{"ResetType": string(kind)})
}

// act sends an action of the resource at uri. An ETag goes along only if the BMC asks for one.
func (d *Device) act(what, uri, target string, payload any) error {
	r, err := d.post(target, payload, "")
	if err == nil && (r.status == http.StatusPreconditionFailed || r.status == http.StatusPreconditionRequired) {
		fresh, getErr := d.get(uri)
		if getErr != nil {
			return fmt.Errorf("the BMC wants an ETag with %s, but gives none: %w", what, getErr)
		}
		etag := fresh.etag
		if etag == "" {
			etag = "*"
		}
		r, err = d.post(target, payload, etag)
	}
	if err != nil {
		return fmt.Errorf("%s was sent, but not answered: %w", what, err)
	}
	return d.failure(what, r)
}

func (d *Device) reread() error {
	r, err := d.get(d.uri)
	if err != nil {
		return err
	}
	reading, err := d.judge(r)
	if err == nil && !d.answered {
		err = fmt.Errorf("nothing was sent: the system cannot be read (%s)", reading.Raw)
	}
	return err
}
