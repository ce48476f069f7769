package witness

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Finding is one rule that was evaluated: what went in, what came out, and one
// sentence for people.
type Finding struct {
	Rule    string `json:"rule"`
	Inputs  string `json:"inputs,omitempty"`
	Verdict string `json:"verdict"` // yes, no, wait
	Text    string `json:"text"`
}

// The verdicts of a finding.
const (
	Yes  = "yes"
	No   = "no"
	Wait = "wait"
)

// How long decisions wait. All are cluster time.
const (
	signalFresh   = 15 * time.Second // a "down" that is not re-asserted for so long is void
	actionTimeout = 90 * time.Second // after it another executor takes over
	abandonTime   = 10 * time.Second // after that an action ends that no executor may take over
	minBackoff    = 2 * time.Second
	maxBackoff    = 30 * time.Second
	lateWrite     = time.Minute               // no write of a program that has been powered off arrives later
	maxWait       = 10 * 365 * 24 * time.Hour // for ever, without overflow
)

// SignalRefresh is how often a witness re-asserts a signal that is down.
const SignalRefresh = 5 * time.Second

// fenceBackoff is the pause after the nth fence that proved nothing.
func fenceBackoff(n int) Time {
	d := minBackoff
	for i := 1; i < n && d < maxBackoff; i++ {
		d *= 2
	}
	return min(d, maxBackoff)
}

func verdict(ok bool) string {
	if ok {
		return Yes
	}
	return No
}

// counts says whether a "down" is evidence now. It must be fresh; asserted
// under the present leader, since cluster time stands still without one; and an
// edge since the given time: what was never up since says nothing new.
func (sig *Signal) counts(s *State, now, since Time) bool {
	return sig.Down && now-sig.At <= signalFresh && sig.Term == s.Term && sig.Since >= since
}

// silentTo lists the witnesses that cannot connect to the host.
func silentTo(s *State, now Time, host string, since Time) []string {
	var down []string
	signals := s.Host(host).Signals
	for i := range signals {
		if signals[i].Kind == SignalReach && signals[i].counts(s, now, since) {
			down = append(down, signals[i].Witness)
		}
	}
	return down
}

// ruleReach: do a majority of the witnesses fail to connect to the host, which
// they could before? all says whether no living witness can.
func ruleReach(v View, host string, since Time) (ok, all bool, f Finding) {
	down := silentTo(v.State, v.Now, host, since)
	voters := len(v.Voters)
	ok, all = voters > 0 && len(down) >= voters/2+1, true
	for _, w := range v.Alive {
		all = all && (slices.Contains(down, w) || !slices.Contains(v.Voters, w))
	}
	return ok, ok && all, Finding{
		Rule: "signal.reach", Verdict: verdict(ok),
		Inputs: fmt.Sprintf("unreachable_from=%d of=%d witnesses=%s", len(down), voters, strings.Join(down, ",")),
		Text:   fmt.Sprintf("%d of %d witnesses cannot connect to %s; a majority is needed", len(down), voters, host),
	}
}

// ruleSession: has the host lost its own connections to all living witnesses?
// The last word of a witness that is gone does not count.
func ruleSession(v View, host string) (bool, Finding) {
	down, up := 0, 0
	signals := v.State.Host(host).Signals
	for i := range signals {
		sig := &signals[i]
		switch {
		case sig.Kind != SignalSession:
		case sig.counts(v.State, v.Now, 0):
			down++
		case !sig.Down && slices.Contains(v.Alive, sig.Witness):
			up++
		}
	}
	ok := down > 0 && up == 0
	return ok, Finding{
		Rule: "signal.session", Verdict: verdict(ok),
		Inputs: fmt.Sprintf("lost_by=%d kept_by=%d", down, up),
		Text:   fmt.Sprintf("%s lost its connections to %d witnesses and keeps them to %d", host, down, up),
	}
}

// ruleRenewal: is the renewal of the holder's lease late?
func ruleRenewal(c *Cluster) (bool, Finding) {
	ok := c.Overdue != nil
	text := "the lease of " + c.Holder + " was renewed in time"
	if ok {
		text = "the renewal of " + c.Holder + "'s lease is late: " + c.Overdue.Detail
	}
	return ok, Finding{Rule: "signal.renewal", Verdict: verdict(ok), Text: text}
}

// ruleCandidate: is there a member that can take over?
func ruleCandidate(s *State, c *Cluster) (bool, Finding) {
	var good, bad []string
	for i := range c.Members {
		m := &c.Members[i]
		if m.Name == c.Holder {
			continue
		}
		if why := Unfit(s, c, m); why != "" {
			bad = append(bad, m.Name+": "+why)
			continue
		}
		good = append(good, m.Name)
	}
	ok := len(good) > 0
	text := fmt.Sprintf("%s can take over from %s", strings.Join(good, " and "), c.Holder)
	if !ok {
		text = fmt.Sprintf("no member of %s can take over from %s; powering it off would help nobody", c.Name, c.Holder)
	}
	return ok, Finding{
		Rule: "candidate.exists", Verdict: verdict(ok), Text: text,
		Inputs: fmt.Sprintf("fit=%s unfit=%s", strings.Join(good, ","), strings.Join(bad, "; ")),
	}
}

