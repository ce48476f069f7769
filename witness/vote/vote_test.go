package vote

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// client reads "id ring members [pass|fail] [kap] [ack|nack]", members as "1,2",
// "-" for none. The configuration is that of the table's row.
func client(t *testing.T, config []uint32, text string) Client {
	t.Helper()
	f := strings.Fields(text)
	c := Client{Config: config, ID: nodes(f[0])[0], Members: nodes(f[2])}
	if _, err := fmt.Sscanf(f[1], "%d.%d", &c.Ring.Node, &c.Ring.Seq); err != nil {
		t.Fatal(err)
	}
	for _, w := range f[3:] {
		switch w {
		case "pass":
			c.Heuristics = Pass
		case "fail":
			c.Heuristics = Fail
		case "kap":
			c.KeepActive = true
		case "ack":
			c.Last = ACK
		case "nack":
			c.Last = NACK
		case "mute":
			c.Config = nil
		case "other":
			c.Config = []uint32{c.ID}
		default:
			t.Fatal(w)
		}
	}
	return c
}

func nodes(text string) []uint32 {
	var out []uint32
	for _, w := range strings.Split(text, ",") {
		var n uint32
		if _, err := fmt.Sscan(w, &n); err == nil {
			out = append(out, n)
		}
	}
	return out
}

func upTo(n int) []uint32 {
	var out []uint32
	for i := range n {
		out = append(out, uint32(i+1))
	}
	return out
}

