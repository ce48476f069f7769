package simulated

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"
)

// machine is a System at run time. BMC.mu guards it.
type machine struct {
	System
	on       bool   // what it really does
	reported string // what the BMC believes
	version  int    // of the ETag; rises with every change
	order    int    // rises with every transition: a later command overtakes one under way
	reads    int
	refused  int // On commands refused since the last off
}

// Command is an action as it arrived.
type Command struct {
	System    string    `json:"system"`
	ResetType string    `json:"reset_type"`
	IfMatch   string    `json:"if_match,omitempty"`
	Status    int       `json:"status"` // 0: never answered
	At        time.Time `json:"at"`
}

// Commands are the actions that arrived so far.
func (b *BMC) Commands() []Command {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.commands)
}

// Power tells whether a system really runs: On or Off, whatever the BMC reports. Unknown systems are "".
func (b *BMC) Power(system string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.find(system)
	switch {
	case m == nil:
		return ""
	case m.on:
		return On
	default:
		return Off
	}
}

// SetPower sets a system to On or Off at once, without hooks: somebody pressed the button.
func (b *BMC) SetPower(system, state string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.find(system)
	if m == nil || (state != On && state != Off) {
		return fmt.Errorf("simulated BMC: no system %q, or state %q is neither On nor Off", system, state)
	}
	m.set(state == On)
	return nil
}

// find needs b.mu.
func (b *BMC) find(id string) *machine {
	for _, list := range [][]*machine{b.systems, b.outlets} {
		for _, m := range list {
			if m.ID == id {
				return m
			}
		}
	}
	return nil
}

func (m *machine) set(on bool) {
	m.order++
	m.on = on
	m.report(map[bool]string{true: On, false: Off}[on])
	if !on {
		m.refused = 0
	}
}

func (m *machine) report(state string) {
	m.reported = state
	m.version++
}

// reset judges and carries out an action. It returns the status, and the words of a refusal. It needs b.mu.
func (b *BMC) reset(m *machine, kind, ifMatch string) (int, string) {
	fault := func(f Fault) bool { return b.faults[f] }
	switch {
	case fault(Forbidden) || b.config.Role == "ReadOnly":
		return http.StatusForbidden, "There are insufficient privileges for the account."
	case fault(RefuseIfMatch) && ifMatch != "":
		return http.StatusPreconditionFailed, "The ETag supplied did not match."
	case fault(RequireIfMatch) && ifMatch != m.etag() && ifMatch != "*":
		return http.StatusPreconditionRequired, "A precondition is required to change this resource."
	case fault(WantIfMatch412) && ifMatch != m.etag() && ifMatch != "*":
		return http.StatusPreconditionFailed, "The ETag supplied did not match."
	case fault(ServerError):
		return http.StatusInternalServerError, "The request failed due to an internal service error."
	case !slices.Contains([]string{On, "ForceOff"}, kind) || !b.offers(m, kind):
		return http.StatusBadRequest, fmt.Sprintf("The value %s for the property ResetType is not in the list of acceptable values.", kind)
	case kind == "ForceOff" && m.reported == Off && fault(ConflictWhenOff):
		return http.StatusConflict, "The server is already powered OFF."
	case kind == "ForceOff" && m.reported == Off && fault(BadRequestWhenOff):
		return http.StatusBadRequest, "Power is off."
	case kind == On && fault(ConflictOnOn) && m.refused < 2:
		m.refused++
		return http.StatusConflict, "ActionParameterValueConflict: the system is still going off."
	}
	if !fault(Lie) && !fault(TaskFails) && m.reported != map[string]string{On: On, "ForceOff": Off}[kind] {
		b.begin(m, kind == On)
	}
	if fault(ErrorButActs) {
		return http.StatusInternalServerError, "The request failed due to an internal service error."
	}
	if fault(AcceptTask) || fault(TaskFails) {
		return http.StatusAccepted, ""
	}
	return http.StatusNoContent, ""
}

// offers reports whether the action is implemented, listed or not. It needs b.mu.
func (b *BMC) offers(m *machine, kind string) bool {
	return slices.Contains(m.AllowableValues, kind) && (kind != "ForceOff" || !b.faults[NoForceOff])
}

// begin starts a transition that takes effect after the delay. It needs b.mu.
func (b *BMC) begin(m *machine, on bool) {
	m.order++
	order, delay, ctx := m.order, b.delay, b.run
	m.report(map[bool]string{true: PoweringOn, false: PoweringOff}[on])
	if (!on && b.faults[StuckPoweringOff]) || b.stopped {
		return
	}
	b.work.Go(func() { b.settle(ctx, m, order, on, delay) })
}

func (b *BMC) settle(ctx context.Context, m *machine, order int, on bool, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	b.mu.Lock()
	overtaken := m.order != order
	b.mu.Unlock()
	if overtaken {
		return
	}
	hook := b.config.OnOff
	if on {
		hook = b.config.OnOn
	}
	var err error
	if hook != nil {
		err = hook(ctx, m.ID)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.order != order {
		return
	}
	if err != nil {
		b.config.Logger.Error("the power hook failed, the system stays as it was", slog.String("system", m.ID), slog.Any("error", err))
		m.set(!on)
		return
	}
	m.set(on)
}
