package node

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics is the node as Prometheus sees it.
type metrics struct {
	node *Node

	apply    prometheus.Histogram
	forwards *prometheus.CounterVec
	rounds   *prometheus.CounterVec
	wakes    *prometheus.CounterVec
	marks    prometheus.Counter
	dropped  prometheus.Counter
	pauses   prometheus.Counter
	stalls   prometheus.Counter

	leader, term, index, digest, leases, contact, disk *prometheus.Desc
}

var _ prometheus.Collector = (*metrics)(nil)

func newMetrics(n *Node) *metrics {
	const ns, sub = "quorate", "node"
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(ns, sub, name), help, nil, nil)
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, []string{label})
	}
	return &metrics{
		node: n,
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: "apply_seconds", Help: "Time to apply one batch of committed entries.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 4, 8),
		}),
		forwards: vec("forwards_total", "Requests sent on to the leader.", "call"),
		rounds:   vec("verify_rounds_total", "Quorum rounds by which a leader proved its leadership.", "outcome"),
		wakes:    vec("wakes_total", "Times that this follower was made to stand for election before Raft's own timer.", "reason"),
		marks:    counter("lease_marks_total", "Leases about which the time left was written to the log, as nobody renewed them for a while."),
		dropped:  counter("event_batches_dropped_total", "Event batches lost because their listener was too slow."),
		pauses:   counter("pauses_total", "Pauses of this process after which all leases got their full time again."),
		stalls:   counter("disk_stalls_total", "Times that a log write took too long and the node left its peers."),
		leader:   desc("leader", "1 if this witness leads and is ready."),
		term:     desc("term", "Raft term of the last applied entry."),
		index:    desc("applied_index", "Log index of the last applied entry."),
		digest:   desc("state_digest", "Low 48 bits of the rolling state digest; equal on all witnesses at the same applied_index."),
		leases:   desc("leases", "Leases that exist."),
		contact:  desc("contact_age_seconds", "Age of the last confirmed contact with a quorum; -1 = none yet."),
		disk:     desc("disk_write_age_seconds", "How long the oldest log write under way has taken."),
	}
}

func (m *metrics) counters() []prometheus.Collector {
	return []prometheus.Collector{m.apply, m.forwards, m.rounds, m.wakes, m.marks, m.dropped, m.pauses, m.stalls}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.counters() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{m.leader, m.term, m.index, m.digest, m.leases, m.contact, m.disk} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.counters() {
		c.Collect(ch)
	}
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	s := m.node.State()
	leads := 0.0
	if m.node.IsLeader() {
		leads = 1
	}
	leases := 0
	for range s.KV.Leases() {
		leases++
	}
	contact := -1.0
	if c := m.node.Contact(); c != never {
		contact = c.Seconds()
	}
	gauge(m.leader, leads)
	gauge(m.term, float64(s.Term))
	gauge(m.index, float64(s.Index))
	gauge(m.digest, float64(s.Digest()&(1<<48-1)))
	gauge(m.leases, float64(leases))
	gauge(m.contact, contact)
	gauge(m.disk, m.node.stores.log.watch.age().Seconds())
}