// ruleInTouch: do the witnesses see anybody alive who could take over? If the
// network between them and all hosts fails, every host looks gone and every
// lease ends, which is no sign against the holder: nobody could take over, and
// with Patroni's failsafe_mode it may be leading on. Before a lease is dead a
// candidate must be reachable, and not only just again: when a network heals,
// the hosts come back one by one, the holder perhaps last. Afterwards its own
// connections to the witnesses are enough, since a deployment may let members
// dial in and no witness out.
func ruleInTouch(v View, c *Cluster, leaseDead bool) (bool, Finding) {
	var seen []string
	for i := range c.Members {
		m := &c.Members[i]
		if m.Name == c.Holder || Unfit(v.State, c, m) != "" {
			continue
		}
		silent, _, _ := ruleReach(v, m.Host, 0)
		lost, _ := ruleSession(v, m.Host)
		switch {
		case leaseDead && !(silent && lost), !leaseDead && !silent && !justBack(v.State, v.Now, m.Host):
			seen = append(seen, m.Name)
		}
	}
	ok := len(seen) > 0
	text := "the witnesses are in touch with " + strings.Join(seen, " and ") + ", so it is not their own network that failed"
	if !ok {
		text = fmt.Sprintf("the witnesses are in touch with nobody who could take over %s: it may be their own network that failed", c.Name)
	}
	return ok, Finding{Rule: "candidate.in-touch", Verdict: verdict(ok), Inputs: "in_touch=" + strings.Join(seen, ","), Text: text}
}

// justBack says whether some witness could not connect to the host until a
// moment ago, or still cannot.
func justBack(s *State, now Time, host string) bool {
	for _, sig := range s.Host(host).Signals {
		if sig.Kind == SignalReach && (!sig.Down && now-sig.Since < signalFresh || sig.Down && now-sig.At <= signalFresh) {
			return true
		}
	}
	return false
}

// settleTime is what a holder gets to come back first, when a hold ends that
// was not its fault: one turn of Patroni's loop.
func settleTime(p PatroniSetting) Time { return RenewalLimit(p) }

// RenewalLimit is how long a holder may go without renewing before that is a
// sign: Patroni renews once a loop_wait, plus what its loop itself takes.
func RenewalLimit(p PatroniSetting) time.Duration {
	loop := min(p.LoopWait, 3600)
	if loop <= 0 {
		loop = 10
	}
	return time.Duration(loop)*time.Second*12/10 + 1500*time.Millisecond
}

// Unfit says why a member cannot become holder, or "".
func Unfit(s *State, c *Cluster, m *Member) string {
	switch {
	case m.Host == "":
		return "not declared"
	case s.Host(m.Host).Fenced:
		return "its host is fenced"
	case m.NoFail:
		return "tagged nofailover"
	case !m.Healthy():
		return "state " + m.State
	case c.Settings.MaxLag > 0 && c.Lag(m) > c.Settings.MaxLag:
		return fmt.Sprintf("%d bytes behind, %d allowed", c.Lag(m), c.Settings.MaxLag)
	}
	return ""
}

// ruleBlast: would this fence leave a majority of the cluster powered off?
// pending counts those that are being powered off now too.
func ruleBlast(s *State, c *Cluster, host string, pending bool) (bool, Finding) {
	fenced := 0
	if pending {
		fenced = offPending(s, c, host)
	}
	for _, m := range c.Spec.Members {
		if m.Host != host && s.Host(m.Host).Fenced {
			fenced++
		}
	}
	n := len(c.Spec.Members)
	ok := fenced+1 <= max(n/2, 1)
	already := "off already"
	if pending && offPending(s, c, host) > 0 {
		already = "off already or being powered off"
	}
	return ok, Finding{
		Rule: "fence.blast-radius", Verdict: verdict(ok),
		Inputs: fmt.Sprintf("off_now=%d members=%d", fenced, n),
		Text:   fmt.Sprintf("%d of %d hosts of %s are %s; more than half must never be", fenced, n, c.Name, already),
	}
}

// ruleDevice: is there anything that can switch the host off?
func ruleDevice(s *State, host string) (bool, Finding) {
	spec := s.hostSpec[host]
	ok := spec != nil && len(spec.Fence) > 0
	text := host + " has fence devices"
	if !ok {
		text = host + " has no fence device: nobody can prove it off but a person"
	}
	return ok, Finding{Rule: "fence.device", Verdict: verdict(ok), Text: text}
}

// rulePaused: is Patroni told to leave the cluster alone?
func rulePaused(c *Cluster) (bool, Finding) {
	text := "Patroni manages " + c.Name
	if c.Settings.Pause {
		text = c.Name + " is in Patroni's maintenance mode (pause): no failover, so no power-off"
	}
	return !c.Settings.Pause, Finding{Rule: "patroni.managed", Verdict: verdict(!c.Settings.Pause), Text: text}
}
