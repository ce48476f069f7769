package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// Append appends the message, header included, to dst. The order of options is
// that of version 3.0.3. It returns an error, and dst as it was, for a value
// that the protocol cannot carry.
func Append(dst []byte, m Message) ([]byte, error) {
	e := encoder{out: append(dst, make([]byte, HeaderSize)...)}
	m.encode(&e)
	body := len(e.out) - len(dst) - HeaderSize
	switch {
	case e.err != nil:
		return dst, fmt.Errorf("encode %v: %w", m.Type(), e.err)
	case body == 0:
		return dst, fmt.Errorf("encode %v: an empty body does not decode", m.Type())
	case body+HeaderSize > MaxClientMessage:
		return dst, fmt.Errorf("encode %v: %d bytes are more than any peer takes", m.Type(), body+HeaderSize)
	}
	binary.BigEndian.PutUint16(e.out[len(dst):], uint16(m.Type()))
	binary.BigEndian.PutUint32(e.out[len(dst)+2:], uint32(body))
	return e.out, nil
}

type encoder struct {
	out []byte
	err error
}

func (e *encoder) fail(o Option, format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf("option %v "+format, append([]any{o}, args...)...)
	}
}

func (e *encoder) header(o Option, length int) {
	if length > math.MaxUint16 {
		e.fail(o, "is %d bytes long, more than 65535", length)
		length = 0
	}
	e.out = binary.BigEndian.AppendUint16(e.out, uint16(o))
	e.out = binary.BigEndian.AppendUint16(e.out, uint16(length))
}

func (e *encoder) u8(o Option, v uint8) {
	if why := badU8(o, v); why != "" {
		e.fail(o, "%s", why)
	}
	e.header(o, 1)
	e.out = append(e.out, v)
}

func (e *encoder) flag(o Option, v bool) {
	if v {
		e.u8(o, 1)
	} else {
		e.u8(o, 0)
	}
}

func (e *encoder) u16(o Option, v uint16) {
	e.header(o, 2)
	e.out = binary.BigEndian.AppendUint16(e.out, v)
}

func (e *encoder) u32(o Option, v uint32) {
	e.header(o, 4)
	e.out = binary.BigEndian.AppendUint32(e.out, v)
}

func (e *encoder) seq(v uint32) { e.u32(OptSeq, v) }

func (e *encoder) ring(r RingID) {
	e.header(OptRingID, 12)
	e.out = binary.BigEndian.AppendUint32(e.out, r.NodeID)
	e.out = binary.BigEndian.AppendUint64(e.out, r.Seq)
}

func u16s[T ~uint16](e *encoder, o Option, list []T) {
	e.header(o, 2*len(list))
	for _, v := range list {
		e.out = binary.BigEndian.AppendUint16(e.out, uint16(v))
	}
}

func (m Preinit) encode(e *encoder) {
	e.seq(m.Seq)
	if strings.IndexByte(m.Cluster, 0) >= 0 {
		e.fail(OptClusterName, "has a NUL byte")
	}
	e.header(OptClusterName, len(m.Cluster))
	e.out = append(e.out, m.Cluster...)
}

func (m PreinitReply) encode(e *encoder) {
	e.seq(m.Seq)
	e.u8(OptTLSSupported, uint8(m.TLS))
	e.flag(OptTLSCertRequired, m.CertRequired)
}

func (m StartTLS) encode(e *encoder) { e.seq(m.Seq) }

func (m Init) encode(e *encoder) {
	e.seq(m.Seq)
	if len(m.Messages) > 0 {
		u16s(e, OptSupportedMessages, m.Messages)
	}
	if len(m.Options) > 0 {
		u16s(e, OptSupportedOptions, m.Options)
	}
	e.u32(OptNodeID, m.NodeID)
	e.u16(OptAlgorithm, uint16(m.Algorithm))
	e.u32(OptHeartbeat, m.HeartbeatMS)
	if why := badTieBreaker(m.TieBreaker.Mode); why != "" {
		e.fail(OptTieBreaker, "%s", why)
	}
	if m.TieBreaker.Mode != TieNode && m.TieBreaker.NodeID != 0 {
		e.fail(OptTieBreaker, "names node %d, but is not of the mode that does", m.TieBreaker.NodeID)
	}
	e.header(OptTieBreaker, 5)
	e.out = append(e.out, byte(m.TieBreaker.Mode))
	e.out = binary.BigEndian.AppendUint32(e.out, m.TieBreaker.NodeID)
	e.ring(m.Ring)
	if m.Hold {
		e.flag(OptHold, true)
	}
}

