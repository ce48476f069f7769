package redfish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	gofishsystem "github.com/stmcginnis/gofish/redfish"

	"quorate/fencing"
)

// Check logs in, reads the state, compares the identity, looks for ForceOff and for the privilege to send it.
func (d *Device) Check(ctx context.Context) (fencing.Readiness, error) {
	var ready fencing.Readiness
	reading, err := d.Read(ctx)
	ready.Reading = reading
	if err != nil {
		ready.Faults = append(ready.Faults, err.Error())
		return ready, err
	}
	fault := func(err error) {
		if err != nil {
			ready.Faults = append(ready.Faults, err.Error())
		}
	}
	if !d.answered {
		fault(fmt.Errorf("the BMC answers, but not with a system that can be read (%s)", reading.Raw))
		return ready, nil
	}
	fault(d.verify(d.last))
	_, _, err = d.action(gofishsystem.ForceOffResetType)
	fault(err)

	warn := func(format string, args ...any) {
		ready.Warnings = append(ready.Warnings, fmt.Sprintf(format, args...))
	}
	if reading.State == fencing.PowerUnknown {
		warn("the power state %q is not one of Redfish's", reading.Raw)
	}
	if d.config.Insecure {
		warn("the BMC's certificate is not verified: whoever is on the path can read the password and fake the power state; pin it by cert_sha256 %s", d.wire.fingerprint())
	}
	if len(d.claims(d.last)) == 0 {
		warn("the machine is not pinned: set uuid %q or serial %q, so that a swapped board or cable cannot fence another one", d.last.uuid, d.last.serial)
	}
	if len(d.last.allowed) == 0 && d.last.actionInfo == "" {
		warn("the BMC lists no reset types: ForceOff will be tried without knowing that it is offered")
	}
	for _, why := range d.wire.aging(time.Now()) {
		warn("%s", why)
	}
	if why := d.privilege(); why != "" {
		warn("%s", why)
	}
	return ready, nil
}

// Limits beyond which Check speaks up.
const (
	expiresSoon = 30 * 24 * time.Hour
	clockOff    = 5 * time.Minute
)

// aging lists what will stop the BMC from being trusted, or makes its log hard to read.
func (w *wire) aging(now time.Time) []string {
	var warnings []string
	if leaf := w.cert.Load(); leaf != nil {
		left := leaf.NotAfter.Sub(now)
		until := leaf.NotAfter.UTC().Format(time.DateOnly)
		switch {
		case left < 0:
			warnings = append(warnings, fmt.Sprintf("the BMC's certificate expired on %s: renew it; where its fingerprint is pinned, correct that too", until))
		case left < expiresSoon:
			warnings = append(warnings, fmt.Sprintf("the BMC's certificate expires on %s: renew it; where its fingerprint is pinned, correct that too", until))
		}
	}
	if ahead := w.ahead.Load(); ahead != nil && ahead.Abs() > clockOff {
		warnings = append(warnings, fmt.Sprintf("the BMC's clock is %v off: its own log will not fit ours", ahead.Abs()))
	}
	return warnings
}

// privilege looks up whether the account may reset the system (DSP0266's base privilege registry: ConfigureComponents).
// It returns a warning and no fault: not every account may look itself up, and vendors differ.
func (d *Device) privilege() string {
	unknown := func(err error) string {
		return fmt.Sprintf("it cannot be seen whether user %q may switch the machine off (%v): try it once", d.config.Username, err)
	}
	service, err := d.client.Service.AccountService()
	if err != nil {
		return unknown(err)
	}
	accounts, err := service.Accounts()
	if err != nil {
		return unknown(err)
	}
	for _, account := range accounts {
		if account.UserName != d.config.Username {
			continue
		}
		role, err := account.Role()
		if err != nil {
			return unknown(err)
		}
		if role == nil {
			return unknown(errors.New("its account has no link to a role"))
		}
		if !slices.Contains(role.AssignedPrivileges, "ConfigureComponents") {
			return fmt.Sprintf("user %q has role %s without the privilege ConfigureComponents: the BMC will probably refuse to switch the machine off; give it role Operator",
				d.config.Username, account.RoleID)
		}
		return ""
	}
	return unknown(errors.New("it is not among the BMC's accounts"))
}
