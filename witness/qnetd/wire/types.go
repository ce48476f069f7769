package wire

import "fmt"

// Limits of version 3.0.3, in bytes, header included.
const (
	HeaderSize       = 6
	MaxMessage       = 32768    // largest message a server takes or sends
	MaxClientMessage = 16777216 // largest message a client lets a server announce
)

// Port is the TCP port of a server.
const Port = 5403

// ServerName is the name that a client asks of the server's certificate,
// whatever the server's address is.
const ServerName = "Qnetd Server"

// Type is the number of a message.
type Type uint16

// Message types. Even those that ask come from the client.
const (
	TypePreinit               Type = 0
	TypePreinitReply          Type = 1
	TypeStartTLS              Type = 2
	TypeInit                  Type = 3
	TypeInitReply             Type = 4
	TypeServerError           Type = 5
	TypeSetOption             Type = 6
	TypeSetOptionReply        Type = 7
	TypeEchoRequest           Type = 8
	TypeEchoReply             Type = 9
	TypeNodeList              Type = 10
	TypeNodeListReply         Type = 11
	TypeAskForVote            Type = 12
	TypeAskForVoteReply       Type = 13
	TypeVoteInfo              Type = 14
	TypeVoteInfoReply         Type = 15
	TypeHeuristicsChange      Type = 16
	TypeHeuristicsChangeReply Type = 17
)

var typeNames = [...]string{
	"PREINIT", "PREINIT_REPLY", "STARTTLS", "INIT", "INIT_REPLY", "SERVER_ERROR", "SET_OPTION", "SET_OPTION_REPLY",
	"ECHO_REQUEST", "ECHO_REPLY", "NODE_LIST", "NODE_LIST_REPLY", "ASK_FOR_VOTE", "ASK_FOR_VOTE_REPLY", "VOTE_INFO",
	"VOTE_INFO_REPLY", "HEURISTICS_CHANGE", "HEURISTICS_CHANGE_REPLY",
}

// String is the protocol's own name of the type.
func (t Type) String() string { return nameOf("message", typeNames[:], int(t)) }

// Known tells whether the type is one of this version.
func (t Type) Known() bool { return int(t) < len(typeNames) }

// FromServer tells whether only a server sends the type. A server that receives
// one answers [UnexpectedMessage].
func (t Type) FromServer() bool {
	switch t {
	case TypePreinitReply, TypeInitReply, TypeServerError, TypeSetOptionReply, TypeEchoReply, TypeNodeListReply,
		TypeAskForVoteReply, TypeVoteInfo, TypeHeuristicsChangeReply:
		return true
	}
	return false
}

// Types lists every message of this version, as version 3.0.3 announces them.
func Types() []Type {
	out := make([]Type, len(typeNames))
	for i := range out {
		out[i] = Type(i)
	}
	return out
}

// Option is the number of an option.
type Option uint16

// Options.
const (
	OptSeq                Option = 0
	OptClusterName        Option = 1
	OptTLSSupported       Option = 2
	OptTLSCertRequired    Option = 3
	OptSupportedMessages  Option = 4
	OptSupportedOptions   Option = 5
	OptReplyErrorCode     Option = 6
	OptMaxRequest         Option = 7
	OptMaxReply           Option = 8
	OptNodeID             Option = 9
	OptSupportedAlgorithm Option = 10
	OptAlgorithm          Option = 11
	OptHeartbeat          Option = 12
	OptRingID             Option = 13
	OptConfigVersion      Option = 14
	OptDataCenterID       Option = 15
	OptNodeState          Option = 16
	OptNodeInfo           Option = 17
	OptNodeListType       Option = 18
	OptVote               Option = 19
	OptQuorate            Option = 20
	OptTieBreaker         Option = 21
	OptHeuristics         Option = 22
	OptKeepActive         Option = 23
)

// OptHold (u8, 0 or 1, in INIT) is Quorate's own and unknown to corosync. The
// client that sets it is a proxy, which takes the vote that it holds along from
// one witness to the next. A server that lists the option in its INIT_REPLY,
// which it does only if the INIT carried it, promises that
//
//   - the end of the connection, whoever ends it and however, is not the end of
//     the vote: nobody else is given it before the client is surely past twice
//     its heartbeat interval;
//   - the next INIT of the same node takes over what the session owes: a NACK
//     that was not answered counts only when it is answered on the new one.
//
// Without the promise a proxy gives the vote up with the connection. There is no
// way to take it back: a proxy cannot tell a qdevice that has cast its NACK from
// one that was killed, whose last vote corosync counts for a while.
const OptHold Option = 0x8001

