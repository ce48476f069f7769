package httpapi

import (
	"context"
	"net/netip"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
	"quorate/witness/vote"
)

// QnetdInfo is what a witness knows of its own qnetd port.
type QnetdInfo struct {
	Address      string  `json:"address" doc:"on which this witness listens; empty = it does not serve corosync"`
	TLS          string  `json:"tls" enum:"off,on,required"`
	CertRequired bool    `json:"client_certificate_required"`
	Clients      int     `json:"clients" doc:"connected to this witness"`
	Contact      float64 `json:"contact_limit" doc:"seconds without the leader after which it ends its sessions"`
}

// QnetdBody is the quorum device as corosync-qnetd-tool shows it, and more.
type QnetdBody struct {
	Meta
	Info     QnetdInfo      `json:"info"`
	Clients  int            `json:"clients" doc:"connected to all witnesses"`
	Active   int            `json:"active_clusters" doc:"clusters with a connected client"`
	MaxSize  int            `json:"max_size" doc:"bytes of a message, either way"`
	Clusters []QnetdCluster `json:"clusters"`
}

// QnetdCluster is one corosync cluster.
type QnetdCluster struct {
	Cluster    string      `json:"cluster" doc:"as declared here"`
	Name       string      `json:"name" doc:"cluster_name of corosync"`
	Algorithm  string      `json:"algorithm"`
	KeepActive bool        `json:"keep_active_partition" doc:"all clients ask for it"`
	TieBreaker string      `json:"tie_breaker"`
	Phase      string      `json:"phase" enum:"idle,waiting,nack,ack"`
	Run        uint64      `json:"run,omitempty" doc:"log index that began the present run"`
	Epoch      uint64      `json:"epoch"`
	Holder     string      `json:"holder,omitempty" doc:"nodes of the partition that has the vote"`
	NotVoting  string      `json:"not_voting,omitempty" doc:"why the device gives no full vote"`
	Text       string      `json:"text" doc:"the decision in one sentence"`
	Nodes      []QnetdNode `json:"nodes"`
}

// QnetdNode is one connected node.
type QnetdNode struct {
	Node          uint32   `json:"node"`
	Member        string   `json:"member"`
	Address       string   `json:"address"`
	Heartbeat     uint32   `json:"heartbeat_ms"`
	Config        []uint32 `json:"config"`
	ConfigVersion uint64   `json:"config_version,omitempty"`
	Ring          string   `json:"ring"`
	Members       []uint32 `json:"members"`
	Heuristics    string   `json:"heuristics"`
	AtMembership  string   `json:"heuristics_membership"`
	Regular       string   `json:"heuristics_regular"`
	TLS           bool     `json:"tls"`
	Verified      bool     `json:"certificate_verified"`
	Vote          string   `json:"vote" doc:"last vote of any message"`
	LastVote      string   `json:"last_vote" doc:"last ACK or NACK"`
	Owner         string   `json:"owner" doc:"witness that has the connection"`
	Age           float64  `json:"age" doc:"seconds of cluster time since it connected"`
	Quorate       bool     `json:"quorate" doc:"what it says of itself"`
	Silent        float64  `json:"silent_limit" doc:"seconds of silence after which its witness ends the session"`
	OwnerSilent   float64  `json:"owner_limit" doc:"seconds of silence of its witness after which the leader ends it"`
}

// maxQnetdMessage is the size of the largest message, header included.
const maxQnetdMessage = 32768

type qnetdInput struct {
	Cluster string `query:"cluster" maxLength:"63" doc:"this one only, by either name"`
	ReadInput
}

func (a *API) routeQnetd(h huma.API) {
	register(a, h, huma.Operation{OperationID: "qnetd", Method: "GET", Path: "/v1/qnetd", Summary: "The quorum device for corosync: its clients and where the votes are", Tags: []string{"clusters"}},
		func(ctx context.Context, in *qnetdInput) (*answer[QnetdBody], error) {
			s, err := a.read(ctx, in.Consistent)
			if err != nil {
				return nil, err
			}
			return &answer[QnetdBody]{a.qnetd(s, in.Cluster)}, nil
		}, nil)
}

