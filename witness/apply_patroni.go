package witness

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"quorate/witness/kv"
)

// keyChanged follows Patroni's own keys: the holder, the members, their
// positions and the settings are read from what Patroni writes anyway.
func (a *applier) keyChanged(name, rest string, ev *kv.Event, how Release) {
	switch rest = text([]byte(rest)); {
	case rest == "leader" && ev.Type == kv.Put && len(ev.KV.Value) == 0:
		a.leaderGone(name, Release{Grade: GradeUnguarded, Reason: "the leader key was emptied"})
	case rest == "leader" && ev.Type == kv.Put:
		a.leaderPut(name, text(ev.KV.Value), ev.KV.Lease)
	case rest == "leader":
		a.leaderGone(name, how)
	case strings.HasPrefix(rest, "members/"):
		a.memberChanged(name, rest[len("members/"):], ev)
	case rest == "config":
		c := a.copyOf(name)
		c.Settings = PatroniSetting{}
		if ev.Type == kv.Put {
			c.Settings = parseSettings(ev.KV.Value)
		}
		a.put(c, true)
	case rest == "status" && ev.Type == kv.Put:
		var status struct {
			Optime int64 `json:"optime"`
		}
		if json.Unmarshal(ev.KV.Value, &status) == nil && status.Optime > 0 {
			a.setOptime(name, status.Optime)
		}
	case rest == "optime/leader" && ev.Type == kv.Put:
		if v, err := strconv.ParseInt(string(ev.KV.Value), 10, 64); err == nil {
			a.setOptime(name, v)
		}
	case rest == "failover":
		a.failoverKey(name, ev)
	}
}

// text returns what clients wrote as text. Other bytes must not get into the
// state: JSON would change them, and a restored witness would differ.
func text(raw []byte) string { return strings.ToValidUTF8(string(raw), "\uFFFD") }

func (a *applier) setOptime(name string, pos int64) {
	c := a.copyOf(name)
	c.Optime = pos
	a.put(c, false)
}

// leaderPut follows a written leader key.
func (a *applier) leaderPut(name, member string, lease int64) {
	c := a.copyOf(name)
	switch c.Holder {
	case "":
		a.grant(c, member, lease)
	case member:
		if c.Guard != nil {
			a.reinstate(c)
		}
		c.HolderLease = lease
		c.Overdue = nil
		a.put(c, true)
	default: // only without guard: see guardKey
		a.endEpoch(c, Release{Grade: GradeUnguarded, Reason: "the leader key was overwritten"})
		a.put(c, true)
		a.grant(a.copyOf(name), member, lease)
	}
}

// grant begins a new epoch.
func (a *applier) grant(c *Cluster, member string, lease int64) {
	c.Epoch++
	c.Holder, c.HolderLease, c.HolderSince = member, lease, a.s.Now
	c.HolderHost = ""
	if spec := c.Spec.Member(member); spec != nil {
		c.HolderHost = spec.Host
	}
	c.Guard, c.Overdue, c.Would = nil, nil, 0
	text := fmt.Sprintf("%s holds %s with epoch %d", member, c.Name, c.Epoch)
	if run := c.Current(); run == nil && c.Last != "" && c.Last != member {
		a.startRun(c, Run{Kind: RunHandover, From: c.Last, Reason: string(c.Release.Grade)})
		c.Runs[len(c.Runs)-1].Epoch = c.Epoch - 1
	}
	a.phase(c, "granted", text+"; DNS names it from this entry on")
	a.endRun(c, RunCompleted, member)
	c.Last = ""
	a.event(Event{Kind: "granted", Cluster: c.Name, Host: c.HolderHost, Epoch: c.Epoch, Text: text})
	a.put(c, true)
}

// reinstate gives the key back to a holder that returned while it was held and
// nobody was powering it off: the same holder, the same epoch. The lease that
// it lost lives again and ends as any other, with the keys that it still has.
func (a *applier) reinstate(c *Cluster) {
	if next, err := a.s.KV.Revive(c.HolderLease); err == nil {
		a.s.KV = next
	}
	text := fmt.Sprintf("%s came back with a live lease before anybody was granted; it holds %s again with epoch %d", c.Holder, c.Name, c.Epoch)
	c.Guard = nil
	a.phase(c, "reinstated", text)
	a.endRun(c, RunCompleted, c.Holder)
	a.event(Event{Kind: "reinstated", Level: LevelWarn, Cluster: c.Name, Host: c.HolderHost, Epoch: c.Epoch, Text: text})
}

// leaderGone follows a deleted leader key.
func (a *applier) leaderGone(name string, how Release) {
	c := a.copyOf(name)
	if c.Holder == "" {
		return
	}
	a.endEpoch(c, how)
	a.put(c, true)
}

func (a *applier) endEpoch(c *Cluster, how Release) {
	how.Epoch, how.Member, how.Index, how.At = c.Epoch, c.Holder, a.e.Index, a.s.Now
	c.Release = &how
	text := fmt.Sprintf("%s is released from epoch %d of %s: %s", c.Holder, c.Epoch, c.Name, how.Grade)
	if how.By != "" {
		text += " by " + how.By
	}
	a.phase(c, "released", text)
	a.event(Event{Kind: "released", Cluster: c.Name, Host: c.HolderHost, Epoch: c.Epoch, Text: text})
	c.Last, c.Holder, c.HolderHost, c.HolderLease = c.Holder, "", "", 0
	c.Guard, c.Overdue, c.Would = nil, nil, 0
}