var optionNames = [...]string{
	"MSG_SEQ_NUMBER", "CLUSTER_NAME", "TLS_SUPPORTED", "TLS_CLIENT_CERT_REQUIRED", "SUPPORTED_MESSAGES", "SUPPORTED_OPTIONS",
	"REPLY_ERROR_CODE", "SERVER_MAXIMUM_REQUEST_SIZE", "SERVER_MAXIMUM_REPLY_SIZE", "NODE_ID", "SUPPORTED_DECISION_ALGORITHMS",
	"DECISION_ALGORITHM", "HEARTBEAT_INTERVAL", "RING_ID", "CONFIG_VERSION", "DATA_CENTER_ID", "NODE_STATE", "NODE_INFO",
	"NODE_LIST_TYPE", "VOTE", "QUORATE", "TIE_BREAKER", "HEURISTICS", "KEEP_ACTIVE_PARTITION_TIE_BREAKER",
}

// String is the protocol's own name of the option.
func (o Option) String() string {
	if o == OptHold {
		return "HOLD"
	}
	return nameOf("option", optionNames[:], int(o))
}

// Options lists every option of this version, as version 3.0.3 announces them.
func Options() []Option {
	out := make([]Option, len(optionNames))
	for i := range out {
		out[i] = Option(i)
	}
	return out
}

// TLS is what a side says about encryption.
type TLS uint8

// TLS policies.
const (
	TLSUnsupported TLS = 0
	TLSSupported   TLS = 1
	TLSRequired    TLS = 2
)

func (t TLS) String() string {
	return nameOf("tls", []string{"unsupported", "supported", "required"}, int(t))
}

// Algorithm is the number of a decision algorithm. Unknown ones decode: a server
// refuses them with [UnsupportedAlgorithm].
type Algorithm uint16

// Decision algorithms.
const (
	AlgorithmTest     Algorithm = 0
	AlgorithmFFSplit  Algorithm = 1
	Algorithm2NodeLMS Algorithm = 2
	AlgorithmLMS      Algorithm = 3
)

func (a Algorithm) String() string {
	return nameOf("algorithm", []string{"test", "ffsplit", "2nodelms", "lms"}, int(a))
}

// NodeState is corosync's opinion of a node; 0 is not said.
type NodeState uint8

// Node states.
const (
	NodeMember  NodeState = 1
	NodeDead    NodeState = 2
	NodeLeaving NodeState = 3
)

func (s NodeState) String() string {
	return nameOf("state", []string{"", "member", "dead", "leaving"}, int(s))
}

// ListType is what a node list is about.
type ListType uint8

// Node lists.
const (
	ListInitialConfig ListType = 0
	ListChangedConfig ListType = 1
	ListMembership    ListType = 2
	ListQuorum        ListType = 3
)

func (l ListType) String() string {
	return nameOf("list", []string{"initial config", "changed config", "membership", "quorum"}, int(l))
}

// Vote is what a server tells a client to do with the vote of the device. There
// is no 0 on the wire.
type Vote uint8

// Votes.
const (
	ACK          Vote = 1 // vote for this partition
	NACK         Vote = 2 // do not
	AskLater     Vote = 3 // nothing to say before more is known
	WaitForReply Vote = 4 // a vote will be sent
	NoChange     Vote = 5 // go on as before
)

func (v Vote) String() string {
	return nameOf("vote", []string{"", "ACK", "NACK", "ASK_LATER", "WAIT_FOR_REPLY", "NO_CHANGE"}, int(v))
}

// Heuristics is the result of a node's own checks; 0 is undefined, for which the
// option is left out.
type Heuristics uint8

// Results of heuristics.
const (
	HeuristicsPass Heuristics = 1
	HeuristicsFail Heuristics = 2
)

func (h Heuristics) String() string {
	return nameOf("heuristics", []string{"undefined", "pass", "fail"}, int(h))
}

// TieBreakerMode says which node decides between equal halves.
type TieBreakerMode uint8

// Tie breakers.
const (
	TieLowest  TieBreakerMode = 1
	TieHighest TieBreakerMode = 2
	TieNode    TieBreakerMode = 3
)

// TieBreaker is the node that decides between equal halves. NodeID is 0 unless
// Mode is [TieNode].
type TieBreaker struct {
	Mode   TieBreakerMode
	NodeID uint32
}

// RingID names a membership of corosync.
type RingID struct {
	NodeID uint32
	Seq    uint64
}

// String is corosync's own notation: node, dot, sequence in hex.
func (r RingID) String() string { return fmt.Sprintf("%d.%x", r.NodeID, r.Seq) }

// NodeInfo is one node of a list. DataCenterID and State are 0 when not said.
type NodeInfo struct {
	NodeID       uint32
	DataCenterID uint32
	State        NodeState
}

func nameOf(kind string, names []string, n int) string {
	if n < len(names) && names[n] != "" {
		return names[n]
	}
	return fmt.Sprintf("%s %d", kind, n)
}