func (m InitReply) encode(e *encoder) {
	e.u16(OptReplyErrorCode, uint16(m.Code))
	u16s(e, OptSupportedMessages, m.Messages)
	u16s(e, OptSupportedOptions, m.Options)
	e.seq(m.Seq)
	e.u32(OptMaxRequest, m.MaxRequest)
	e.u32(OptMaxReply, m.MaxReply)
	u16s(e, OptSupportedAlgorithm, m.Algorithms)
}

func (m ServerError) encode(e *encoder) {
	if m.Seq != nil {
		e.seq(*m.Seq)
	}
	e.u16(OptReplyErrorCode, uint16(m.Code))
}

func (m SetOption) encode(e *encoder) {
	e.seq(m.Seq)
	if m.HeartbeatMS != nil {
		e.u32(OptHeartbeat, *m.HeartbeatMS)
	}
	if m.KeepActive != nil {
		e.flag(OptKeepActive, *m.KeepActive)
	}
}

func (m SetOptionReply) encode(e *encoder) { SetOption(m).encode(e) }

func (m EchoRequest) encode(e *encoder) {
	if _, err := scan(m.Body); err != nil {
		e.err = err
		return
	}
	e.out = append(e.out, m.Body...)
}

func (m EchoReply) encode(e *encoder) { EchoRequest(m).encode(e) }

func (m NodeList) encode(e *encoder) {
	e.seq(m.Seq)
	e.u8(OptNodeListType, uint8(m.List))
	if m.List == ListMembership || m.Ring != (RingID{}) {
		e.ring(m.Ring)
	}
	if m.ConfigVersion != nil {
		e.header(OptConfigVersion, 8)
		e.out = binary.BigEndian.AppendUint64(e.out, *m.ConfigVersion)
	}
	if m.List == ListQuorum || m.Quorate {
		e.flag(OptQuorate, m.Quorate)
	}
	for _, n := range m.Nodes {
		n.encode(e)
	}
	if m.Heuristics != 0 {
		e.u8(OptHeuristics, uint8(m.Heuristics))
	}
}

func (n NodeInfo) encode(e *encoder) {
	if n.NodeID == 0 {
		e.fail(OptNodeInfo, "has node id 0")
	}
	length := 8
	if n.DataCenterID != 0 {
		length += 8
	}
	if n.State != 0 {
		length += 5
	}
	e.header(OptNodeInfo, length)
	e.u32(OptNodeID, n.NodeID)
	if n.DataCenterID != 0 {
		e.u32(OptDataCenterID, n.DataCenterID)
	}
	if n.State != 0 {
		e.u8(OptNodeState, uint8(n.State))
	}
}

func (m NodeListReply) encode(e *encoder) {
	e.seq(m.Seq)
	e.u8(OptNodeListType, uint8(m.List))
	e.ring(m.Ring)
	e.u8(OptVote, uint8(m.Vote))
}

func (m AskForVote) encode(e *encoder) { e.seq(m.Seq) }

func (m AskForVoteReply) encode(e *encoder) { VoteInfo(m).encode(e) }

func (m VoteInfo) encode(e *encoder) {
	e.seq(m.Seq)
	e.u8(OptVote, uint8(m.Vote))
	e.ring(m.Ring)
}

func (m VoteInfoReply) encode(e *encoder) { e.seq(m.Seq) }

func (m HeuristicsChange) encode(e *encoder) {
	e.seq(m.Seq)
	e.u8(OptHeuristics, uint8(m.Heuristics))
}

func (m HeuristicsChangeReply) encode(e *encoder) {
	e.seq(m.Seq)
	e.u8(OptVote, uint8(m.Vote))
	e.ring(m.Ring)
	e.u8(OptHeuristics, uint8(m.Heuristics))
}
