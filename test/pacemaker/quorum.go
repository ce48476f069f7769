package pacemaker

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// sampleEvery is how often a node's quorum is looked at.
	sampleEvery = 20 * time.Millisecond
	// sampleGap is the longest time without a sample through which a node counts
	// as having stayed as it was.
	sampleGap = 500 * time.Millisecond
)

// Span is a time during which a node was seen in one state all the time.
type Span struct {
	Node     int
	From, To time.Time
	// Until is when the node was first seen in another state: it goes on as it was
	// till then. corosync does not answer while it waits for the quorum device.
	Until   time.Time
	Quorate bool
	Members []int // the membership that the node sees
}

// Overlap is a time during which two nodes were quorate apart from each other.
type Overlap struct {
	A, B     Span
	From, To time.Time
	// Settled says that neither node had the other in its membership. Otherwise
	// one of them had not yet noticed: corosync delivers nothing to it, but its
	// resources run.
	Settled bool
}

// Length is how long it lasted.
func (o Overlap) Length() time.Duration { return o.To.Sub(o.From) }

// String tells the overlap in one line.
func (o Overlap) String() string {
	return fmt.Sprintf("node %d in %v and node %d in %v both quorate for %s from %s (settled: %t)",
		o.A.Node, o.A.Members, o.B.Node, o.B.Members, o.Length().Round(time.Millisecond), o.From.Format("15:04:05.000"), o.Settled)
}

// overlaps finds the times during which two nodes were quorate while at least
// one of them did not have the other in its membership.
func overlaps(spans []Span) []Overlap {
	var found []Overlap
	for i, a := range spans {
		for _, b := range spans[i+1:] {
			if a.Node == b.Node || !a.Quorate || !b.Quorate {
				continue
			}
			aKnows, bKnows := slices.Contains(a.Members, b.Node), slices.Contains(b.Members, a.Node)
			if aKnows && bKnows {
				continue
			}
			o := Overlap{A: a, B: b, From: later(a.From, b.From), To: earlier(a.To, b.To), Settled: !aKnows && !bKnows}
			if !o.Settled {
				o.To = earlier(later(a.To, a.Until), later(b.To, b.Until))
			}
			if o.From.Before(o.To) {
				found = append(found, o)
			}
		}
	}
	return found
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// spans reads the output of a quorum probe. A span reaches from the end of its
// first sample to the beginning of its last: within it the state is certain.
func spans(node int, text string) ([]Span, error) {
	var out []Span
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			break // half written
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("node %d: the probe wrote %q", node, line)
		}
		before, err1 := strconv.ParseFloat(fields[0], 64)
		after, err2 := strconv.ParseFloat(fields[1], 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("node %d: the probe wrote %q", node, line)
		}
		s := Span{Node: node, From: unix(after), To: unix(before), Quorate: fields[2] == "1"}
		if len(fields) > 3 {
			for id := range strings.SplitSeq(fields[3], ",") {
				n, err := strconv.Atoi(id)
				if err != nil {
					return nil, fmt.Errorf("node %d: the probe wrote %q", node, line)
				}
				s.Members = append(s.Members, n)
			}
			slices.Sort(s.Members)
		}
		if n := len(out); n > 0 {
			last := &out[n-1]
			if last.Quorate == s.Quorate && slices.Equal(last.Members, s.Members) && s.To.Sub(later(last.From, last.To)) < sampleGap {
				last.To = s.To
				continue
			}
			last.Until = s.From
		}
		out = append(out, s)
	}
	return out, nil
}

func unix(seconds float64) time.Time { return time.UnixMicro(int64(seconds * 1e6)) }

// Spans returns what the probe of a node has seen so far.
func (c *Cluster) Spans(n *Node) ([]Span, error) {
	var out []Span
	for i := 1; i <= n.probes; i++ {
		text, err := os.ReadFile(filepath.Join(c.lab.LogDir(), fmt.Sprintf("%s-quorum-%d.log", n.Name, i)))
		if err != nil {
			return nil, err
		}
		seen, err := spans(n.ID, string(text))
		if err != nil {
			return nil, err
		}
		out = append(out, seen...)
	}
	return out, nil
}

// Overlaps returns when two nodes were quorate apart from each other, from the
// beginning of the case.
func (c *Cluster) Overlaps() ([]Overlap, error) {
	var all []Span
	for _, n := range c.Nodes {
		seen, err := c.Spans(n)
		if err != nil {
			return nil, err
		}
		all = append(all, seen...)
	}
	return overlaps(all), nil
}

// FirstSeen returns since when, after the given moment, the node has been seen
// in a state; the zero time if it was not.
func (c *Cluster) FirstSeen(n *Node, since time.Time, want func(Span) bool) (time.Time, error) {
	seen, err := c.Spans(n)
	if err != nil {
		return time.Time{}, err
	}
	for _, s := range seen {
		if want(s) && s.To.After(since) {
			return later(s.From, since), nil
		}
	}
	return time.Time{}, nil
}

// Unquorate returns how long in all the node was seen without quorum after the
// given moment, gaps between differing samples included.
func (c *Cluster) Unquorate(n *Node, since time.Time) (time.Duration, error) {
	seen, err := c.Spans(n)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, s := range seen {
		if from := later(s.From, since); !s.Quorate && s.To.After(from) {
			sum += s.To.Sub(from)
		}
	}
	return sum, nil
}
