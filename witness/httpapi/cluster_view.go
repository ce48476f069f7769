package httpapi

import (
	"slices"
	"strings"

	"quorate/witness"
)

// The states of a cluster.
const (
	StateOK      = "ok"      // somebody holds it and the lease is alive
	StateGuarded = "guarded" // the holder's lease is dead, and its host is being powered off
	StateHeld    = "held"    // as guarded, but a rule keeps it from going on
	StateVacant  = "vacant"  // nobody holds it
)

// The kinds of protection: what happens when the holder is lost now.
const (
	ProtectionFull        = "full"         // it is powered off and somebody takes over
	ProtectionNoCandidate = "no-candidate" // nobody could take over
	ProtectionNoDevice    = "no-device"    // only a person could prove it off
	ProtectionNoPath      = "no-path"      // as far as the witnesses have looked, none of them could power it off now
	ProtectionPaused      = "paused"       // Patroni is told not to fail over
	ProtectionUnfenced    = "unfenced"     // fencing: none; its lease ends as in etcd
	ProtectionNone        = "none"         // there is no living holder to protect
)

// ClusterView is a cluster as the API shows it.
type ClusterView struct {
	Name       string              `json:"name"`
	Kind       string              `json:"kind"`
	State      string              `json:"state" enum:"ok,guarded,held,vacant"`
	Text       string              `json:"text" doc:"the state in one sentence"`
	Epoch      uint64              `json:"epoch" doc:"rises with every grant; the fencing token"`
	Holder     string              `json:"holder,omitempty" doc:"member that holds the leader key"`
	HolderHost string              `json:"holder_host,omitempty"`
	HeldFor    float64             `json:"held_for,omitempty" doc:"seconds of cluster time since the grant"`
	Last       string              `json:"last,omitempty" doc:"the holder before, while vacant"`
	Protection string              `json:"protection" enum:"full,no-candidate,no-device,no-path,paused,unfenced,none" doc:"what happens when the holder is lost now"`
	Zone       string              `json:"zone,omitempty"`
	Members    []MemberView        `json:"members"`
	Guard      *witness.Guard      `json:"guard,omitempty" doc:"the holder's lease is dead, its key is kept"`
	Release    *witness.Release    `json:"release,omitempty" doc:"how the last epoch ended"`
	Run        *witness.Run        `json:"run,omitempty" doc:"the failover or switchover under way"`
	Policy     witness.ClusterSpec `json:"policy" doc:"as declared; empty fields have their defaults"`
}

// The roles of a member.
const (
	RolePrimary = "primary"
	RoleReplica = "replica"
	RoleAbsent  = "absent" // declared, but no key of it is there
)

// MemberView is a member as the API shows it.
type MemberView struct {
	Name     string `json:"name"`
	Host     string `json:"host,omitempty"`
	Role     string `json:"role" enum:"primary,replica,absent"`
	State    string `json:"state,omitempty" doc:"as Patroni says"`
	Lag      *int64 `json:"lag,omitempty" doc:"bytes of WAL behind the primary's last known position; nothing when unknown"`
	Timeline int64  `json:"timeline,omitempty"`
	Version  string `json:"version,omitempty" doc:"of Patroni"`
	Fenced   bool   `json:"fenced,omitempty" doc:"its host is proven or confirmed off"`
	Ready    bool   `json:"ready" doc:"it serves, or could take over"`
	Unfit    string `json:"unfit,omitempty" doc:"why it could not take over"`
}

func clusterState(c *witness.Cluster) string {
	switch {
	case c.Quorum != nil:
		return quorumState(c)
	case c.Holder == "":
		return StateVacant
	case c.Guard == nil:
		return StateOK
	case c.Guard.Held != "":
		return StateHeld
	}
	return StateGuarded
}

func viewCluster(v witness.View, c *witness.Cluster) ClusterView {
	s := v.State
	out := ClusterView{
		Name: c.Name, Kind: c.Spec.Kind, State: clusterState(c), Text: witness.Judge(v, c.Name).Sentence, Epoch: c.Epoch,
		Holder: c.Holder, HolderHost: c.HolderHost, Last: c.Last, Zone: c.Spec.Zone, Members: members(s, c),
		Guard: c.Guard, Release: c.Release, Run: c.Current(), Policy: *c.Spec,
	}
	if c.Holder != "" {
		out.HeldFor = seconds(s.Now - c.HolderSince)
	}
	out.Protection = protection(s, c, out.Members)
	return out
}

func protection(s *witness.State, c *witness.Cluster, members []MemberView) string {
	if c.Quorum != nil {
		return quorumProtection(c)
	}
	host := s.Config.Host(c.HolderHost)
	other := func(m MemberView) bool { return m.Ready && m.Name != c.Holder }
	switch {
	case c.Holder == "" || c.Guard != nil:
		return ProtectionNone
	case c.Settings.Pause:
		return ProtectionPaused
	case !c.Spec.Guarded():
		return ProtectionUnfenced
	case !slices.ContainsFunc(members, other):
		return ProtectionNoCandidate
	case host == nil || len(host.Fence) == 0:
		return ProtectionNoDevice
	case s.NobodyCan(c.HolderHost):
		return ProtectionNoPath
	}
	return ProtectionFull
}

// members returns all members by name: those that are declared and those that
// report.
func members(s *witness.State, c *witness.Cluster) []MemberView {
	if c.Quorum != nil {
		return quorumMembers(s, c)
	}
	out := make([]MemberView, 0, len(c.Spec.Members))
	for _, spec := range c.Spec.Members {
		if c.MemberNamed(spec.Name) == nil {
			out = append(out, MemberView{
				Name: spec.Name, Host: spec.Host, Role: RoleAbsent, Fenced: s.Host(spec.Host).Fenced, Unfit: "does not report",
			})
		}
	}
	for i := range c.Members {
		m := &c.Members[i]
		mv := MemberView{
			Name: m.Name, Host: m.Host, Role: RoleReplica, State: m.State, Timeline: m.Timeline, Version: m.Version,
			Fenced: m.Host != "" && s.Host(m.Host).Fenced, Unfit: unfit(s, c, m),
		}
		if m.Name == c.Holder {
			mv.Role = RolePrimary
		}
		if c.Optime > 0 && m.Position > 0 {
			lag := c.Lag(m)
			if m.Name == c.Holder {
				lag = 0
			}
			mv.Lag = &lag
		}
		mv.Ready = mv.Unfit == ""
		out = append(out, mv)
	}
	slices.SortFunc(out, func(a, b MemberView) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// unfit says why a member could not serve or take over, or "".
func unfit(s *witness.State, c *witness.Cluster, m *witness.Member) string {
	if m.Name != c.Holder {
		return witness.Unfit(s, c, m)
	}
	if c.Guard != nil {
		return "its lease is dead"
	}
	holder := *m // what keeps others from taking over does not matter for it
	holder.NoFail, holder.Position = false, c.Optime
	return witness.Unfit(s, c, &holder)
}
