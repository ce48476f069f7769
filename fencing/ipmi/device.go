package ipmi

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"

	"quorate/fencing"
)

// Device is the BMC of one machine. It connects at its first call. It is not safe for concurrent use.
type Device struct {
	config    Config
	address   string // with port
	guid      []byte // nil: not checked
	privilege types.PrivilegeLevel

	session *session // nil: not logged in
}

var _ fencing.Device = (*Device)(nil)

// Name identifies the device in evidence.
func (d *Device) Name() string { return d.config.Name }

// Read asks for the chassis power state.
func (d *Device) Read(ctx context.Context) (fencing.Reading, error) {
	r, _, err := d.read(ctx)
	return r, err
}

func (d *Device) read(ctx context.Context) (fencing.Reading, *chassis.GetChassisStatusResponse, error) {
	reading := fencing.Reading{State: fencing.PowerUnknown, Device: d.config.Name, Proves: fencing.GradeObservedOff}
	if err := d.open(ctx); err != nil {
		return reading, nil, err
	}
	status, err := answer(ctx, d, func(ctx context.Context) (*chassis.GetChassisStatusResponse, error) {
		return d.session.client.GetChassisStatus(ctx)
	})
	reading.At, reading.Identity = time.Now(), d.identity()
	var odd *types.ResponseError
	switch {
	case errors.As(err, &odd): // it lives, but does not say: busy, starting, or an answer that is too short
		if err := d.permanently(err); errors.Is(err, fencing.ErrPermanent) {
			return reading, nil, err
		}
		reading.Raw = err.Error()
		return reading, nil, nil
	case err != nil:
		d.lost(ctx)
		return reading, nil, fmt.Errorf("reading the chassis status: %w", err)
	case status.PowerIsOn:
		reading.State, reading.Raw = fencing.PowerOn, "on"
	default:
		reading.State, reading.Raw = fencing.PowerOff, "off"
	}
	if notes := notes(status); notes != "" {
		reading.Raw += " (" + notes + ")"
	}
	return reading, status, nil
}

// notes are the faults in the power state (IPMI 2.0, table 28-3): the machine may be off for another reason than us.
func notes(s *chassis.GetChassisStatusResponse) string {
	var notes []string
	for note, set := range map[string]bool{
		"power control fault": s.PowerControlFault, "power fault": s.PowerFault, "interlock": s.InterLock, "overload": s.PowerOverload,
	} {
		if set {
			notes = append(notes, note)
		}
	}
	slices.Sort(notes)
	return strings.Join(notes, ", ")
}

// open logs in and makes sure that this is the machine. Every call starts here.
func (d *Device) open(ctx context.Context) error {
	if err := d.connect(ctx); err != nil {
		return err
	}
	if d.guid == nil || slices.ContainsFunc(orders(d.session.guid), func(guid []byte) bool { return bytes.Equal(guid, d.guid) }) {
		return nil
	}
	return fmt.Errorf("%w: wrong machine: %s has GUID %s, but %s is configured; nothing was sent",
		fencing.ErrPermanent, d.address, format(d.session.guid[:]), format(d.guid))
}

// orders are the three byte orders in which vendors store a GUID: as printed (RFC 4122), first three fields swapped
// (SMBIOS, DSP0134 7.2.1), all reversed (IPMI 2.0, 20.8).
func orders(guid [16]byte) [][]byte {
	plain := guid[:]
	smbios := []byte{plain[3], plain[2], plain[1], plain[0], plain[5], plain[4], plain[7], plain[6]}
	reversed := bytes.Clone(plain)
	slices.Reverse(reversed)
	return [][]byte{plain, append(smbios, plain[8:]...), reversed}
}

func format(guid []byte) string {
	h := hex.EncodeToString(guid)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func (d *Device) identity() string {
	return fmt.Sprintf("ipmi://%s guid=%s suite=%d", d.address, format(d.session.guid[:]), d.session.suite)
}

// Off sends Chassis Control "power down", which is immediate. It never sends a soft shutdown, a cycle or a reset.
func (d *Device) Off(ctx context.Context) error {
	return d.control(ctx, chassis.ChassisControlPowerDown, "power down")
}

// On sends Chassis Control "power up".
func (d *Device) On(ctx context.Context) error {
	return d.control(ctx, chassis.ChassisControlPowerUp, "power up")
}

func (d *Device) control(ctx context.Context, what chassis.ChassisControl, name string) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	sent := 0
	_, err := answer(ctx, d, func(ctx context.Context) (*chassis.ChassisControlResponse, error) {
		sent++
		return d.session.client.ChassisControl(ctx, what)
	})
	if _, refused := completion(err); refused && sent > 1 {
		return fmt.Errorf("%s was refused when it was repeated; the first one may have been carried out: %w", name, err)
	} else if refused {
		return fmt.Errorf("%s: %w", name, d.permanently(err))
	}
	if err != nil {
		d.lost(ctx)
		return fmt.Errorf("%s was sent, but not answered: %w", name, err)
	}
	return nil
}

// lost forgets a session that does not answer: the BMC may have restarted, and would ignore it for ever. A BMC that is
// only slow keeps the old one for up to a minute.
func (d *Device) lost(ctx context.Context) {
	ended, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cancel() // no log-out: it would not be answered either
	_ = d.Close(ended)
}

// Check logs in with the privilege that switching off needs, and reads the state.
func (d *Device) Check(ctx context.Context) (fencing.Readiness, error) {
	var ready fencing.Readiness
	reading, status, err := d.read(ctx)
	ready.Reading = reading
	if err != nil {
		ready.Faults = append(ready.Faults, err.Error())
		return ready, err
	}
	warn := func(format string, args ...any) {
		ready.Warnings = append(ready.Warnings, fmt.Sprintf(format, args...))
	}
	if reading.State == fencing.PowerUnknown {
		warn("the BMC answers, but tells no power state (%s)", reading.Raw)
	}
	if d.guid == nil {
		warn("the machine is not pinned: set guid %q, so that a swapped board or cable cannot fence another one", format(d.session.guid[:]))
	}
	if d.session.suite == 3 {
		warn("cipher suite 3 authenticates by SHA-1: enable 17 on the BMC")
	}
	if d.privilege == types.PrivilegeLevelAdministrator {
		warn("the login asks for administrator; operator is enough to switch a machine off")
	}
	if status != nil && status.PowerRestorePolicy == chassis.PowerRestorePolicyAlwaysOn {
		warn("the machine starts by itself when its outlets are switched on again (power restore policy always-on)")
	}
	if n := d.session.guard.droppedSoFar(); n > 0 {
		warn("%d answers from %s were dropped because they were not authentic or belonged to no request", n, d.address)
	}
	return ready, nil
}
