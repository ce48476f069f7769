package witness

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"quorate/witness/vote"
)

// Quorum is what the witnesses know of a corosync cluster: its sessions, and
// where the vote of the quorum device is. It is immutable.
type Quorum struct {
	Algorithm  vote.Algorithm  `json:"algorithm"`
	TieBreaker vote.TieBreaker `json:"tie_breaker"`
	Nodes      []QuorumNode    `json:"nodes,omitempty"`    // by id: those that were ever connected
	Selected   []uint32        `json:"selected,omitempty"` // what the last run that could decide selected
	Phase      string          `json:"phase,omitempty"`
	Run        uint64          `json:"run,omitempty"`        // index of the entry that began the present run
	Partition  []uint32        `json:"partition,omitempty"`  // nodes of the holder; nil while nobody has the vote
	Orders     uint64          `json:"orders,omitempty"`     // sessions so far
	NotVoting  string          `json:"not_voting,omitempty"` // why the device gives no full vote, once that was an alert
}

// The phases of a run. An ACK is sent in PhaseACK only.
const (
	PhaseIdle    = ""        // nobody is connected
	PhaseWaiting = "waiting" // the nodes do not agree on their memberships yet
	PhaseNACK    = "nack"    // those that lose are told first
	PhaseACK     = "ack"     // those that win have been told
)

// QuorumNode is one node of a corosync cluster.
type QuorumNode struct {
	ID      uint32         `json:"id"`
	Session *QuorumSession `json:"session,omitempty"` // nil = not connected
	Last    vote.Vote      `json:"last,omitempty"`    // the last ACK or NACK that counts
	// May says that the node may still count an ACK: it was sent one and has not
	// answered a NACK since, nor is its session known to be over for it.
	May     bool        `json:"may,omitempty"`
	Gone    *QuorumGone `json:"gone,omitempty"`    // how its session ended, while May
	Left    bool        `json:"left,omitempty"`    // it ended its session itself
	Quorate bool        `json:"quorate,omitempty"` // what it last said of itself
	// Lost is the epoch with which it lost the vote to others; 0 = it did not,
	// or has been proven off since.
	Lost     uint64 `json:"lost,omitempty"`
	Attempts int    `json:"attempts,omitempty"` // power-offs that proved nothing
	RetryAt  Time   `json:"retry_at,omitempty"`
	Swaps    []Time `json:"swaps,omitempty"` // when sessions of another address took over, lately
	// Past is the newest connection that the node had at each life of a witness. The
	// start of an older one that gets here late, or twice, is void.
	Past []QuorumPast `json:"past,omitempty"`
}

// QuorumPast is the newest connection of a node at one life of a witness.
type QuorumPast struct {
	Owner string `json:"owner"`
	Boot  uint64 `json:"boot"`
	Conn  uint64 `json:"conn"`
}

// maxPast bounds the lives of witnesses that are remembered for a node.
const maxPast = 8

// meet notes a connection, or says that it is not newer than one of before.
func (n *QuorumNode) meet(owner string, boot, conn uint64) bool {
	for i, p := range n.Past {
		if p.Owner != owner || p.Boot != boot {
			continue
		}
		if conn <= p.Conn {
			return false
		}
		n.Past = slices.Delete(slices.Clone(n.Past), i, i+1)
		break
	}
	n.Past = append(slices.Clone(n.Past), QuorumPast{owner, boot, conn})
	if len(n.Past) > maxPast {
		n.Past = n.Past[1:]
	}
	return true
}

// QuorumSession is one connection of a node's qdevice, wherever it ends.
type QuorumSession struct {
	Owner     string `json:"owner"`          // the witness that has the connection
	Boot      uint64 `json:"boot"`           // the life of that witness
	Conn      uint64 `json:"conn"`           // its number there
	Index     uint64 `json:"index"`          // of the entry that made it
	Order     uint64 `json:"order"`          // in which the sessions of the cluster were made
	Since     Time   `json:"since"`          // cluster time of its start
	Wall      int64  `json:"wall"`           // Unix milliseconds of its start, for people
	Addr      string `json:"addr"`           // of the client, with port
	TLS       bool   `json:"tls"`            // the connection is encrypted
	Verified  bool   `json:"verified"`       // its certificate names the cluster
	Heartbeat uint32 `json:"heartbeat"`      // ms
	Hold      bool   `json:"hold,omitempty"` // a proxy: its vote does not end with its connection
	Ops       uint64 `json:"ops"`            // number of the last message that was applied

	// Stale: it took the place of another session, and nothing was heard on it
	// since. It may be the older of the two, whose start was late to get here.
	Stale bool `json:"stale,omitempty"`

	Config        []uint32        `json:"config,omitempty"`
	ConfigVersion uint64          `json:"config_version,omitempty"`
	Members       []uint32        `json:"members,omitempty"`
	Ring          vote.Ring       `json:"ring"`
	KeepActive    bool            `json:"keep_active,omitempty"`
	Heuristics    vote.Heuristics `json:"heuristics,omitempty"` // what counts: the newest of the next two
	AtMembership  vote.Heuristics `json:"at_membership,omitempty"`
	Regular       vote.Heuristics `json:"regular,omitempty"`

	Want     vote.Vote `json:"want,omitempty"`     // of the present run
	Vote     vote.Vote `json:"vote,omitempty"`     // the last VOTE_INFO
	VoteSeq  uint32    `json:"vote_seq,omitempty"` // its number
	VoteRing vote.Ring `json:"vote_ring"`          // the membership that it was decided for
	Answered bool      `json:"answered,omitempty"` // it was answered, if it was a NACK
	Said     vote.Vote `json:"said,omitempty"`     // the last vote of any message, for people
}

