package probe

import (
	"fmt"
	"time"
)

// Outage is a time without an acknowledged write.
type Outage struct {
	From, To         time.Time // last acknowledgement before, first one after
	FromNode, ToNode string
}

// Duration is how long no write was acknowledged.
func (o Outage) Duration() time.Duration { return o.To.Sub(o.From) }

// String tells the outage in one phrase.
func (o Outage) String() string {
	return fmt.Sprintf("%s from %s to %s", o.Duration().Round(time.Millisecond), o.FromNode, o.ToNode)
}

// Outages returns the gaps between consecutive acknowledgements that are longer
// than the given time, and every gap at which the node changed.
func Outages(acked []Ack, longer time.Duration) []Outage {
	var outages []Outage
	for i := 1; i < len(acked); i++ {
		before, after := acked[i-1], acked[i]
		if after.At.Sub(before.At) > longer || before.Node != after.Node {
			outages = append(outages, Outage{
				From: before.At, To: after.At, FromNode: before.Node, ToNode: after.Node,
			})
		}
	}
	return outages
}

// Longest returns the longest of the outages; none is the zero Outage.
func Longest(outages []Outage) Outage {
	var longest Outage
	for _, o := range outages {
		if o.Duration() > longest.Duration() {
			longest = o
		}
	}
	return longest
}
