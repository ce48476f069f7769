package relay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"quorate/fencing"
)

// Device is the outlets of one machine at one relay. It is not safe for concurrent use.
type Device struct {
	config   Config
	protocol protocol
	origin   *url.URL
	wire     *wire

	identity string // as the device gave it; empty: not asked yet
}

var _ fencing.Device = (*Device)(nil)

// Name identifies the device in evidence.
func (d *Device) Name() string { return d.config.Name }

// recognise asks the device who it is, and refuses any other than the configured one. Every call starts here.
func (d *Device) recognise(ctx context.Context) error {
	if d.identity != "" || d.config.Identity == "" {
		return nil
	}
	status, body, err := d.send(ctx, d.protocol.identify.filled(d.protocol.first, ""))
	if err != nil {
		return err
	}
	if err := d.refused(status, body); err != nil {
		return err
	}
	got := d.protocol.identityIn(body)
	switch {
	case got == "":
		return fmt.Errorf("%s does not tell who it is (HTTP %d); nothing was sent", d.origin.Host, status)
	case got != plain(d.config.Identity):
		return fmt.Errorf("%w: wrong device: %s is %q, but %q is configured; nothing was sent", fencing.ErrPermanent, d.origin.Host, got, d.config.Identity)
	}
	d.identity = got
	return nil
}

// refused makes a permanent error of an answer that no retry changes.
func (d *Device) refused(status int, body []byte) error {
	if d.protocol.auth == "query" && strings.Contains(string(field(body, "WARNING")), "password") {
		status = http.StatusUnauthorized // Tasmota says so in the answer, with status 200
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %s rejects the login of %q (%d): check user name and password, and that the interface is enabled",
			fencing.ErrPermanent, d.origin.Host, d.config.Username, status)
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return fmt.Errorf("%w: %s has no such interface (%d): is it a %s, and is the output right?", fencing.ErrPermanent, d.origin.Host, status, d.config.Model)
	}
	return nil
}

// Read asks for the state of every output.
func (d *Device) Read(ctx context.Context) (fencing.Reading, error) {
	reading := fencing.Reading{State: fencing.PowerUnknown, Device: d.config.Name, Proves: fencing.GradeFeedsOff}
	if err := d.recognise(ctx); err != nil {
		return reading, err
	}
	for _, output := range d.config.Outputs {
		status, body, err := d.send(ctx, d.protocol.status.filled(output, ""))
		if err != nil {
			return reading, err
		}
		if err := d.refused(status, body); err != nil {
			return reading, err
		}
		part := fencing.Part{Name: fmt.Sprintf("output %d", output), State: fencing.PowerUnknown, Raw: fmt.Sprintf("HTTP %d", status)}
		if status == http.StatusOK {
			part = d.protocol.judge(body, output)
		}
		reading.Parts = append(reading.Parts, part)
	}
	reading.At, reading.State = time.Now(), fencing.Together(reading.Parts)
	reading.Raw = string(reading.State)
	reading.Identity = fmt.Sprintf("%s %s://%s", d.config.Model, d.origin.Scheme, d.origin.Host)
	if d.identity != "" {
		reading.Identity += " id=" + d.identity
	}
	return reading, nil
}

// Off switches every output off, and none is kept waiting by another that fails.
func (d *Device) Off(ctx context.Context) error { return d.switchAll(ctx, d.protocol.setOff) }

// On switches every output on.
func (d *Device) On(ctx context.Context) error { return d.switchAll(ctx, d.protocol.setOn) }

func (d *Device) switchAll(ctx context.Context, value string) error {
	if err := d.recognise(ctx); err != nil {
		return err
	}
	var failed error
	for i, output := range d.config.Outputs {
		status, body, err := d.send(ctx, d.protocol.set.filled(output, value))
		if err == nil {
			if err = d.refused(status, body); err == nil && status >= 300 {
				err = fmt.Errorf("%s answers %d", d.origin.Host, status)
			}
		}
		switch {
		case err == nil:
		case i == 0 && errors.Is(err, fencing.ErrPermanent):
			return err // nothing was switched, and the others would be refused as well
		default: // not marked as permanent: another output may have been switched
			failed = errors.Join(failed, fmt.Errorf("output %d: %s", output, err.Error()))
		}
	}
	return failed
}

// Check does all but switching.
func (d *Device) Check(ctx context.Context) (fencing.Readiness, error) {
	var ready fencing.Readiness
	reading, err := d.Read(ctx)
	ready.Reading = reading
	if err != nil {
		ready.Faults = append(ready.Faults, err.Error())
		return ready, err
	}
	for _, part := range reading.Parts {
		if part.State == fencing.PowerUnknown {
			ready.Faults = append(ready.Faults, fmt.Sprintf("%s tells no state that can be read (%s): is it a %s, and is there this output?", part.Name, part.Raw, d.config.Model))
		}
	}
	warn := func(format string, args ...any) {
		ready.Warnings = append(ready.Warnings, fmt.Sprintf(format, args...))
	}
	if d.config.Insecure {
		warn("the connection is not protected: whoever is on the path can fake \"off\" and switch the outlets; keep it on a network of its own")
	}
	if d.config.Password == "" {
		warn("the device takes commands without a login: set a password there and here")
	}
	if d.config.Identity == "" && d.protocol.identity != nil {
		warn("the device is not pinned: set identity to its MAC address or serial number, so that an exchanged address cannot fence another machine")
	}
	if d.protocol.lacking != "" {
		warn("the model %s is experimental: %s", d.config.Model, d.protocol.lacking)
	}
	return ready, nil
}

// Close drops the connection.
func (d *Device) Close(context.Context) error {
	d.identity = ""
	d.wire.base.CloseIdleConnections()
	return nil
}