// QuorumGone says how the last session of a node ended that may still count an
// ACK. Its witnesses cannot know when the client noticed; the leader waits.
type QuorumGone struct {
	Index     uint64 `json:"index"` // of the entry that ended the session
	Cause     string `json:"cause"`
	Heartbeat uint32 `json:"heartbeat"`
	// Sticky: no time makes the ACK void, since the client keeps it when it loses
	// the witnesses. Only a proof that the node is off does.
	Sticky bool `json:"sticky,omitempty"`
}

// How a session ended.
const (
	GoneClosed  = "closed"  // the client ended it in good order; ffsplit has cast a NACK
	GoneBroken  = "broken"  // the client's machine ended it without a goodbye: qdevice was killed
	GoneDropped = "dropped" // the witness or the network ended it, and the client may not know yet
	GoneExpired = "expired" // silent for longer than any client waits
	goneStale   = "stale"   // it took the place of another, and nothing was heard on it since
	goneHeld    = "held"    // a proxy lost its connection and takes the vote along
	gonePower   = "power"   // the node was proven off
)

// Void returns how long after a session ended like that an ACK of it may still
// count, so that the leader waits longer.
func (g *QuorumGone) Void() time.Duration {
	hb := time.Duration(g.Heartbeat) * time.Millisecond
	switch g.Cause {
	case GoneBroken: // a killed qdevice: votequorum drops its vote after T = 1.25 HB
		return hb*5/4 + goneMargin(hb)
	case GoneDropped, goneStale:
		return 2*hb + goneMargin(hb)
	case goneHeld:
		return PeerLimit(g.Heartbeat)
	}
	return 0
}

// Stale says that the other session of the node may be the one that lives: its
// witness has to notice first, which takes it as long as it does without contact.
func (g *QuorumGone) Stale() bool { return g.Cause == goneStale }

// goneMargin covers clocks of different speed, timers and the way of messages.
func goneMargin(hb time.Duration) time.Duration { return hb/50 + 250*time.Millisecond }

// SessionLimit is how long the leader may miss reports of a session's witness,
// which answers echoes for at most contact after the last report that was
// acknowledged, before the client has surely given up: it does so after 2 HB.
func SessionLimit(heartbeat uint32, contact time.Duration) time.Duration {
	hb := time.Duration(heartbeat) * time.Millisecond
	return 2*hb + contact + goneMargin(hb)
}

// PeerLimit is how long a witness waits for a message of a client. Stock
// corosync-qnetd waits 1.5 HB, less than its client: that is how two sides come
// to be quorate. The margin covers a qdevice that was killed just before its next
// heartbeat, and whose end got lost: votequorum counts its vote for T = 1.25 HB.
func PeerLimit(heartbeat uint32) time.Duration {
	hb := time.Duration(heartbeat) * time.Millisecond
	return hb*9/4 + goneMargin(hb)
}

// Node returns the node with an id, or nil.
func (q *Quorum) Node(id uint32) *QuorumNode {
	i, ok := slices.BinarySearchFunc(q.Nodes, id, func(n QuorumNode, id uint32) int { return int(int64(n.ID) - int64(id)) })
	if !ok {
		return nil
	}
	return &q.Nodes[i]
}

// clone returns a copy that may be changed.
func (q *Quorum) clone() *Quorum {
	out := *q
	out.Nodes = slices.Clone(q.Nodes)
	for i := range out.Nodes {
		if s := out.Nodes[i].Session; s != nil {
			c := *s
			out.Nodes[i].Session = &c
		}
	}
	return &out
}

