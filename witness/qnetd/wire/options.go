package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// options is what a body says, whatever message it belongs to: the real server
// decodes every option in every message.
type options struct {
	present uint64 // bit per option

	seq, nodeID, maxRequest, maxReply, heartbeat uint32
	cluster                                      string
	tls                                          TLS
	certRequired, quorate, keepActive, hold      bool
	messages                                     []Type
	options                                      []Option
	algorithms                                   []Algorithm
	code                                         ErrorCode
	algorithm                                    Algorithm
	ring                                         RingID
	configVersion                                uint64
	dataCenter                                   uint32
	state                                        NodeState
	nodes                                        []NodeInfo
	list                                         ListType
	vote                                         Vote
	tieBreaker                                   TieBreaker
	heuristics                                   Heuristics
}

func (o *options) has(opt Option) bool { return o.present&bit(opt) != 0 }

// bit of an option in options.present; 0 for an option of a later version.
func bit(opt Option) uint64 {
	switch {
	case int(opt) < len(optionNames):
		return 1 << opt
	case opt == OptHold:
		return 1 << 63
	}
	return 0
}

// sizes of the options of fixed length, in bytes.
var sizes = map[Option]int{
	OptSeq: 4, OptTLSSupported: 1, OptTLSCertRequired: 1, OptReplyErrorCode: 2, OptMaxRequest: 4, OptMaxReply: 4, OptNodeID: 4,
	OptAlgorithm: 2, OptHeartbeat: 4, OptRingID: 12, OptConfigVersion: 8, OptDataCenterID: 4, OptNodeState: 1, OptNodeListType: 1,
	OptVote: 1, OptQuorate: 1, OptTieBreaker: 5, OptHeuristics: 1, OptKeepActive: 1, OptHold: 1,
}

// ranges of the options of one byte, both ends included.
var ranges = map[Option][2]uint8{
	OptTLSSupported: {0, 2}, OptNodeState: {1, 3}, OptNodeListType: {0, 3}, OptVote: {1, 5},
	OptQuorate: {0, 1}, OptHeuristics: {1, 2}, OptKeepActive: {0, 1}, OptHold: {0, 1},
}

func badU8(o Option, v uint8) string {
	if r, limited := ranges[o]; limited && (v < r[0] || v > r[1]) {
		return fmt.Sprintf("is %d, but must be %d to %d", v, r[0], r[1])
	}
	return ""
}

func badTieBreaker(m TieBreakerMode) string {
	if m < TieLowest || m > TieNode {
		return fmt.Sprintf("is of mode %d, but must be 1 to 3", m)
	}
	return ""
}

// scan reads all options of a body.
func scan(body []byte) (options, error) {
	var o options
	err := each(body, func(opt Option, value []byte) *DecodeError {
		if bit(opt) == 0 {
			return nil
		}
		if why := o.take(opt, value); why != "" {
			return &DecodeError{Option: opt, Known: true, Why: why}
		}
		o.present |= bit(opt)
		return nil
	})
	if err != nil {
		return o, err
	}
	return o, nil
}

// each calls take for every option, and fails if there is none.
func each(body []byte, take func(Option, []byte) *DecodeError) *DecodeError {
	if len(body) == 0 {
		return &DecodeError{Why: "there is no option in it"}
	}
	for len(body) > 0 {
		if len(body) < 4 {
			return &DecodeError{Why: "it ends inside the header of an option"}
		}
		opt, length := Option(binary.BigEndian.Uint16(body)), int(binary.BigEndian.Uint16(body[2:]))
		body = body[4:]
		if length > len(body) {
			return &DecodeError{Option: opt, Known: true, Why: "runs past the end"}
		}
		if err := take(opt, body[:length]); err != nil {
			return err
		}
		body = body[length:]
	}
	return nil
}

