package witness

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// request takes a wish into the state. Wishes that need a decision wait for
// the leader's plan; a confirmation by a person is carried out at once.
func (a *applier) request(r Request) {
	if err := r.validate(a.s); err != nil {
		a.res.Err = err
		return
	}
	if r.Key != "" {
		if id, ok := a.s.idem.Get(r.Key); ok {
			a.res.ID = id // the same wish again
			if old := a.s.Request(id); old.Kind != r.Kind || old.Host != r.Host || old.Cluster != r.Cluster || old.To != r.To {
				a.res.Err = errorf(CodeConflict, "the key %q belongs to request %d, %s of %s%s: another order needs another key", r.Key, id, old.Kind, old.Host, old.Cluster)
			}
			return
		}
	}
	r.ID, r.Status, r.Msg, r.Rule, r.Action = a.e.Index, StatusPending, "", "", ""
	r.At, r.Wall, r.Ended, r.Expires, r.Approvals, r.Off = a.s.Now, a.s.Wall, 0, 0, nil, ""
	a.res.ID = r.ID
	a.s.requests = a.s.requests.Set(r.ID, &r)
	a.s.open = a.s.open.Set(r.ID, struct{}{})
	if r.Key != "" {
		a.s.idem = a.s.idem.Set(r.Key, r.ID)
	}
	a.pruneRequests()
	a.event(Event{
		Kind: "requested-" + r.Kind, Cluster: r.Cluster, Host: r.Host, Request: r.ID,
		Text: fmt.Sprintf("%s asks for %s of %s: %s", r.By, r.Kind, r.Host+r.Cluster, r.Reason),
	})
	switch {
	case r.Kind == RequestConfirmOff && a.s.wantsApproval(&r):
		a.awaitApproval(r.ID)
	case r.Kind == RequestConfirmOff:
		a.confirmOff(&r)
	}
}

// maxTimeout is how long a request may say that it is of interest.
const maxTimeout = 24 * time.Hour

func (r *Request) validate(s *State) *Error {
	var faults []string
	if strings.TrimSpace(r.By) == "" {
		faults = append(faults, "say who asks (--by)")
	}
	if strings.TrimSpace(r.Reason) == "" {
		faults = append(faults, "say why (--reason)")
	}
	for name, v := range map[string]string{"by": r.By, "reason": r.Reason, "key": r.Key} {
		if len(v) > 500 {
			faults = append(faults, name+" is longer than 500 characters")
		}
	}
	if r.Timeout < 0 || r.Timeout > maxTimeout {
		faults = append(faults, fmt.Sprintf("timeout is not within 0s and %s", maxTimeout))
	}
	if len(r.Requester) > 200 || len(r.Override) > 20 {
		faults = append(faults, "requester has at most 200 characters, override at most 20 rules")
	}
	missing := false
	switch r.Kind {
	case RequestFenceOff, RequestFenceOn, RequestConfirmOff, RequestReboot:
		if s.hostSpec[r.Host] == nil {
			missing = true
			faults = append(faults, fmt.Sprintf("there is no host %q; `witnessctl fence status` lists them", r.Host))
		}
	case RequestSwitchover:
		if s.Cluster(r.Cluster) == nil {
			missing = true
			faults = append(faults, fmt.Sprintf("there is no cluster %q; `witnessctl cluster list` shows them", r.Cluster))
		}
	default:
		faults = append(faults, fmt.Sprintf("unknown kind of request %q", r.Kind))
	}
	if len(faults) == 0 {
		return nil
	}
	slices.Sort(faults)
	code := CodeInvalid
	if missing && len(faults) == 1 {
		code = CodeNotFound
	}
	return errorf(code, "%s", strings.Join(faults, "; "))
}

// confirmOff takes a named person's word that a host is off.
func (a *applier) confirmOff(r *Request) {
	ref, ok := a.s.members[r.Host]
	if ok {
		c := a.s.Cluster(ref.cluster)
		if msg := c.connected(ref.member); msg != "" {
			a.endRequest(r.ID, StatusRefused, "confirm.live-session", msg)
			a.res.Err = refusedf("confirm.live-session", "%s", msg)
			return
		}
		if c.Holder == ref.member && c.Spec.Guarded() && c.Guard == nil {
			a.endRequest(r.ID, StatusRefused, "confirm.live-lease", fmt.Sprintf(
				"%s runs %s, which holds %s with a live lease: it is on and talks to the witnesses; stop it first", r.Host, c.Holder, c.Name))
			a.res.Err = refusedf("confirm.live-lease", "%s", a.s.Request(r.ID).Msg)
			return
		}
		if takes, f := ruleUnlock(c.Spec, GradePerson); c.Holder == ref.member && c.Guard != nil && !takes {
			msg := f.Text + "; power the host off by its devices, or apply a policy that takes it"
			a.endRequest(r.ID, StatusRefused, f.Rule, msg)
			a.res.Err = refusedf(f.Rule, "%s", msg)
			return
		}
		if g := c.Guard; g != nil && g.Host == r.Host && g.Action != "" {
			a.closeAction(a.s.Action(g.Action), Finished{
				Action: g.Action, Outcome: Unknown, Grade: GradeUnknown,
				Reason: "superseded: " + r.By + " confirmed that the host is off",
			})
		}
	}
	how := Release{Grade: GradePerson, By: r.By, Reason: r.Reason}
	a.event(Event{Kind: "confirmed-off", Level: LevelAlert, Host: r.Host, Text: fmt.Sprintf("%s confirms that %s is off: %s", r.By, r.Host, r.Reason)})
	a.provenOff(r.Host, how)
	a.endRequest(r.ID, StatusDone, "", "recorded: "+r.Host+" is off, confirmed by "+r.By)
}

// Open says whether a request is not over.
func (r *Request) Open() bool {
	return r.Status == StatusPending || r.Status == StatusApproval || r.Status == StatusRunning
}

func (a *applier) editRequest(id uint64, edit func(*Request)) {
	old := a.s.Request(id)
	if old == nil {
		return
	}
	r := *old
	edit(&r)
	a.s.requests = a.s.requests.Set(id, &r)
}

// endRequest closes a request and says how it ended.
func (a *applier) endRequest(id uint64, status, rule, msg string) {
	if _, ok := a.s.open.Get(id); !ok {
		return
	}
	a.editRequest(id, func(r *Request) { r.Status, r.Rule, r.Msg, r.Ended = status, rule, msg, a.s.Now })
	a.s.open = a.s.open.Delete(id)
	r := a.s.Request(id)
	level := LevelInfo
	if status != StatusDone {
		level = LevelWarn
	}
	a.event(Event{Kind: "request-" + status, Level: level, Cluster: r.Cluster, Host: r.Host, Rule: rule, Request: id, Action: r.Action, Text: r.Kind + " " + status + ": " + msg})
}

func (a *applier) pruneRequests() {
	if a.s.requests.Len() <= keepRequests {
		return
	}
	for id, r := range a.s.requests.All() {
		if r.Open() {
			continue
		}
		a.s.requests = a.s.requests.Delete(id)
		if r.Key != "" {
			a.s.idem = a.s.idem.Delete(r.Key)
		}
		return
	}
}