// grow returns the node with an id, added if need be.
func (q *Quorum) grow(id uint32) *QuorumNode {
	i, ok := slices.BinarySearchFunc(q.Nodes, id, func(n QuorumNode, id uint32) int { return int(int64(n.ID) - int64(id)) })
	if !ok {
		q.Nodes = slices.Insert(q.Nodes, i, QuorumNode{ID: id})
	}
	return &q.Nodes[i]
}

// Connected returns the connected nodes in the order of their sessions.
func (q *Quorum) Connected() []*QuorumNode {
	var out []*QuorumNode
	for i := range q.Nodes {
		if q.Nodes[i].Session != nil {
			out = append(out, &q.Nodes[i])
		}
	}
	slices.SortFunc(out, func(a, b *QuorumNode) int {
		return int(int64(a.Session.Order) - int64(b.Session.Order))
	})
	return out
}

// Ballot returns what the algorithm decides on.
func (q *Quorum) Ballot() *vote.Ballot {
	b := &vote.Ballot{Algorithm: q.Algorithm, TieBreaker: q.TieBreaker, Selected: q.Selected}
	for _, n := range q.Connected() {
		s := n.Session
		b.Clients = append(b.Clients, vote.Client{
			ID: n.ID, Config: s.Config, Members: s.Members, Ring: s.Ring, Heuristics: s.Heuristics, KeepActive: s.KeepActive, Last: n.Last,
		})
	}
	return b
}

// Withdrawing lists the nodes outside the wanted partition that must answer a
// NACK, or be surely gone, before anybody gets an ACK.
func (q *Quorum) Withdrawing() []*QuorumNode {
	var out []*QuorumNode
	for i := range q.Nodes {
		n := &q.Nodes[i]
		s := n.Session
		told := s != nil && s.Want == vote.NACK && (s.Vote != vote.NACK || !s.Answered)
		if told || n.May && (s == nil || s.Want != vote.ACK) {
			out = append(out, n)
		}
	}
	return out
}

// counted names a node that may count an ACK, or "".
func (q *Quorum) counted() string {
	for i := range q.Nodes {
		if q.Nodes[i].May {
			return fmt.Sprintf("node %d", q.Nodes[i].ID)
		}
	}
	return ""
}

// NodeName returns the declared name of a node, or one made of its id.
func (c *ClusterSpec) NodeName(id uint32) string {
	for i := range c.Members {
		if c.Members[i].Node == id {
			return c.Members[i].Name
		}
	}
	return fmt.Sprintf("node-%d", id)
}

// NodeHost returns the declared host of a node, or "".
func (c *ClusterSpec) NodeHost(id uint32) string {
	for i := range c.Members {
		if c.Members[i].Node == id {
			return c.Members[i].Host
		}
	}
	return ""
}

// nodeNames joins the names of nodes as a holder's name has them.
func (c *ClusterSpec) nodeNames(ids []uint32) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = c.NodeName(id)
	}
	return strings.Join(names, ",")
}

// QnetdName returns the cluster_name under which corosync knows the cluster.
func (c *ClusterSpec) QnetdName() string {
	if c.Qnetd != "" {
		return c.Qnetd
	}
	return c.Name
}

// sticky says whether a client of the cluster keeps its ACK when it loses the
// witnesses: 2nodelms always does; lms does with wait_for_all, which nobody can
// see on the wire, so it is assumed unless the declaration says otherwise.
func (c *ClusterSpec) sticky(a vote.Algorithm) bool {
	return a == vote.TwoNodeLMS || a == vote.LMS && c.WaitForAll != "no"
}

// declared follows a new declaration: one that is free of wait_for_all lets time
// end what only a proof could before. Another algorithm, which the nodes that are
// connected have come to use, says nothing of those that are gone.
func (q *Quorum) declared(spec *ClusterSpec) {
	for i := range q.Nodes {
		if n := &q.Nodes[i]; n.Gone != nil && q.Algorithm == vote.LMS && !spec.sticky(vote.LMS) {
			g := *n.Gone
			g.Sticky = false
			n.Gone = &g
		}
	}
}

// Voting says why the quorum device of a cluster gives no full vote, or "".
func (c *Cluster) Voting() string {
	q := c.Quorum
	var away []string
	for _, m := range c.Spec.Members {
		if n := q.Node(m.Node); n == nil || n.Session == nil {
			away = append(away, m.Name)
		}
	}
	switch {
	case len(away) == len(c.Spec.Members):
		return "no node of it is connected"
	case len(away) > 0:
		return strings.Join(away, ", ") + " not connected"
	case c.Holder == "":
		return "nobody has the vote"
	}
	return ""
}

// QnetdCluster returns the cluster that is known to corosync by a name, or nil.
func (s *State) QnetdCluster(name string) *Cluster {
	own, ok := s.qnetd[name]
	if !ok {
		return nil
	}
	return s.Cluster(own)
}
