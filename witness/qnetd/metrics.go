package qnetd

import "github.com/prometheus/client_golang/prometheus"

// metrics of one witness's clients.
type metrics struct {
	accepted, received, sent prometheus.Counter
	batch, commit            prometheus.Histogram
	clients, strangers       prometheus.GaugeFunc
	contact                  prometheus.GaugeFunc
}

func newMetrics(s *Server) metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "quorate_qnetd_" + name, Help: help})
	}
	gauge := func(name, help string, f func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "quorate_qnetd_" + name, Help: help}, f)
	}
	return metrics{
		accepted: counter("connections_total", "Connections that were accepted."),
		received: counter("messages_received_total", "Messages of clients."),
		sent:     counter("messages_sent_total", "Messages to clients."),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "quorate_qnetd_batch_messages", Help: "Messages of clients in one log entry.", Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "quorate_qnetd_commit_seconds", Help: "Time from proposing messages to the answer.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 13),
		}),
		clients:   gauge("clients", "Clients with a session on this witness.", func() float64 { return float64(s.Clients()) }),
		strangers: gauge("strangers", "Connections without a session.", func() float64 { return float64(s.strangers.len()) }),
		contact: gauge("contact_age_seconds", "Age of the last confirmed contact with the leader; -1 = never.", func() float64 {
			age, ok := s.contact.age()
			if !ok {
				return -1
			}
			return age.Seconds()
		}),
	}
}

// Describe implements prometheus.Collector, once Open has returned.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range s.metrics.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.metrics.all() {
		c.Collect(ch)
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.accepted, m.received, m.sent, m.batch, m.commit, m.clients, m.strangers, m.contact}
}
