package pacemaker

import (
	"slices"
	"testing"
	"time"
)

// TestOverlaps: the probe must see two quorate sides, and nothing else.
func TestOverlaps(t *testing.T) {
	at := func(s float64) time.Time { return unix(1000 + s) }
	span := func(node int, from, to float64, quorate bool, members ...int) Span {
		return Span{Node: node, From: at(from), To: at(to), Quorate: quorate, Members: members}
	}
	for _, c := range []struct {
		name    string
		spans   []Span
		length  time.Duration
		settled bool
	}{
		{name: "together", spans: []Span{span(1, 0, 9, true, 1, 2), span(2, 0, 9, true, 1, 2)}},
		{name: "one side", spans: []Span{span(1, 0, 9, true, 1), span(2, 0, 9, false, 2)}},
		{name: "one after the other", spans: []Span{span(1, 0, 4, true, 1), span(2, 5, 9, true, 2)}},
		{name: "two sides", spans: []Span{span(1, 0, 6, true, 1), span(2, 5, 9, true, 2)}, length: time.Second, settled: true},
		{name: "one has not noticed", spans: []Span{span(1, 0, 9, true, 1, 2), span(2, 7, 9, true, 2)}, length: 2 * time.Second},
		{
			name: "corosync of one does not answer", length: 2 * time.Second,
			spans: []Span{{Node: 1, From: at(0), To: at(3), Until: at(9), Quorate: true, Members: []int{1, 2}}, span(2, 7, 12, true, 2)},
		},
		{name: "two nodes of one side", spans: []Span{span(1, 0, 9, true, 1, 2), span(2, 0, 9, true, 1, 2), span(3, 0, 9, false, 3)}},
	} {
		found := overlaps(c.spans)
		if c.length == 0 {
			if len(found) != 0 {
				t.Errorf("%s: %v", c.name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Length() != c.length || found[0].Settled != c.settled {
			t.Errorf("%s: %v", c.name, found)
		}
	}
}

func TestSpans(t *testing.T) {
	got, err := spans(1, `10.000 10.001 1 1,2
10.020 10.021 1 2,1
10.040 10.041 0 1
10.060 10.061 0 1
12.000 12.001 0 1
12.020 12.0`)
	if err != nil {
		t.Fatal(err)
	}
	want := []Span{
		{Node: 1, From: unix(10.001), To: unix(10.020), Until: unix(10.041), Quorate: true, Members: []int{1, 2}},
		{Node: 1, From: unix(10.041), To: unix(10.060), Until: unix(12.001), Members: []int{1}},
		{Node: 1, From: unix(12.001), To: unix(12.000), Members: []int{1}},
	}
	if !slices.EqualFunc(got, want, func(a, b Span) bool {
		return a.Node == b.Node && a.From.Equal(b.From) && a.To.Equal(b.To) && a.Until.Equal(b.Until) && a.Quorate == b.Quorate && slices.Equal(a.Members, b.Members)
	}) {
		t.Errorf("%v", got)
	}
	if _, err := spans(1, "Traceback (most recent call last):\n"); err == nil {
		t.Error("a broken probe passes for one that saw nothing")
	}
}

func TestParseQuorum(t *testing.T) {
	q, err := parseQuorum(`Quorum information
------------------
Date:             Sun Nov 22 21:30:31 2026
Quorum provider:  corosync_votequorum
Nodes:            1
Node ID:          1
Ring ID:          1.d
Quorate:          Yes

Votequorum information
----------------------
Expected votes:   3
Highest expected: 3
Total votes:      2
Quorum:           2
Flags:            Quorate Qdevice

Membership information
----------------------
    Nodeid      Votes    Qdevice Name
         1          1    A,V,NMW 10.77.0.21 (local)
         0          1            Qdevice
`, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !q.Quorate || q.Expected != 3 || q.Total != 2 || q.Needed != 2 || !slices.Equal(q.Members, []int{1}) || q.Device != "A,V,NMW" {
		t.Errorf("%+v", q)
	}
	q, err = parseQuorum("Quorate: No\nQuorum: 2 Activity blocked\nTotal votes: 1\n", 1)
	if err != nil || q.Quorate || q.Needed != 2 || q.Total != 1 {
		t.Errorf("%+v, %v", q, err)
	}
	if _, err := parseQuorum("Cannot initialize QUORUM service\n", 1); err == nil {
		t.Error("no answer passes for one")
	}
}
