package wire

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"
)

// golden reads testdata/golden.txt.
func golden(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, digits, _ := strings.Cut(line, "\t")
		raw, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = raw
	}
	return out
}

var ring = RingID{NodeID: 1, Seq: 9}

// meaning of the golden vectors.
var meaning = map[string]Message{
	"PREINIT":       Preinit{Seq: 1, Cluster: "labcluster"},
	"PREINIT_REPLY": PreinitReply{Seq: 1, TLS: TLSUnsupported, CertRequired: true},
	"INIT": Init{
		Seq: 2, Messages: Types(), Options: Options(), NodeID: 1, Algorithm: AlgorithmFFSplit, HeartbeatMS: 8000,
		TieBreaker: TieBreaker{Mode: TieLowest}, Ring: ring,
	},
	"INIT_REPLY": InitReply{
		Seq: 2, Messages: Types(), Options: Options(), MaxRequest: MaxMessage, MaxReply: MaxMessage,
		Algorithms: []Algorithm{AlgorithmTest, AlgorithmFFSplit, Algorithm2NodeLMS, AlgorithmLMS},
	},
	"SET_OPTION":       SetOption{Seq: 3, KeepActive: new(true)},
	"SET_OPTION_REPLY": SetOptionReply{Seq: 3, KeepActive: new(true)},
	"NODE_LIST initial config": NodeList{
		Seq: 4, List: ListInitialConfig, Nodes: []NodeInfo{{NodeID: 1}, {NodeID: 2}},
	},
	"NODE_LIST membership": NodeList{
		Seq: 5, List: ListMembership, Ring: ring, Nodes: []NodeInfo{{NodeID: 1}, {NodeID: 2}},
	},
	"NODE_LIST quorum": NodeList{
		Seq: 6, List: ListQuorum, Quorate: true,
		Nodes: []NodeInfo{{NodeID: 2, State: NodeMember}, {NodeID: 1, State: NodeMember}},
	},
	"NODE_LIST_REPLY": NodeListReply{Seq: 4, List: ListInitialConfig, Ring: ring, Vote: AskLater},
	"VOTE_INFO":       VoteInfo{Seq: 1, Vote: ACK, Ring: ring},
	"VOTE_INFO_REPLY": VoteInfoReply{Seq: 1},
	"ECHO_REQUEST":    NewEchoRequest(1),
	"ECHO_REPLY":      NewEchoRequest(1).Reply(),
}

func TestGolden(t *testing.T) {
	vectors := golden(t)
	if len(vectors) != len(meaning) {
		t.Errorf("%d vectors, %d meanings", len(vectors), len(meaning))
	}
	for name, want := range meaning {
		raw := vectors[name]
		frame, err := NewReader(bytes.NewReader(raw), MaxMessage).Next()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := Decode(frame)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s decodes to\n%+v, %v, want\n%+v", name, got, err, want)
		}
		enc, err := Append(nil, want)
		if err != nil || !bytes.Equal(enc, raw) {
			t.Errorf("%s encodes to\n%x, %v, want\n%x", name, enc, err, raw)
		}
	}
}

// TestBodyLengths are lengths seen on the wire of messages without a vector.
func TestBodyLengths(t *testing.T) {
	for _, c := range []struct {
		m    Message
		want int
	}{
		{NodeList{Seq: 5, List: ListMembership, Ring: ring, Nodes: []NodeInfo{{NodeID: 1}}}, 41},
		{NodeList{Seq: 5, List: ListMembership, Ring: ring, Nodes: []NodeInfo{{NodeID: 1}}, Heuristics: HeuristicsPass}, 46},
		{HeuristicsChange{Seq: 5, Heuristics: HeuristicsFail}, 13},
		{HeuristicsChangeReply{Seq: 5, Vote: NoChange, Ring: ring, Heuristics: HeuristicsFail}, 34},
		{StartTLS{Seq: 2}, 8},
	} {
		raw, err := Append(nil, c.m)
		if err != nil || len(raw)-HeaderSize != c.want {
			t.Errorf("%+v: %d bytes, %v, want %d", c.m, len(raw)-HeaderSize, err, c.want)
		}
	}
}

// TestEveryMessage covers what has no vector, with every optional part.
func TestEveryMessage(t *testing.T) {
	all := []Message{
		StartTLS{Seq: 2},
		ServerError{Code: UnexpectedMessage},
		ServerError{Seq: new(uint32(7)), Code: InitRequired},
		SetOption{Seq: 1, HeartbeatMS: new(uint32(0)), KeepActive: new(false)},
		SetOptionReply{Seq: 1, HeartbeatMS: new(uint32(8000))},
		Init{
			Seq: 2, NodeID: 3, Algorithm: 77, HeartbeatMS: 1, TieBreaker: TieBreaker{Mode: TieNode, NodeID: 9},
			Ring: RingID{NodeID: 1 << 31, Seq: 1 << 63}, Hold: true,
		},
		InitReply{Code: DuplicateNodeID, Seq: 9},
		NodeList{
			Seq: 1, List: ListChangedConfig, Ring: ring, ConfigVersion: new(uint64(0)), Quorate: true, Heuristics: HeuristicsFail,
			Nodes: []NodeInfo{{NodeID: 1, DataCenterID: 4, State: NodeLeaving}, {NodeID: 1}, {NodeID: 2, State: NodeDead}},
		},
		NodeList{Seq: 1, List: ListMembership},
		NodeList{Seq: 1, List: ListQuorum},
		NodeListReply{Seq: 1, List: ListQuorum, Vote: NoChange},
		AskForVote{Seq: 3},
		AskForVoteReply{Seq: 3, Vote: NACK, Ring: ring},
		HeuristicsChange{Seq: 4, Heuristics: HeuristicsPass},
		HeuristicsChangeReply{Seq: 4, Vote: WaitForReply, Ring: ring, Heuristics: HeuristicsPass},
		EchoRequest{Body: []byte("\x00\x63\x00\x02hi")},
	}
	seen := map[Type]bool{}
	for _, m := range meaning {
		seen[m.Type()] = true
	}
	for _, m := range all {
		seen[m.Type()] = true
		raw, err := Append([]byte("before"), m)
		if err != nil {
			t.Errorf("%+v: %v", m, err)
			continue
		}
		frame, err := NewReader(bytes.NewReader(raw[len("before"):]), MaxMessage).Next()
		if err != nil {
			t.Errorf("%+v: %v", m, err)
			continue
		}
		if got, err := Decode(frame); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v comes back as %+v, %v", m, got, err)
		}
	}
	for _, typ := range Types() {
		if !seen[typ] {
			t.Errorf("no test of %v", typ)
		}
	}
}
