package dnsfailover

import (
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	queries  *prometheus.CounterVec
	dropped  *prometheus.CounterVec
	limited  *prometheus.CounterVec
	notifies *prometheus.CounterVec
	fast     prometheus.Counter
	refused  prometheus.Counter
	faults   prometheus.Gauge
	index    prometheus.Gauge
	tcpConns prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, viewAge, contactAge func() time.Duration) (*metrics, *tallies, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "quorate", Subsystem: "dns", Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts(opts(name, help)))
	}
	m := &metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts(opts("queries_total",
			"Queries answered, by type, response code and transport.")), []string{"type", "rcode", "transport"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts(opts("dropped_total",
			"Packets not answered, by reason and transport.")), []string{"reason", "transport"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts(opts("rate_limited_total",
			"Replies over UDP that the rate limit dropped, or truncated so that the client asks over TCP.")), []string{"how"}),
		notifies: prometheus.NewCounterVec(prometheus.CounterOpts(opts("notifies_total",
			"NOTIFY messages to secondaries, by how they ended.")), []string{"outcome"}),
		fast: prometheus.NewCounter(prometheus.CounterOpts(opts("fast_queries_total",
			"Queries answered with ready-made bytes; the others took the slow path."))),
		refused: prometheus.NewCounter(prometheus.CounterOpts(opts("tcp_refused_total",
			"TCP connections closed at once because too many were open."))),
		faults: gauge("view_faulty", "1 if the view being served has faults (the log says which), else 0."),
		index:  gauge("view_index", "Log index of the view being served."),
		tcpConns: gauge("tcp_connections",
			"TCP connections open now."),
	}
	ages := []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("view_age_seconds",
			"Seconds since the view being served was published on this node.")),
			func() float64 { return viewAge().Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("contact_age_seconds",
			"Seconds since this node had confirmed contact with a quorum.")),
			func() float64 { return contactAge().Seconds() }),
	}
	t := &tallies{m: m} // stands for m.queries and m.limited, and comes before m.fast
	for _, c := range append(ages, t, m.fast, m.notifies, m.dropped, m.refused, m.faults, m.index, m.tcpConns) {
		if err := reg.Register(c); err != nil {
			return nil, nil, err
		}
	}
	return m, t, nil
}

func (m *metrics) count(r result, via transport) {
	if r.dropped != "" {
		m.dropped.WithLabelValues(r.dropped, string(via)).Inc()
		return
	}
	m.queries.WithLabelValues(r.qtype, dns.RcodeToString[r.rcode], string(via)).Inc()
}