// TestTables has one row for each sentence of the algorithms' description.
func TestTables(t *testing.T) {
	lowest, highest := TieBreaker{Mode: TieLowest}, TieBreaker{Mode: TieHighest}
	for _, row := range []struct {
		name     string
		alg      Algorithm
		nodes    int
		tie      TieBreaker
		selected string
		clients  []string
		want     string // one letter for each client: Ack, Nack, Wait
	}{
		{"one membership", FFSplit, 2, lowest, "", []string{"1 1.9 1,2", "2 1.9 1,2"}, "AA"},
		{"halves, lowest", FFSplit, 2, lowest, "", []string{"2 2.9 2", "1 1.9 1"}, "NA"},
		{"halves, highest", FFSplit, 2, highest, "", []string{"1 1.9 1", "2 2.9 2"}, "NA"},
		{"halves, a given node", FFSplit, 4, TieBreaker{TieNode, 4}, "", []string{"1 1.9 1,2", "2 1.9 1,2", "3 3.9 3,4", "4 3.9 3,4"}, "NNAA"},
		{"the given node is down", FFSplit, 4, TieBreaker{TieNode, 4}, "", []string{"1 1.9 1,2", "2 1.9 1,2", "3 3.9 3,4"}, "AAN"},
		{"the tie breaker is of the configured nodes", FFSplit, 2, lowest, "", []string{"2 2.9 2"}, "A"},
		{"a lone half without the preferred node", FFSplit, 2, lowest, "", []string{"2 2.9 2 fail"}, "A"},
		{"a cut that only one has seen", FFSplit, 2, lowest, "", []string{"1 1.9 1,2", "2 2.d 2"}, "WW"},
		{"same ring, not the same nodes", FFSplit, 3, lowest, "", []string{"1 1.9 1,2", "2 1.9 2"}, "WW"},
		{"configurations differ", FFSplit, 2, lowest, "", []string{"1 1.9 1,2", "2 1.9 1,2 other"}, "WW"},
		{"a client that has not told its configuration", FFSplit, 2, lowest, "", []string{"1 1.9 1,2", "2 1.9 1,2 mute"}, "WW"},
		{"a client that has not told its membership", FFSplit, 2, lowest, "", []string{"1 1.9 1", "2 1.9 -"}, "WW"},
		{"nothing but a connection", FFSplit, 2, lowest, "2", []string{"2 1.9 - mute"}, "W"},
		{"heuristics beat the tie breaker", FFSplit, 2, lowest, "", []string{"1 1.9 1 fail", "2 2.9 2"}, "NA"},
		{"a pass beats none", FFSplit, 2, lowest, "", []string{"1 1.9 1", "2 2.9 2 pass"}, "NA"},
		{"both fail: the tie breaker", FFSplit, 2, lowest, "", []string{"1 1.9 1 fail", "2 2.9 2 fail"}, "AN"},
		{"keep the active one", FFSplit, 2, lowest, "2", []string{"1 1.9 1 kap", "2 2.9 2 kap"}, "NA"},
		{"only if all want that", FFSplit, 2, lowest, "2", []string{"1 1.9 1", "2 2.9 2 kap"}, "AN"},
		{"a failed active one is not kept", FFSplit, 2, lowest, "2", []string{"1 1.9 1 kap", "2 2.9 2 kap fail"}, "AN"},
		{"more active nodes", FFSplit, 4, lowest, "", []string{"1 1.9 1,2", "3 3.9 3,4", "4 3.9 3,4"}, "NAA"},
		{"score before activity", FFSplit, 4, lowest, "", []string{"1 1.9 1,2 pass", "3 3.9 3,4 fail", "4 3.9 3,4"}, "ANN"},
		{"a majority of four", FFSplit, 4, lowest, "", []string{"1 1.9 1", "2 2.9 2,3,4", "3 2.9 2,3,4", "4 2.9 2,3,4"}, "NAAA"},
		{"a minority alone", FFSplit, 4, lowest, "", []string{"1 1.9 1"}, "N"},
		{"odd, a majority", FFSplit, 5, lowest, "", []string{"1 1.9 1,2", "2 1.9 1,2", "3 3.9 3,4,5", "4 3.9 3,4,5", "5 3.9 3,4,5"}, "NNAAA"},
		{"odd, no tie breaker", FFSplit, 3, lowest, "", []string{"1 1.9 1", "2 2.9 2", "3 3.9 3"}, "NNN"},
		{"odd, a minority alone", FFSplit, 3, lowest, "", []string{"1 1.9 1"}, "N"},

		{"one membership", LMS, 2, lowest, "", []string{"1 1.9 1,2", "2 1.9 1,2"}, "AA"},
		{"a lone node of many", LMS, 5, lowest, "", []string{"4 4.9 4"}, "A"},
		{"the largest partition", LMS, 5, lowest, "", []string{"1 1.9 1,2", "2 1.9 1,2", "3 3.9 3,4,5", "4 3.9 3,4,5", "5 3.9 3,4,5"}, "NNAAA"},
		{"score before size", LMS, 4, lowest, "", []string{"1 1.9 1,2 pass", "2 1.9 1,2 pass", "3 3.9 3,4", "4 3.9 3,4"}, "AANN"},
		{"equal scores: size", LMS, 3, highest, "", []string{"1 1.9 1 pass", "2 2.9 2,3", "3 2.9 2,3"}, "NAA"},
		{"equal: the tie breaker", LMS, 2, lowest, "", []string{"1 1.9 1", "2 2.9 2"}, "AN"},
		{"equal: the highest connected", LMS, 4, highest, "", []string{"1 1.9 1", "2 2.9 2"}, "NA"},
		{"equal: a given node", LMS, 3, TieBreaker{TieNode, 2}, "", []string{"1 1.9 1", "2 2.9 2", "3 3.9 3"}, "NAN"},
		{"the given node is away", LMS, 3, TieBreaker{TieNode, 2}, "", []string{"1 1.9 1", "3 3.9 3"}, "AN"},
		{"a cut that only one has seen", LMS, 2, lowest, "", []string{"1 1.9 1,2", "2 2.9 2"}, "WW"},
		{"others decide while two wait", LMS, 5, lowest, "", []string{"1 1.9 1,2", "2 2.9 2", "3 3.9 3,4,5", "4 3.9 3,4,5", "5 3.9 3,4,5"}, "WWAAA"},
		{"a newcomer takes nothing away", LMS, 2, lowest, "", []string{"1 1.9 1", "2 2.9 2 ack"}, "NA"},
		{"a newcomer after a loser", LMS, 2, lowest, "", []string{"1 1.9 1", "2 2.9 2 nack"}, "AN"},
		{"somebody has said nothing", LMS, 2, lowest, "", []string{"1 1.9 1", "2 2.9 -"}, "WW"},
		{"newcomers beside one in no ring", LMS, 3, lowest, "", []string{"1 1.0 1 ack", "2 2.9 2", "3 3.9 3"}, "NNN"},

		{"both see each other", TwoNodeLMS, 2, lowest, "", []string{"1 1.9 1,2", "2 1.9 1,2"}, "AA"},
		{"one alone", TwoNodeLMS, 2, lowest, "", []string{"2 2.9 2"}, "A"},
		{"apart: the tie breaker", TwoNodeLMS, 2, highest, "", []string{"1 1.9 1 nack", "2 2.9 2 nack"}, "NA"},
		{"apart: pass before undefined", TwoNodeLMS, 2, lowest, "", []string{"1 1.9 1 nack", "2 2.9 2 nack pass"}, "NA"},
		{"apart: undefined before fail", TwoNodeLMS, 2, lowest, "", []string{"1 1.9 1 nack fail", "2 2.9 2 nack"}, "NA"},
		{"apart: a given node", TwoNodeLMS, 2, TieBreaker{TieNode, 2}, "", []string{"1 1.9 1 nack", "2 2.9 2 nack"}, "NA"},
		{"a cut that only one has seen", TwoNodeLMS, 2, lowest, "", []string{"1 1.9 1,2 ack", "2 2.9 2 ack"}, "WW"},
		{"a newcomer", TwoNodeLMS, 2, lowest, "", []string{"1 1.9 1", "2 2.9 2 ack"}, "NA"},
		{"never offered", Test, 2, lowest, "", []string{"1 1.9 1", "2 2.9 2"}, "--"},
	} {
		b := &Ballot{Algorithm: row.alg, TieBreaker: row.tie, Selected: nodes(row.selected)}
		for _, text := range row.clients {
			b.Clients = append(b.Clients, client(t, upTo(row.nodes), strings.ReplaceAll(text, ".d", ".13")))
		}
		r := Run(b)
		got := ""
		for _, v := range r.Votes {
			got += string("-ANLW"[v])
		}
		if got != row.want {
			t.Errorf("%s, %s: %s, want %s\n%v", row.alg, row.name, got, row.want, r.Steps)
		}
	}
}

