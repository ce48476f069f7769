package witness

import (
	"fmt"
	"strings"
	"time"
)

// The policies of approval by a second person.
const (
	ApprovalNone      = "none"       // nobody is asked; the default
	ApprovalOverrides = "overrides"  // for orders that override a rule, and for confirmations
	ApprovalTwoPerson = "two-person" // for every power-off and every confirmation
)

const approvalTime = 15 * time.Minute // by default; older approvals would be of another situation

// Approve is the word of a second person on a request that waits for it.
type Approve struct {
	Request uint64 `json:"request"`
	By      string `json:"by"`
	Reason  string `json:"reason"`
	Deny    bool   `json:"deny,omitempty"`
}

func (Approve) kind() string { return "approve" }

// Approval records who agreed to a request, and when.
type Approval struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
	At     Time   `json:"at"`
	Wall   int64  `json:"wall"`
	Index  uint64 `json:"index"`
}

// wantsApproval says whether the policy of the host's cluster asks for a second
// person, and nobody has agreed yet. A program that asks for a member which
// holds the vote is authorised by that vote, as long as it overrides nothing.
func (s *State) wantsApproval(r *Request) bool {
	ref, ok := s.members[r.Host]
	if !ok || len(r.Approvals) > 0 {
		return false
	}
	grave := r.Kind == RequestConfirmOff || len(r.Override) > 0
	switch s.Cluster(ref.cluster).Spec.Approval {
	case ApprovalOverrides:
		return grave
	case ApprovalTwoPerson:
		return grave || r.Requester == "" && (r.Kind == RequestFenceOff || r.Kind == RequestReboot)
	}
	return false
}

// awaitApproval lets a request wait for a second person.
func (a *applier) awaitApproval(id uint64) {
	r := a.s.Request(id)
	wait := approvalTime
	if ref, ok := a.s.members[r.Host]; ok {
		if d := a.s.Cluster(ref.cluster).Spec.ApprovalTime; d > 0 {
			wait = min(Time(d), maxWait)
		}
	}
	a.editRequest(id, func(r *Request) { r.Status, r.Expires = StatusApproval, a.s.Now+wait })
	a.event(Event{
		Kind: "approval-wanted", Level: LevelWarn, Cluster: r.Cluster, Host: r.Host, Request: id, Rule: "approval.two-person",
		Text: fmt.Sprintf("request %d of %s, %s of %s, waits for a second person: `witnessctl fence approve %d` within %s", id, r.By, r.Kind, r.Host, id, wait),
	})
}

// approve takes the word of a second person.
func (a *applier) approve(c Approve) {
	if err := c.validate(); err != nil {
		a.res.Err = err
		return
	}
	r := a.s.Request(c.Request)
	switch {
	case r == nil:
		a.res.Err = errorf(CodeNotFound, "there is no request %d, or not any more", c.Request)
	case r.Status != StatusApproval:
		a.res.Err = errorf(CodeConflict, "request %d does not wait for approval: it is %s", r.ID, r.Status)
	case a.s.Now >= r.Expires:
		a.res.Err = refusedf("approval.expired", "request %d has waited too long for a second person; ask again", r.ID)
		a.endRequest(r.ID, StatusRefused, "approval.expired", "no second person agreed in time")
	case c.Deny:
		a.endRequest(r.ID, StatusRefused, "approval.denied", fmt.Sprintf("%s denies it: %s", c.By, c.Reason))
	case samePerson(r.By, c.By):
		a.res.Err = refusedf("approval.two-person", "%s asked for request %d: another person has to agree", r.By, r.ID)
	default:
		a.agree(r.ID, c)
	}
	a.res.ID = c.Request
}

func (a *applier) agree(id uint64, c Approve) {
	a.editRequest(id, func(r *Request) {
		r.Status = StatusPending // and its rules are looked at again
		r.Approvals = append(append([]Approval(nil), r.Approvals...), Approval{By: c.By, Reason: c.Reason, At: a.s.Now, Wall: a.s.Wall, Index: a.e.Index})
	})
	r := a.s.Request(id)
	a.event(Event{
		Kind: "approved", Level: LevelWarn, Cluster: r.Cluster, Host: r.Host, Request: id, Rule: "approval.two-person",
		Text: fmt.Sprintf("%s agrees to request %d of %s, %s of %s: %s", c.By, id, r.By, r.Kind, r.Host, c.Reason),
	})
	if r.Kind == RequestConfirmOff {
		a.confirmOff(r)
	}
}

func (c *Approve) validate() *Error {
	var faults []string
	if strings.TrimSpace(c.By) == "" {
		faults = append(faults, "say who agrees (--by)")
	}
	if strings.TrimSpace(c.Reason) == "" {
		faults = append(faults, "say why (--reason)")
	}
	if len(c.By) > 500 || len(c.Reason) > 500 {
		faults = append(faults, "by and reason have at most 500 characters")
	}
	if len(faults) > 0 {
		return errorf(CodeInvalid, "%s", strings.Join(faults, "; "))
	}
	return nil
}

func samePerson(a, b string) bool {
	return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
}
