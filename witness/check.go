package witness

import (
	"fmt"
	"time"
)

// Check refuses a plan that is stale or unsafe in state s. It runs inside
// Apply, on every witness, and stays small: the rules of Decide may change
// between versions, these may not.
func Check(s *State, p *Plan) *Error {
	var c *Cluster
	if p.Cluster != "" {
		if c = s.Cluster(p.Cluster); c == nil {
			return errorf(CodeConflict, "plan for cluster %s, which is not declared", p.Cluster)
		}
		if p.Parent != c.Version || p.Epoch != c.Epoch {
			return errorf(CodeConflict, "plan for %s is stale: made for version %d and epoch %d, now %d and %d", c.Name, p.Parent, p.Epoch, c.Version, c.Epoch)
		}
	}
	if p.Request != 0 {
		if err := checkRequest(s, p); err != nil {
			return err
		}
	}
	if err := checkForm(s, c, p); err != nil {
		return err
	}
	for i := range p.Actions {
		if err := checkItem(s, c, p, &p.Actions[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkForm refuses plans that say nothing, or two things at once. The items of
// a plan are checked on one state, so no item may change what another rests on.
func checkForm(s *State, c *Cluster, p *Plan) *Error {
	answer := p.Refuse || p.Join != "" || p.Await
	switch {
	case answer && (p.Request == 0 || len(p.Actions) > 0):
		return errorf(CodeInvalid, "a plan that refuses or joins answers a request and does nothing else")
	case !answer && len(p.Actions) == 0 && (p.Request != 0 || c == nil):
		return errorf(CodeInvalid, "a plan without actions and without an answer says nothing")
	}
	if p.Join != "" {
		if a := s.Action(p.Join); a == nil || a.Outcome != Pending {
			return errorf(CodeConflict, "action %s is not pending any more", p.Join)
		}
	}
	for i := range p.Actions {
		for j := range i {
			if p.Actions[i].Host == p.Actions[j].Host || p.Actions[i].Host == "" || p.Actions[i].Kind == ActionRelease {
				return errorf(CodeInvalid, "a plan has at most one action for each host, and a release or a switchover stands alone")
			}
		}
	}
	return nil
}

func checkRequest(s *State, p *Plan) *Error {
	if _, ok := s.open.Get(p.Request); !ok {
		return errorf(CodeConflict, "request %d is over", p.Request)
	}
	replaces := len(p.Actions) > 0 && p.Actions[0].Replaces != ""
	r := s.Request(p.Request)
	expired := r.Status == StatusApproval && p.Refuse && s.Now >= r.Expires
	switch {
	case r.Status != StatusPending && !replaces && !expired:
		return errorf(CodeConflict, "request %d is already planned", p.Request)
	case p.Await && !s.wantsApproval(r):
		return unsafe("request %d needs no second person", p.Request)
	case len(p.Actions) > 0 && !replaces && s.wantsApproval(r):
		return unsafe("request %d needs the word of a second person", p.Request)
	case (len(p.Actions) > 0 && !replaces || p.Join != "") && r.Requester != "" && r.Off == "":
		if ok, f := ruleVote(s, r); !ok {
			return unsafe("%s", f.Text)
		}
	}
	return nil
}

func checkItem(s *State, c *Cluster, p *Plan, item *PlanItem) *Error {
	switch item.Kind {
	case ActionFenceOff:
		return checkFence(s, c, p, item)
	case ActionFenceOn:
		if p.Request == 0 || !asked(s, p, item) {
			return unsafe("a host is powered on only when somebody asks")
		}
		if item.Condemn {
			return unsafe("a power-on ends nobody's lease")
		}
		if c != nil && c.Guard != nil && c.Guard.Host == item.Host {
			return unsafe("%s must be proven off before it is powered on", item.Host)
		}
		return checkAction(s, item)
	case ActionRelease:
		switch {
		case c == nil || c.Guard == nil || c.Guard.Action != "":
			return unsafe("there is no held guard to release")
		case c.Spec.OnUnproven != UnprovenReleaseAfter:
			return unsafe("the policy of %s is to hold without proof", c.Name)
		case !c.Spec.Unlocks(GradeSelf):
			return unsafe("the policy of %s does not take %s", c.Name, GradeSelf)
		case c.Settings.Pause || c.Settings.Failsafe:
			return unsafe("the watchdog of %s proves nothing: in maintenance mode Patroni does not arm it, in failsafe_mode a holder without witnesses feeds it", c.Name)
		case c.Guard.Attempts == 0:
			return unsafe("no power-off of %s was tried yet", c.Guard.Host)
		case s.Now < selfFenced(s, c):
			return unsafe("the watchdog's time of %s is not over", c.Name)
		}
		return nil
	case ActionSwitchover:
		if c == nil || p.Request == 0 || !asked(s, p, item) || c.Guard != nil || c.Holder != item.Member || c.Current() != nil {
			return unsafe("a switchover needs a request, a living holder and no other change under way")
		}
		return nil
	}
	return errorf(CodeInvalid, "unknown action %q", item.Kind)
}

// selfFenced returns the time from which the watchdog of a guarded holder's
// host must have reset it. The watchdog runs from the last renewal that the
// holder knows of. A lease that expired had none for its whole TTL; one that
// died in another way may have been renewed just before.
func selfFenced(s *State, c *Cluster) Time {
	at := c.Guard.Since + min(Time(c.Spec.ReleaseAfter), maxWait)
	if lease, ok := s.KV.Lease(c.HolderLease); ok && c.Guard.Cause != causeExpired {
		at += Time(min(lease.TTL, int64(maxWait/time.Second))) * time.Second
	}
	return at
}

// asked says whether the request of a plan, which is open, asks for the item.
func asked(s *State, p *Plan, item *PlanItem) bool {
	r := s.Request(p.Request)
	reboots := r.Kind == RequestReboot && (item.Kind == ActionFenceOff && r.Off == "" || item.Kind == ActionFenceOn && r.Off != "")
	if r.Kind != item.Kind && !reboots {
		return false
	}
	if item.Kind == ActionSwitchover {
		return r.Cluster == p.Cluster
	}
	return r.Host == item.Host
}

func unsafe(format string, args ...any) *Error {
	return &Error{Code: CodeRefused, Rule: "plan.unsafe", Msg: fmt.Sprintf(format, args...)}
}

// checkAction refuses a second action on a host while one is pending.
func checkAction(s *State, item *PlanItem) *Error {
	if s.hostSpec[item.Host] == nil {
		return errorf(CodeConflict, "host %s is not declared", item.Host)
	}
	for id := range s.waiting.All() {
		if a := s.Action(id); a.Host == item.Host && id != item.Replaces {
			return errorf(CodeConflict, "action %s on %s is still pending", id, item.Host)
		}
	}
	return nil
}

// checkFence refuses a power-off without a cause that the state itself shows.
func checkFence(s *State, c *Cluster, p *Plan, item *PlanItem) *Error {
	if err := checkAction(s, item); err != nil {
		return err
	}
	if p.Request != 0 {
		if item.Condemn || !asked(s, p, item) {
			return unsafe("request %d does not ask for that", p.Request)
		}
		return checkAsked(s, p, item) // asked for by name, and judged by the rules that it may override
	}
	if c == nil {
		return unsafe("nobody asked for %s to be powered off", item.Host)
	}
	if c.Quorum != nil {
		return checkLoser(s, c, item)
	}
	old := s.Action(item.Replaces)
	again := old != nil && old.Outcome == Pending && old.Kind == item.Kind && old.Host == item.Host // judged when it was planned
	if ok, f := ruleBlast(s, c, item.Host, p.Format > 0); !ok && !again {
		return unsafe("%s", f.Text)
	}
	switch {
	case c.HolderHost != item.Host:
		return unsafe("%s does not hold %s", item.Host, c.Name)
	case c.Guard != nil:
		return nil
	case !item.Condemn || c.Spec.Fast != FastOn || !c.Spec.Guarded() || c.Settings.Pause:
		return unsafe("the lease of %s is alive", c.Holder)
	case !suspected(s, c):
		return unsafe("no two kinds of signal say that %s is gone", item.Host)
	}
	return nil
}

// planFormat is what Decide writes into its plans. Check judges a plan by the
// rules of its time: 0 are plans from before power-offs under way counted into
// the blast radius, and before orders of people were checked for it again.
const planFormat = 1

// checkAsked looks once more at the caps on a power-off that somebody asked
// for: between the decision and its entry another one may have been planned.
func checkAsked(s *State, p *Plan, item *PlanItem) *Error {
	ref, ok := s.members[item.Host]
	if !ok || p.Format == 0 || item.Replaces != "" {
		return nil
	}
	if ok, f := ruleBlast(s, s.Cluster(ref.cluster), item.Host, true); !ok && !s.Request(p.Request).Overrides(f.Rule) {
		return unsafe("%s", f.Text)
	}
	return nil
}

// suspected says whether the state shows two kinds of signal against a holder:
// at least two witnesses cannot reach it, and a session or a renewal is
// missing. How many witnesses make a majority is for Decide to know.
func suspected(s *State, c *Cluster) bool {
	reach, session := 0, false
	signals := s.Host(c.HolderHost).Signals
	for i := range signals {
		sig := &signals[i]
		switch {
		case sig.Kind == SignalReach && sig.counts(s, s.Now, c.HolderSince):
			reach++
		case sig.Kind == SignalSession && sig.counts(s, s.Now, 0):
			session = true
		}
	}
	return reach >= 2 && (session || c.Overdue != nil)
}
