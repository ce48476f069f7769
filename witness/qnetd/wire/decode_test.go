package wire

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func body(t testing.TB, digits string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestStrictness(t *testing.T) {
	const seq = "0000 0004 00000001 "
	for _, c := range []struct {
		name string
		typ  Type
		body string
		code ErrorCode
	}{
		{"empty body", TypeEchoRequest, "", ErrorDecodingMessage},
		{"three bytes", TypeEchoRequest, "000000", ErrorDecodingMessage},
		{"trailing byte", TypeEchoRequest, seq + "00", ErrorDecodingMessage},
		{"past the end", TypePreinit, seq + "0001 0003 6162", ErrorDecodingMessage},
		{"unknown past the end", TypePreinit, "0001 0001 61 1234 0003 6162", ErrorDecodingMessage},
		{"short seq", TypeEchoRequest, "0000 0003 000001", ErrorDecodingMessage},
		{"long seq", TypeEchoRequest, "0000 0005 0000000001", ErrorDecodingMessage},
		{"name with NUL", TypePreinit, seq + "0001 0003 610062", ErrorDecodingMessage},
		{"odd list", TypePreinit, "0001 0001 61 0004 0003 000000", ErrorDecodingMessage},
		{"tls 3", TypePreinitReply, "0002 0001 03", ErrorDecodingMessage},
		{"foreign option with a bad value", TypeEchoRequest, seq + "0013 0001 00", ErrorDecodingMessage},
		{"vote 6", TypeVoteInfo, seq + "0013 0001 06", ErrorDecodingMessage},
		{"list type 4", TypeNodeList, seq + "0012 0001 04", ErrorDecodingMessage},
		{"quorate 2", TypeNodeList, seq + "0014 0001 02", ErrorDecodingMessage},
		{"heuristics 0", TypeNodeList, seq + "0016 0001 00", ErrorDecodingMessage},
		{"heuristics 3", TypeNodeList, seq + "0016 0001 03", ErrorDecodingMessage},
		{"keep active 2", TypeSetOption, seq + "0017 0001 02", ErrorDecodingMessage},
		{"hold 2", TypeSetOption, seq + "8001 0001 02", ErrorDecodingMessage},
		{"tie breaker mode 0", TypeInit, seq + "0015 0005 0000000000", ErrorDecodingMessage},
		{"tie breaker mode 4", TypeInit, seq + "0015 0005 0400000000", ErrorDecodingMessage},
		{"short ring", TypeNodeList, seq + "000d 000b 0000000000000000000000", ErrorDecodingMessage},
		{"node info empty", TypeNodeList, seq + "0011 0000", ErrorDecodingMessage},
		{"node info without id", TypeNodeList, seq + "0011 0005 0010 0001 01", ErrorDecodingMessage},
		{"node info with id 0", TypeNodeList, seq + "0011 0008 0009 0004 00000000", ErrorDecodingMessage},
		{"node state 0", TypeNodeList, seq + "0011 000d 0009 0004 00000001 0010 0001 00", ErrorDecodingMessage},
		{"node info past its end", TypeNodeList, seq + "0011 0007 0009 0004 000000 00", ErrorDecodingMessage},
		{"preinit without name", TypePreinit, seq, DoesntContainRequiredOption},
		{"init without anything", TypeInit, seq, DoesntContainRequiredOption},
		{"node list without seq", TypeNodeList, "0012 0001 00", DoesntContainRequiredOption},
		{"membership without ring", TypeNodeList, seq + "0012 0001 02", DoesntContainRequiredOption},
		{"quorum without quorate", TypeNodeList, seq + "0012 0001 03", DoesntContainRequiredOption},
		{"heuristics change without", TypeHeuristicsChange, seq, DoesntContainRequiredOption},
		{"vote info reply without seq", TypeVoteInfoReply, "1234 0000", DoesntContainRequiredOption},
		{"unknown type", 18, seq, UnsupportedMessage},
	} {
		m, err := Decode(Frame{Type: c.typ, Body: body(t, c.body)})
		if err == nil {
			t.Errorf("%s: decodes to %+v", c.name, m)
			continue
		}
		if code, ok := CodeOf(err); !ok || code != c.code {
			t.Errorf("%s: %v is %v, want %v", c.name, err, code, c.code)
		}
	}
}

func TestTolerance(t *testing.T) {
	for _, c := range []struct {
		name string
		typ  Type
		body string
		want Message
	}{
		{"unknown option", TypePreinit, "1234 0003 010203 0001 0001 61", Preinit{Cluster: "a"}},
		{"last one wins", TypePreinit, "0001 0001 61 0000 0004 00000001 0001 0002 6263 0000 0004 00000002", Preinit{Seq: 2, Cluster: "bc"}},
		{"last list wins", TypeInit, "0004 0002 0001 0004 0002 0002 0009 0004 00000001 000b 0002 0001 000c 0004 00000001 0015 0005 0100000000" +
			"000d 000c 000000000000000000000000", Init{
			NodeID: 1, Messages: []Type{2}, Algorithm: 1, HeartbeatMS: 1,
			TieBreaker: TieBreaker{Mode: TieLowest},
		}},
		{"node without mode 3", TypeInit, "0009 0004 00000001 000b 0002 0001 000c 0004 00000001 0015 0005 0200000007 000d 000c 000000000000000000000000", Init{
			NodeID: 1, Algorithm: 1, HeartbeatMS: 1,
			TieBreaker: TieBreaker{Mode: TieHighest},
		}},
		{"unknown inside node info", TypeNodeList, "0000 0004 00000001 0012 0001 00 0011 0011 0013 0001 00 1234 0000 0009 0004 00000005", NodeList{
			Seq: 1, Nodes: []NodeInfo{{NodeID: 5}},
		}},
		{"foreign option", TypeVoteInfoReply, "0000 0004 00000001 0001 0001 61", VoteInfoReply{Seq: 1}},
		{"cert 2", TypePreinitReply, "0000 0004 00000001 0002 0001 01 0003 0001 02", PreinitReply{Seq: 1, TLS: TLSSupported, CertRequired: true}},
		{"empty name", TypePreinit, "0001 0000", Preinit{}},
	} {
		got, err := Decode(Frame{Type: c.typ, Body: body(t, c.body)})
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
}

func TestMissingNamesAll(t *testing.T) {
	_, err := Decode(Frame{Type: TypeInit, Body: body(t, "0000 0004 00000009 0009 0004 00000001")})
	var missing *MissingError
	if !errors.As(err, &missing) {
		t.Fatal(err)
	}
	want := []Option{OptRingID, OptHeartbeat, OptTieBreaker, OptAlgorithm}
	if !reflect.DeepEqual(missing.Options, want) || !missing.HasSeq || missing.Seq != 9 {
		t.Errorf("%+v, want %v and seq 9", missing, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, m := range []Message{
		Preinit{Cluster: "a\x00b"},
		Preinit{Cluster: strings.Repeat("a", 65536)},
		PreinitReply{TLS: 3},
		Init{},
		Init{TieBreaker: TieBreaker{Mode: TieLowest, NodeID: 2}},
		EchoRequest{},
		EchoReply{Body: []byte{1}},
		NodeList{List: 4},
		NodeList{Nodes: []NodeInfo{{}}},
		NodeList{Nodes: []NodeInfo{{NodeID: 1, State: 4}}},
		NodeList{Heuristics: 3},
		NodeListReply{},
		VoteInfo{Vote: 6},
		HeuristicsChange{},
		InitReply{Messages: make([]Type, 32768)},
		NodeList{Nodes: make1(MaxClientMessage / 12)},
	} {
		if out, err := Append([]byte("x"), m); err == nil || string(out) != "x" {
			t.Errorf("%v encodes to %d bytes, %v", m.Type(), len(out), err)
		}
	}
}

func make1(n int) []NodeInfo {
	out := make([]NodeInfo, n)
	for i := range out {
		out[i].NodeID = 1
	}
	return out
}
