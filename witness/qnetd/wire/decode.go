package wire

import "errors"

// Frame is a message as it came: its type and its options, undecoded.
type Frame struct {
	Type Type
	Body []byte
}

// Decode decodes a frame. Its errors are [*UnsupportedError] for an unknown
// type, [*DecodeError] for a body that is not well formed, and [*MissingError]
// when options are missing that the receiver of the message needs. The message
// shares no memory with the frame but the body of an echo.
func Decode(f Frame) (Message, error) {
	if !f.Type.Known() {
		return nil, &UnsupportedError{Type: f.Type}
	}
	o, err := scan(f.Body)
	var bad *DecodeError
	if errors.As(err, &bad) {
		bad.Type = f.Type
		return nil, bad
	}
	if missing := o.missing(f.Type); len(missing) > 0 {
		return nil, &MissingError{Type: f.Type, Options: missing, Seq: o.seq, HasSeq: o.has(OptSeq)}
	}
	return o.message(f), nil
}

// required are the options without which a receiver refuses a message.
var required = map[Type][]Option{
	TypePreinit:      {OptClusterName},
	TypePreinitReply: {OptSeq, OptTLSSupported, OptTLSCertRequired},
	TypeInit:         {OptNodeID, OptRingID, OptHeartbeat, OptTieBreaker, OptAlgorithm},
	TypeInitReply: {
		OptReplyErrorCode, OptSeq, OptSupportedMessages, OptSupportedOptions, OptMaxRequest, OptMaxReply, OptSupportedAlgorithm,
	},
	TypeServerError:           {OptReplyErrorCode},
	TypeNodeList:              {OptSeq, OptNodeListType},
	TypeNodeListReply:         {OptSeq, OptNodeListType, OptRingID, OptVote},
	TypeAskForVote:            {OptSeq},
	TypeAskForVoteReply:       {OptSeq, OptVote, OptRingID},
	TypeVoteInfo:              {OptSeq, OptVote, OptRingID},
	TypeVoteInfoReply:         {OptSeq},
	TypeHeuristicsChange:      {OptSeq, OptHeuristics},
	TypeHeuristicsChangeReply: {OptSeq, OptVote, OptRingID, OptHeuristics},
}

func (o *options) missing(t Type) []Option {
	var out []Option
	for _, opt := range required[t] {
		if !o.has(opt) {
			out = append(out, opt)
		}
	}
	if t == TypeNodeList && o.has(OptNodeListType) {
		if o.list == ListMembership && !o.has(OptRingID) {
			out = append(out, OptRingID)
		}
		if o.list == ListQuorum && !o.has(OptQuorate) {
			out = append(out, OptQuorate)
		}
	}
	return out
}

func (o *options) message(f Frame) Message {
	switch f.Type {
	case TypePreinit:
		return Preinit{Seq: o.seq, Cluster: o.cluster}
	case TypePreinitReply:
		return PreinitReply{Seq: o.seq, TLS: o.tls, CertRequired: o.certRequired}
	case TypeStartTLS:
		return StartTLS{Seq: o.seq}
	case TypeInit:
		return Init{
			Seq: o.seq, Messages: o.messages, Options: o.options, NodeID: o.nodeID, Algorithm: o.algorithm,
			HeartbeatMS: o.heartbeat, TieBreaker: o.tieBreaker, Ring: o.ring,
			Hold: o.hold,
		}
	case TypeInitReply:
		return InitReply{
			Code: o.code, Seq: o.seq, Messages: o.messages, Options: o.options,
			MaxRequest: o.maxRequest, MaxReply: o.maxReply, Algorithms: o.algorithms,
		}
	case TypeServerError:
		return ServerError{Seq: optional(o, OptSeq, o.seq), Code: o.code}
	case TypeSetOption:
		return o.setOption()
	case TypeSetOptionReply:
		return SetOptionReply(o.setOption())
	case TypeEchoRequest:
		return EchoRequest{Body: f.Body}
	case TypeEchoReply:
		return EchoReply{Body: f.Body}
	case TypeNodeList:
		return NodeList{
			Seq: o.seq, List: o.list, Ring: o.ring, ConfigVersion: optional(o, OptConfigVersion, o.configVersion),
			Quorate: o.quorate, Nodes: o.nodes, Heuristics: o.heuristics,
		}
	case TypeNodeListReply:
		return NodeListReply{Seq: o.seq, List: o.list, Ring: o.ring, Vote: o.vote}
	case TypeAskForVote:
		return AskForVote{Seq: o.seq}
	case TypeAskForVoteReply:
		return AskForVoteReply{Seq: o.seq, Vote: o.vote, Ring: o.ring}
	case TypeVoteInfo:
		return VoteInfo{Seq: o.seq, Vote: o.vote, Ring: o.ring}
	case TypeVoteInfoReply:
		return VoteInfoReply{Seq: o.seq}
	case TypeHeuristicsChange:
		return HeuristicsChange{Seq: o.seq, Heuristics: o.heuristics}
	default: // TypeHeuristicsChangeReply: Decode lets no other type pass
		return HeuristicsChangeReply{Seq: o.seq, Vote: o.vote, Ring: o.ring, Heuristics: o.heuristics}
	}
}

func (o *options) setOption() SetOption {
	return SetOption{
		Seq:         o.seq,
		HeartbeatMS: optional(o, OptHeartbeat, o.heartbeat),
		KeepActive:  optional(o, OptKeepActive, o.keepActive),
	}
}

func optional[T any](o *options, opt Option, v T) *T {
	if !o.has(opt) {
		return nil
	}
	return &v
}
