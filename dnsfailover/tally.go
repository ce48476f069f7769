package dnsfailover

import (
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// tally counts the answers of one reader's fast path: two additions to memory that
// only this reader writes, instead of a look-up of labels. The metrics take the
// sums when somebody asks for them.
type tally struct {
	answers [len(tallyTypes) + 1][2]atomic.Uint64 // by type, NOERROR and NXDOMAIN
	limited [2]atomic.Uint64                      // truncated, dropped
	_       [64]byte                              // the next reader's lies on another cache line
}

// tallyTypes are the types that have a label of their own; see queryType.
var tallyTypes = [...]uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeHTTPS, dns.TypeMX, dns.TypeNS, dns.TypePTR,
	dns.TypeSOA, dns.TypeSRV, dns.TypeSVCB, dns.TypeTXT, dns.TypeDS, dns.TypeDNSKEY, dns.TypeCAA,
}

// tallySlot maps the low types to their place in a tally.
var tallySlot = func() (t [260]uint8) {
	for i := range t {
		t[i] = uint8(len(tallyTypes))
	}
	for i, typ := range tallyTypes {
		if int(typ) < len(t) {
			t[typ] = uint8(i)
		}
	}
	return t
}()

func (t *tally) count(typ uint16, r fastReply) {
	switch r.limited {
	case drop:
		t.limited[1].Add(1)
		return
	case truncate:
		t.limited[0].Add(1)
	}
	slot := len(tallyTypes)
	if int(typ) < len(tallySlot) {
		slot = int(tallySlot[typ])
	}
	nx := 0
	if r.nxdomain && r.limited == pass {
		nx = 1
	}
	t.answers[slot][nx].Add(1)
}

// tallies is a Collector that moves what the readers counted into the metrics.
type tallies struct {
	m    *metrics
	mu   sync.Mutex
	list []*tally
}

var _ prometheus.Collector = (*tallies)(nil)

func (t *tallies) add() *tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := new(tally)
	t.list = append(t.list, one)
	return one
}

// Describe implements prometheus.Collector.
func (t *tallies) Describe(ch chan<- *prometheus.Desc) {
	t.m.queries.Describe(ch)
	t.m.limited.Describe(ch)
}

// Collect implements prometheus.Collector.
func (t *tallies) Collect(ch chan<- prometheus.Metric) {
	t.flush()
	t.m.queries.Collect(ch)
	t.m.limited.Collect(ch)
}

func (t *tallies) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.list {
		for slot := range one.answers {
			label := "other"
			if slot < len(tallyTypes) {
				label = typeName(tallyTypes[slot])
			}
			for nx, rcode := range [...]string{"NOERROR", "NXDOMAIN"} {
				if n := one.answers[slot][nx].Swap(0); n > 0 {
					t.m.queries.WithLabelValues(label, rcode, string(transportUDP)).Add(float64(n))
					t.m.fast.Add(float64(n))
				}
			}
		}
		for i, how := range [...]string{"truncated", "dropped"} {
			if n := one.limited[i].Swap(0); n > 0 {
				t.m.limited.WithLabelValues(how).Add(float64(n))
			}
		}
	}
}
