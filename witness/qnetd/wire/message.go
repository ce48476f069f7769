package wire

// Message is one message of the protocol: one of the structs of this file, by
// value. A pointer in one is an option that may be left out.
type Message interface {
	// Type is the message's number.
	Type() Type
	encode(e *encoder)
}

// Preinit opens a connection.
type Preinit struct {
	Seq     uint32
	Cluster string // name of the cluster, without NUL
}

// PreinitReply says what the server asks of the connection.
type PreinitReply struct {
	Seq          uint32 // of the request
	TLS          TLS
	CertRequired bool // a client certificate is required under TLS
}

// StartTLS has no reply: the client's next bytes are a TLS ClientHello.
type StartTLS struct{ Seq uint32 }

// Init makes the connection a session of a node.
type Init struct {
	Seq         uint32
	Messages    []Type   // supported by the client
	Options     []Option // supported by the client
	NodeID      uint32
	Algorithm   Algorithm
	HeartbeatMS uint32 // interval of echo requests
	TieBreaker  TieBreaker
	Ring        RingID
	Hold        bool // see [OptHold]; sent if true
}

// InitReply accepts or refuses a session; every field is sent either way.
type InitReply struct {
	Code       ErrorCode
	Seq        uint32 // of the request
	Messages   []Type
	Options    []Option
	MaxRequest uint32 // bytes, header included
	MaxReply   uint32
	Algorithms []Algorithm
}

// ServerError refuses a message. A client that receives one exits: a server in
// doubt closes the connection instead.
type ServerError struct {
	Seq  *uint32 // of the request, if it had one
	Code ErrorCode
}

// SetOption changes options of a session; nil leaves one as it is.
type SetOption struct {
	Seq         uint32
	HeartbeatMS *uint32
	KeepActive  *bool // keep-active-partition tie breaker
}

// SetOptionReply carries the options of the request with the values now in force.
type SetOptionReply struct {
	Seq         uint32
	HeartbeatMS *uint32
	KeepActive  *bool
}

// EchoRequest asks for its own body back. See [NewEchoRequest].
type EchoRequest struct{ Body []byte }

// EchoReply is the body of an [EchoRequest], unchanged.
type EchoReply struct{ Body []byte }

// NodeList tells the server what a node knows.
type NodeList struct {
	Seq           uint32
	List          ListType
	Ring          RingID  // always sent with a membership, else if not zero
	ConfigVersion *uint64 // of the cluster's configuration
	Quorate       bool    // always sent with a quorum list, else if true
	Nodes         []NodeInfo
	Heuristics    Heuristics // 0 is undefined, and not sent
}

// NodeListReply answers a [NodeList].
type NodeListReply struct {
	Seq  uint32 // of the request
	List ListType
	Ring RingID // the membership that the vote is for
	Vote Vote
}

// AskForVote asks for the vote. The shipped clients never send it.
type AskForVote struct{ Seq uint32 }

// AskForVoteReply answers an [AskForVote].
type AskForVoteReply struct {
	Seq  uint32
	Vote Vote
	Ring RingID
}

// VoteInfo is a vote that nobody asked for.
type VoteInfo struct {
	Seq  uint32 // the server's own counter
	Vote Vote
	Ring RingID
}

// VoteInfoReply confirms a [VoteInfo].
type VoteInfoReply struct{ Seq uint32 }

// HeuristicsChange tells that the result of the regular heuristics has changed.
type HeuristicsChange struct {
	Seq        uint32
	Heuristics Heuristics
}

// HeuristicsChangeReply answers a [HeuristicsChange].
type HeuristicsChangeReply struct {
	Seq        uint32
	Vote       Vote
	Ring       RingID
	Heuristics Heuristics
}

func (Preinit) Type() Type               { return TypePreinit }
func (PreinitReply) Type() Type          { return TypePreinitReply }
func (StartTLS) Type() Type              { return TypeStartTLS }
func (Init) Type() Type                  { return TypeInit }
func (InitReply) Type() Type             { return TypeInitReply }
func (ServerError) Type() Type           { return TypeServerError }
func (SetOption) Type() Type             { return TypeSetOption }
func (SetOptionReply) Type() Type        { return TypeSetOptionReply }
func (EchoRequest) Type() Type           { return TypeEchoRequest }
func (EchoReply) Type() Type             { return TypeEchoReply }
func (NodeList) Type() Type              { return TypeNodeList }
func (NodeListReply) Type() Type         { return TypeNodeListReply }
func (AskForVote) Type() Type            { return TypeAskForVote }
func (AskForVoteReply) Type() Type       { return TypeAskForVoteReply }
func (VoteInfo) Type() Type              { return TypeVoteInfo }
func (VoteInfoReply) Type() Type         { return TypeVoteInfoReply }
func (HeuristicsChange) Type() Type      { return TypeHeuristicsChange }
func (HeuristicsChangeReply) Type() Type { return TypeHeuristicsChangeReply }

// NewEchoRequest makes the request that the shipped client sends.
func NewEchoRequest(seq uint32) EchoRequest {
	e := encoder{}
	e.u32(OptSeq, seq)
	return EchoRequest{Body: e.out}
}

// Reply is the answer: the same body.
func (m EchoRequest) Reply() EchoReply { return EchoReply(m) }

// Seq is the sequence number in the body, if there is one.
func (m EchoRequest) Seq() (uint32, bool) { return bodySeq(m.Body) }

// Seq is the sequence number in the body, if there is one.
func (m EchoReply) Seq() (uint32, bool) { return bodySeq(m.Body) }

func bodySeq(body []byte) (uint32, bool) {
	o, err := scan(body)
	return o.seq, err == nil && o.has(OptSeq)
}
