package dnsfailover

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"
)

func BenchmarkRespond(b *testing.B) {
	ix := mustCompile(b, mustBuild(b, benchZones(), benchCluster()))
	query := wire{qd: 1, question: question("primary.pg.example.test.", dns.TypeA, dns.ClassINET)}.packet()
	for b.Loop() {
		responder{}.respond(ix, 0, query, transportUDP)
	}
}

// BenchmarkPublish is the price of one change with many clusters: a view is built
// and compiled as a whole.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("clusters=%d", n), func(b *testing.B) {
			var clusters []ClusterView
			for i := range n {
				c := benchCluster()
				c.Name = fmt.Sprintf("pg%d", i)
				clusters = append(clusters, c)
			}
			for b.Loop() {
				view, err := Build(1, benchZones(), clusters)
				if err != nil {
					b.Fatal(err)
				}
				mustCompile(b, view)
			}
		})
	}
}