// TestStrictLMS has the faults of the stock server.
func TestStrictLMS(t *testing.T) {
	config := upTo(2)
	// The old membership still names the other side: it waits for the timer.
	b := &Ballot{Algorithm: LMS, TieBreaker: TieBreaker{Mode: TieLowest}, Clients: []Client{client(t, config, "1 1.9 1,2 ack"), client(t, config, "2 1.9 1,2 ack")}}
	if v, _ := StrictLMS(b, 0, Ring{1, 13}); v != WaitForReply {
		t.Errorf("the first message after a cut is answered %s", v)
	}
	// A tie breaker that names a node looks at the asking client, and else takes the last one.
	b = &Ballot{Algorithm: LMS, TieBreaker: TieBreaker{TieNode, 1}, Clients: []Client{client(t, config, "1 1.13 1 ack"), client(t, config, "2 2.13 2 ack")}}
	one, _ := StrictLMS(b, 0, Ring{1, 13})
	two, _ := StrictLMS(b, 1, Ring{2, 13})
	if one != ACK || two != ACK {
		t.Errorf("stock lms tells both sides ACK with a tie breaker that names a node; here %s and %s", one, two)
	}
	if r := Run(b); r.Votes[0] != ACK || r.Votes[1] != NACK {
		t.Errorf("corrected: %v, want ACK for node 1 alone", r.Votes)
	}
}

// TestAllTwoNodeBallots runs every ballot of two nodes that can be made of a few
// values, of all algorithms, and every order of the clients.
func TestAllTwoNodeBallots(t *testing.T) {
	states := []struct {
		ring    Ring
		members []uint32
	}{{Ring{1, 9}, []uint32{1, 2}}, {Ring{1, 13}, []uint32{1}}, {Ring{2, 13}, []uint32{2}}, {Ring{1, 17}, []uint32{1, 2}}, {Ring{3, 1}, nil}}
	n := 0
	for _, alg := range []Algorithm{FFSplit, LMS, TwoNodeLMS} {
		for _, tie := range []TieBreaker{{Mode: TieLowest}, {Mode: TieHighest}, {TieNode, 1}, {TieNode, 2}, {TieNode, 9}} {
			for _, selected := range [][]uint32{nil, {1}, {2}, {1, 2}} {
				if alg != FFSplit && selected != nil {
					continue // only ffsplit looks at it, and at the flag that makes it count
				}
				kinds := 5 * 3 * 3
				if alg == FFSplit {
					kinds *= 2
				}
				for i := range kinds {
					for j := range kinds {
						if alg == FFSplit && (i/15%3 > 0 || j/15%3 > 0) {
							continue // it looks at no last vote
						}
						one := Client{ID: 1, Config: upTo(2), Ring: states[i%5].ring, Members: states[i%5].members, Heuristics: Heuristics(i / 5 % 3), Last: Vote(i / 15 % 3), KeepActive: i >= 45}
						two := Client{ID: 2, Config: upTo(2), Ring: states[j%5].ring, Members: states[j%5].members, Heuristics: Heuristics(j / 5 % 3), Last: Vote(j / 15 % 3), KeepActive: j >= 45}
						if slices.Contains(one.Members, 2) && !slices.Contains(one.Members, 1) || slices.Equal(one.Members, []uint32{2}) || slices.Equal(two.Members, []uint32{1}) {
							continue // no node is outside its own membership
						}
						n++
						check(t, &Ballot{Algorithm: alg, TieBreaker: tie, Selected: selected, Clients: []Client{one, two}})
						check(t, &Ballot{Algorithm: alg, TieBreaker: tie, Selected: selected, Clients: []Client{two, one}})
					}
				}
			}
		}
	}
	if n < 10000 {
		t.Errorf("only %d ballots", n)
	}
}