func (a *API) qnetd(s *witness.State, only string) QnetdBody {
	out := QnetdBody{Meta: a.meta(s), MaxSize: maxQnetdMessage, Clusters: []QnetdCluster{}}
	out.Info.TLS = "off"
	if a.opts.Qnetd != nil {
		out.Info = a.opts.Qnetd()
	}
	v := a.view(s)
	for name, c := range s.Clusters() {
		if c.Quorum == nil {
			continue
		}
		n := len(c.Quorum.Connected())
		out.Clients += n
		if n > 0 {
			out.Active++
		}
		if only == "" || only == name || only == c.Spec.QnetdName() {
			out.Clusters = append(out.Clusters, qnetdCluster(v, c, out.Info.Contact))
		}
	}
	return out
}

func qnetdCluster(v witness.View, c *witness.Cluster, contact float64) QnetdCluster {
	q := c.Quorum
	out := QnetdCluster{
		Cluster: c.Name, Name: c.Spec.QnetdName(), Algorithm: q.Algorithm.String(), TieBreaker: q.TieBreaker.String(), Phase: q.Phase, Run: q.Run,
		Epoch: c.Epoch, Holder: c.Holder, NotVoting: q.NotVoting, Text: witness.Judge(v, c.Name).Sentence, Nodes: []QnetdNode{},
	}
	if out.Phase == witness.PhaseIdle {
		out.Phase = "idle"
	}
	nodes := q.Connected()
	out.KeepActive = q.Algorithm == vote.FFSplit && len(nodes) > 0
	slices.SortFunc(nodes, func(a, b *witness.QuorumNode) int { return int(int64(a.ID) - int64(b.ID)) })
	for _, n := range nodes {
		e := n.Session
		out.KeepActive = out.KeepActive && e.KeepActive
		out.Nodes = append(out.Nodes, QnetdNode{
			Node: n.ID, Member: c.Spec.NodeName(n.ID), Address: mapped(e.Addr), Heartbeat: e.Heartbeat, Config: e.Config, ConfigVersion: e.ConfigVersion,
			Ring: e.Ring.String(), Members: e.Members, Heuristics: e.Heuristics.String(), AtMembership: e.AtMembership.String(), Regular: e.Regular.String(),
			TLS: e.TLS, Verified: e.Verified, Vote: e.Said.String(), LastVote: e.Vote.String(), Owner: e.Owner, Age: seconds(v.State.Now - e.Since), Quorate: n.Quorate,
			Silent: witness.PeerLimit(e.Heartbeat).Seconds(), OwnerSilent: witness.SessionLimit(e.Heartbeat, 0).Seconds() + contact,
		})
	}
	return out
}

// mapped writes an address as corosync-qnetd-tool does, whose socket is of IPv6.
func mapped(addr string) string {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !ap.Addr().Is4() {
		return addr
	}
	return "::ffff:" + addr
}

// quorumState is the state of a corosync cluster in the words of the others.
func quorumState(c *witness.Cluster) string {
	switch {
	case c.Holder == "":
		return StateVacant
	case c.Moving():
		for _, n := range c.Quorum.Withdrawing() {
			if n.Gone != nil && n.Gone.Sticky {
				return StateHeld // only a power-off can end it
			}
		}
		return StateGuarded
	}
	return StateOK
}

// quorumProtection says what happens when a node of a corosync cluster is lost.
func quorumProtection(c *witness.Cluster) string {
	switch {
	case c.Holder == "" || c.Moving():
		return ProtectionNone
	case c.Voting() != "":
		return ProtectionNoCandidate
	case c.Spec.Fencing == witness.FencingOff:
		return ProtectionUnfenced
	}
	return ProtectionFull
}

// quorumMembers returns the members of a corosync cluster: those of the partition
// that has the vote are its primaries.
func quorumMembers(s *witness.State, c *witness.Cluster) []MemberView {
	out := make([]MemberView, 0, len(c.Spec.Members))
	for _, spec := range c.Spec.Members {
		n := c.Quorum.Node(spec.Node)
		mv := MemberView{Name: spec.Name, Host: spec.Host, Role: RoleReplica, Fenced: s.Host(spec.Host).Fenced}
		held := slices.Contains(c.Quorum.Partition, spec.Node) && !c.Moving()
		switch {
		case n == nil || n.Session == nil:
			mv.State, mv.Unfit = "not connected", "its qdevice is not connected"
			if !held {
				mv.Role = RoleAbsent
			}
		default:
			mv.State = "connected to " + n.Session.Owner + ", ring " + n.Session.Ring.String() + ", " + n.Session.Vote.String()
		}
		if held {
			mv.Role = RolePrimary
		}
		if mv.Fenced {
			mv.Unfit = "its host is fenced"
		}
		mv.Ready = mv.Unfit == ""
		out = append(out, mv)
	}
	slices.SortFunc(out, func(a, b MemberView) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}
