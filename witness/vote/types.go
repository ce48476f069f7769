package vote

import (
	"fmt"
	"slices"
)

// Vote is what a client is told. The numbers are those of the protocol.
type Vote uint8

// The votes. None is never on the wire.
const (
	None         Vote = 0
	ACK          Vote = 1
	NACK         Vote = 2
	AskLater     Vote = 3
	WaitForReply Vote = 4
	NoChange     Vote = 5
)

// String returns the name that corosync-qnetd-tool prints.
func (v Vote) String() string {
	switch v {
	case ACK:
		return "ACK"
	case NACK:
		return "NACK"
	case AskLater:
		return "Ask later"
	case WaitForReply:
		return "Wait for reply"
	case NoChange:
		return "No change"
	}
	return "Undefined"
}

// Algorithm is a decision algorithm. The numbers are those of the protocol.
type Algorithm uint16

// The algorithms. Test can make two partitions quorate and is never offered.
const (
	Test       Algorithm = 0
	FFSplit    Algorithm = 1
	TwoNodeLMS Algorithm = 2
	LMS        Algorithm = 3
)

// String returns the name that corosync-qnetd-tool prints.
func (a Algorithm) String() string {
	switch a {
	case Test:
		return "Test"
	case FFSplit:
		return "Fifty-Fifty split"
	case TwoNodeLMS:
		return "2 Node LMS"
	case LMS:
		return "LMS"
	}
	return fmt.Sprintf("Unknown (%d)", uint16(a))
}

// Heuristics is the result of a node's own health checks.
type Heuristics uint8

// The results. Undefined: the node runs none, or has not said.
const (
	Undefined Heuristics = 0
	Pass      Heuristics = 1
	Fail      Heuristics = 2
)

// String returns the name that corosync-qnetd-tool prints.
func (h Heuristics) String() string { return [...]string{"Undefined", "Pass", "Fail"}[min(h, 2)] }

// TieBreaker names the node that decides between equal halves.
type TieBreaker struct {
	Mode uint8  `json:"mode"`           // 1 lowest, 2 highest, 3 Node
	Node uint32 `json:"node,omitempty"` // 0 unless Mode is 3
}

// The modes of a tie breaker.
const (
	TieLowest  = 1
	TieHighest = 2
	TieNode    = 3
)

// String returns the words of corosync-qnetd-tool.
func (t TieBreaker) String() string {
	switch t.Mode {
	case TieHighest:
		return "Node with highest node ID"
	case TieNode:
		return fmt.Sprintf("Node with node ID %d", t.Node)
	}
	return "Node with lowest node ID"
}

// among returns the preferred one of some node ids; 0 if there are none.
func (t TieBreaker) among(ids []uint32) uint32 {
	switch {
	case t.Mode == TieNode:
		return t.Node
	case len(ids) == 0:
		return 0
	case t.Mode == TieHighest:
		return slices.Max(ids)
	}
	return slices.Min(ids)
}

// Ring identifies a membership of corosync.
type Ring struct {
	Node uint32 `json:"node"`
	Seq  uint64 `json:"seq"`
}

// String returns the ring as corosync prints it, such as 1.5d.
func (r Ring) String() string { return fmt.Sprintf("%d.%x", r.Node, r.Seq) }

// Client is one connected client of a cluster with what it last said.
type Client struct {
	ID         uint32
	Config     []uint32 // configured nodes; empty = not said yet
	Members    []uint32 // nodes of its membership; empty = not said yet
	Ring       Ring     // of its membership; before the first, of its start
	Heuristics Heuristics
	KeepActive bool
	Last       Vote // lms and 2nodelms: the last ACK or NACK that counts; None = a newcomer
}

// Ballot is what an algorithm decides on.
type Ballot struct {
	Algorithm  Algorithm
	TieBreaker TieBreaker
	Clients    []Client // the connected ones, in the order in which they connected
	Selected   []uint32 // ffsplit: what was selected last
}

// Result is what an algorithm wants.
type Result struct {
	// Votes are in the order of the clients: ACK, NACK, WaitForReply for one whose
	// surroundings do not agree with it yet, None for one that has not said enough.
	Votes []Vote
	// Fleeting marks a NACK that is not to be remembered as the client's Last.
	Fleeting []bool
	// Selected are the nodes of the winning partition, ascending; nil if there
	// is none, or if nothing can be decided yet.
	Selected []uint32
	// Stable says that no client waits for another.
	Stable bool
	Steps  []Step
}

// Step is one thing that led to a result, for people.
type Step struct {
	Rule string `json:"rule"`
	Yes  bool   `json:"yes"`
	Text string `json:"text"`
}

func (r *Result) step(rule string, yes bool, format string, args ...any) {
	r.Steps = append(r.Steps, Step{Rule: rule, Yes: yes, Text: fmt.Sprintf(format, args...)})
}

// Run decides a ballot. An algorithm that is not offered gives no votes.
func Run(b *Ballot) Result {
	r := Result{Votes: make([]Vote, len(b.Clients)), Fleeting: make([]bool, len(b.Clients))}
	switch b.Algorithm {
	case FFSplit:
		b.ffsplit(&r)
	case LMS:
		b.lms(&r)
	case TwoNodeLMS:
		b.twoNodes(&r)
	default:
		r.step("vote.algorithm", false, "the algorithm %s is not offered", b.Algorithm)
	}
	return r
}

// Offered says whether an algorithm may be used.
func (a Algorithm) Offered() bool { return a == FFSplit || a == LMS || a == TwoNodeLMS }

// The faults of lists, as reply error codes of the protocol.
const (
	CodeUnsupportedAlgorithm  = 12
	CodeInvalidConfigList     = 18
	CodeInvalidMembershipList = 19
)

// CheckConfig returns the error code for a configuration list, or 0.
func (a Algorithm) CheckConfig(id uint32, list []uint32) uint16 {
	switch {
	case a == FFSplit && !slices.Contains(list, id):
		return CodeInvalidConfigList
	case a == TwoNodeLMS && len(list) != 2:
		return CodeUnsupportedAlgorithm
	}
	return 0
}

// CheckMembers returns the error code for a membership list, or 0.
func (a Algorithm) CheckMembers(id uint32, list []uint32) uint16 {
	if a == FFSplit && !slices.Contains(list, id) {
		return CodeInvalidMembershipList
	}
	return 0
}

func (b *Ballot) find(id uint32) int {
	return slices.IndexFunc(b.Clients, func(c Client) bool { return c.ID == id })
}

func subset(small, big []uint32) bool {
	for _, id := range small {
		if !slices.Contains(big, id) {
			return false
		}
	}
	return true
}

func sorted(ids []uint32) []uint32 {
	out := slices.Clone(ids)
	slices.Sort(out)
	return slices.Compact(out)
}