// check asserts what must hold of every result.
func check(t *testing.T, b *Ballot) {
	t.Helper()
	r := Run(b)
	var ring *Ring
	for i := range b.Clients {
		c := &b.Clients[i]
		switch r.Votes[i] {
		case ACK:
			if ring != nil && *ring != c.Ring {
				t.Fatalf("two partitions have an ACK: %+v: %v", b, r.Votes)
			}
			ring = &c.Ring
			if !slices.Contains(r.Selected, c.ID) {
				t.Fatalf("node %d has an ACK and is not selected: %+v", c.ID, b)
			}
		case NACK, WaitForReply:
		default:
			t.Fatalf("node %d is told %s: %+v", c.ID, r.Votes[i], b)
		}
	}
	if b.Algorithm == FFSplit && r.Stable == slices.Contains(r.Votes, WaitForReply) {
		t.Fatalf("stable=%t, votes %v: %+v", r.Stable, r.Votes, b)
	}
	if ring == nil && r.Stable && len(b.Clients) == 2 && b.Clients[0].Ring == b.Clients[1].Ring && !slices.Contains(r.Votes, WaitForReply) && len(b.Clients[0].Members) == 2 {
		t.Fatalf("both nodes are together and nobody has the vote: %+v: %v", b, r)
	}
}

// FuzzBallots makes ballots of up to six nodes.
func FuzzBallots(f *testing.F) {
	f.Add([]byte{1, 0, 4, 0x11, 0x31, 0x11, 0x31, 0x22, 0xc3, 0x22, 0xc3})
	f.Add([]byte{3, 1, 5, 0x11, 0x31, 0x21, 0x31, 0x12, 0x1c, 0x22, 0x1c, 0x22, 0x1c})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < 3 {
			return
		}
		n := int(raw[2]%6) + 1
		b := &Ballot{Algorithm: Algorithm(raw[0]%3) + 1, TieBreaker: TieBreaker{Mode: raw[1]%3 + 1}, Selected: bits(raw[1] >> 2)}
		if b.TieBreaker.Mode == TieNode {
			b.TieBreaker.Node = uint32(raw[1]>>2) % 8
		}
		for i := 3; i+1 < len(raw) && len(b.Clients) < n; i += 2 {
			id := uint32(len(b.Clients) + 1)
			members := bits(raw[i+1]&(1<<n-1) | 1<<(id-1))
			b.Clients = append(b.Clients, Client{
				ID: id, Config: upTo(n), Members: members, Ring: Ring{members[0], uint64(raw[i]&3) + 1},
				Heuristics: Heuristics(raw[i] >> 2 % 3), Last: Vote(raw[i]>>4) % 3, KeepActive: raw[i] >= 128,
			})
		}
		r := Run(b)
		if len(r.Votes) != len(b.Clients) || len(r.Fleeting) != len(b.Clients) {
			t.Fatalf("%d votes for %d clients", len(r.Votes), len(b.Clients))
		}
		if b.Algorithm != TwoNodeLMS {
			check(t, b)
		}
		for i := range b.Clients {
			StrictLMS(b, i, b.Clients[i].Ring)
		}
	})
}

func bits(mask byte) []uint32 {
	var out []uint32
	for i := range 8 {
		if mask&(1<<i) != 0 {
			out = append(out, uint32(i+1))
		}
	}
	return out
}