// take stores one option, or says what is wrong with it.
func (o *options) take(opt Option, v []byte) string {
	if size, fixed := sizes[opt]; fixed && len(v) != size {
		return fmt.Sprintf("is %d bytes long, but must be %d", len(v), size)
	}
	if _, one := ranges[opt]; one {
		if why := badU8(opt, v[0]); why != "" {
			return why
		}
	}
	switch opt {
	case OptSeq:
		o.seq = binary.BigEndian.Uint32(v)
	case OptClusterName:
		if bytes.IndexByte(v, 0) >= 0 {
			return "has a NUL byte"
		}
		o.cluster = string(v)
	case OptTLSSupported:
		o.tls = TLS(v[0])
	case OptTLSCertRequired: // the only flag of which 3.0.3 takes any value
		o.certRequired = v[0] != 0
	case OptSupportedMessages:
		return takeU16s(&o.messages, v)
	case OptSupportedOptions:
		return takeU16s(&o.options, v)
	case OptSupportedAlgorithm:
		return takeU16s(&o.algorithms, v)
	case OptReplyErrorCode:
		o.code = ErrorCode(binary.BigEndian.Uint16(v))
	case OptMaxRequest:
		o.maxRequest = binary.BigEndian.Uint32(v)
	case OptMaxReply:
		o.maxReply = binary.BigEndian.Uint32(v)
	case OptNodeID:
		o.nodeID = binary.BigEndian.Uint32(v)
	case OptAlgorithm:
		o.algorithm = Algorithm(binary.BigEndian.Uint16(v))
	case OptHeartbeat:
		o.heartbeat = binary.BigEndian.Uint32(v)
	case OptRingID:
		o.ring = RingID{NodeID: binary.BigEndian.Uint32(v), Seq: binary.BigEndian.Uint64(v[4:])}
	case OptConfigVersion:
		o.configVersion = binary.BigEndian.Uint64(v)
	case OptDataCenterID:
		o.dataCenter = binary.BigEndian.Uint32(v)
	case OptNodeState:
		o.state = NodeState(v[0])
	case OptNodeInfo:
		return o.takeNode(v)
	case OptNodeListType:
		o.list = ListType(v[0])
	case OptVote:
		o.vote = Vote(v[0])
	case OptQuorate:
		o.quorate = v[0] == 1
	case OptTieBreaker:
		return o.takeTieBreaker(v)
	case OptHeuristics:
		o.heuristics = Heuristics(v[0])
	case OptKeepActive:
		o.keepActive = v[0] == 1
	case OptHold:
		o.hold = v[0] == 1
	}
	return ""
}

func (o *options) takeTieBreaker(v []byte) string {
	mode := TieBreakerMode(v[0])
	if why := badTieBreaker(mode); why != "" {
		return why
	}
	o.tieBreaker = TieBreaker{Mode: mode}
	if mode == TieNode {
		o.tieBreaker.NodeID = binary.BigEndian.Uint32(v[1:])
	}
	return ""
}

// takeNode reads a nested list of options, of which three count.
func (o *options) takeNode(v []byte) string {
	var n options
	err := each(v, func(opt Option, value []byte) *DecodeError {
		if opt != OptNodeID && opt != OptDataCenterID && opt != OptNodeState {
			return nil
		}
		if why := n.take(opt, value); why != "" {
			return &DecodeError{Option: opt, Known: true, Why: why}
		}
		return nil
	})
	switch {
	case err != nil && err.Known:
		return fmt.Sprintf("holds %v, which %s", err.Option, err.Why)
	case err != nil:
		return "is itself broken: " + err.Why
	case n.nodeID == 0:
		return "has no node id, or node id 0"
	}
	o.nodes = append(o.nodes, NodeInfo{NodeID: n.nodeID, DataCenterID: n.dataCenter, State: n.state})
	return ""
}

func takeU16s[T ~uint16](to *[]T, v []byte) string {
	if len(v)%2 != 0 {
		return fmt.Sprintf("is a list of 16-bit numbers, but %d bytes long", len(v))
	}
	*to = nil
	for ; len(v) > 0; v = v[2:] {
		*to = append(*to, T(binary.BigEndian.Uint16(v)))
	}
	return ""
}