// memberChanged follows a member key.
func (a *applier) memberChanged(name, member string, ev *kv.Event) {
	c := a.copyOf(name)
	members := make([]Member, 0, len(c.Members)+1)
	for _, m := range c.Members {
		if m.Name != member {
			members = append(members, m)
		}
	}
	if ev.Type == kv.Put {
		m := parseMember(member, ev.KV)
		if spec := c.Spec.Member(member); spec != nil {
			m.Host = spec.Host
			a.seenOn(spec.Host, ev.KV.Lease)
		}
		members = append(members, m)
		sort.Slice(members, func(i, j int) bool { return members[i].Name < members[j].Name })
	}
	c.Members = members
	a.put(c, false)
}

// seenOn ends the "fenced" mark of a host whose Patroni writes with a lease
// that is younger than the proof: somebody has powered it on again. An older
// lease shows the same when it is still used long after the proof, which was
// then itself older than the lease.
func (a *applier) seenOn(host string, lease int64) {
	old := a.s.Host(host)
	if !old.Fenced || !a.youngerThanProof(host, lease) && a.s.Now-old.FencedAt <= lateWrite {
		return
	}
	h := *old
	h.Fenced = false
	a.s.hosts = a.s.hosts.Set(host, &h)
	a.s.DNSIndex = a.e.Index
	a.event(Event{Kind: "host-returned", Host: host, Text: host + " is on again: a member on it reports"})
}

// youngerThanProof says whether a lease was granted after the host was proven
// off. Only a program that runs on it can know and use such a lease.
func (a *applier) youngerThanProof(host string, lease int64) bool {
	born, ok := a.s.born.Get(lease)
	return ok && born > a.s.Host(host).ProofIdx
}

// parseSettings reads Patroni's dynamic configuration as Patroni does: a switch
// may be "on", and a number a text. What is not readable is zero: unknown.
func parseSettings(raw []byte) PatroniSetting {
	var doc struct {
		TTL      looseInt  `json:"ttl"`
		LoopWait looseInt  `json:"loop_wait"`
		MaxLag   looseInt  `json:"maximum_lag_on_failover"`
		Pause    looseBool `json:"pause"`
		Failsafe looseBool `json:"failsafe_mode"`
	}
	_ = json.Unmarshal(raw, &doc)
	return PatroniSetting{TTL: int64(doc.TTL), LoopWait: int64(doc.LoopWait), MaxLag: int64(doc.MaxLag), Pause: bool(doc.Pause), Failsafe: bool(doc.Failsafe)}
}

type (
	looseInt  int64
	looseBool bool // patroni/utils.py, parse_bool
)

func (n *looseInt) UnmarshalJSON(raw []byte) error {
	v, err := strconv.ParseInt(looseText(raw), 10, 64)
	if err == nil {
		*n = looseInt(v)
	}
	return nil
}

func (b *looseBool) UnmarshalJSON(raw []byte) error {
	switch strings.ToLower(looseText(raw)) {
	case "on", "true", "yes", "1":
		*b = true
	}
	return nil
}

func looseText(raw []byte) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return string(raw)
	}
	return s
}

func parseMember(name string, kvp *kv.KeyValue) Member {
	var doc struct {
		Role     string         `json:"role"`
		State    string         `json:"state"`
		APIURL   string         `json:"api_url"`
		ConnURL  string         `json:"conn_url"`
		Position int64          `json:"xlog_location"`
		Timeline int64          `json:"timeline"`
		Version  string         `json:"version"`
		Tags     map[string]any `json:"tags"`
	}
	m := Member{Name: name, Lease: kvp.Lease}
	if json.Unmarshal(kvp.Value, &doc) != nil {
		m.State = "unreadable"
		return m
	}
	m.Role, m.State, m.APIURL, m.ConnURL = doc.Role, doc.State, doc.APIURL, doc.ConnURL
	m.Position, m.Timeline, m.Version = doc.Position, doc.Timeline, doc.Version
	m.NoFail, _ = doc.Tags["nofailover"].(bool)
	return m
}

// failoverKey follows the key by which a switchover is asked of Patroni.
func (a *applier) failoverKey(name string, ev *kv.Event) {
	c := a.copyOf(name)
	if ev.Type == kv.Put && asksForSwitch(ev.KV.Value) {
		c.Switch = text(ev.KV.Value)
		a.put(c, true)
		return
	}
	c.Switch = ""
	if run := c.Current(); run != nil && run.Kind == RunSwitchover && run.From == c.Holder && run.Epoch == c.Epoch {
		a.phase(c, "given-up", "Patroni took the request back and kept "+c.Holder+"; its log says why")
		a.endRun(c, RunFailed, "")
	}
	a.put(c, true)
}

// asksForSwitch says whether a failover key names anybody. Patroni 3.0.2 ends
// a switchover by writing an empty document, later versions delete the key.
func asksForSwitch(value []byte) bool {
	var doc struct {
		Leader    string `json:"leader"`
		Member    string `json:"member"`
		Candidate string `json:"candidate"`
	}
	if json.Unmarshal(value, &doc) != nil {
		return len(value) > 0 // Patroni's oldest form, "leader:candidate"
	}
	return doc.Leader != "" || doc.Member != "" || doc.Candidate != ""
}
