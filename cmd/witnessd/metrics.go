package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"quorate/witness"
)

// stateMetrics shows the agreed state to Prometheus. It reads the state when
// it is scraped, so it costs nothing in between.
type stateMetrics struct {
	state func() *witness.State
	desc  map[string]*prometheus.Desc
}

func newStateMetrics(state func() *witness.State) *stateMetrics {
	m := &stateMetrics{state: state, desc: map[string]*prometheus.Desc{}}
	for name, d := range map[string]struct {
		help   string
		labels []string
	}{
		"cluster_epoch":        {"Epoch of the cluster; rises by one with every grant.", []string{"cluster"}},
		"cluster_held":         {"1 while the holder's lease is dead and its leader key is kept.", []string{"cluster"}},
		"cluster_vacant":       {"1 while nobody holds the cluster.", []string{"cluster"}},
		"cluster_holder":       {"1 for the member that holds the cluster.", []string{"cluster", "member"}},
		"qnetd_voting":         {"1 while the quorum device of a corosync cluster gives a full vote.", []string{"cluster"}},
		"qnetd_moving":         {"1 while the vote of a corosync cluster is withdrawn from its holder and nobody else has it yet.", []string{"cluster"}},
		"host_fenced":          {"1 while the host is proven off and has not been seen on since.", []string{"host"}},
		"approvals_waiting":    {"Requests that wait for a second person.", nil},
		"host_fenceable":       {"1 if some witness could power the host off now, 0 if none could that has looked; absent while that is not known.", []string{"host"}},
		"fence_path_ready":     {"1 if the witness could use the fence device of the host when it last looked.", []string{"host", "device", "witness"}},
		"host_off_seconds":     {"How long a power-off of the host usually takes until it is proven.", []string{"host"}},
		"actions_pending":      {"Power actions that are planned and not finished.", nil},
		"kv_revision":          {"Revision of the key space.", nil},
		"kv_bytes":             {"Size of the key space with its history.", nil},
		"config_version":       {"Log index of the configuration.", nil},
		"dns_index":            {"Log index of the last change of a DNS answer.", nil},
		"cluster_time_seconds": {"Cluster time: how long the witness cluster has been led.", nil},
	} {
		m.desc[name] = prometheus.NewDesc("quorate_"+name, d.help, d.labels, nil)
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *stateMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.desc {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *stateMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.state()
	gauge := func(name string, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(m.desc[name], prometheus.GaugeValue, v, labels...)
	}
	for name, c := range s.Clusters() {
		gauge("cluster_epoch", float64(c.Epoch), name)
		gauge("cluster_held", flag(c.Guard != nil), name)
		gauge("cluster_vacant", flag(c.Holder == ""), name)
		if c.Quorum != nil {
			gauge("qnetd_voting", flag(c.Voting() == ""), name)
			gauge("qnetd_moving", flag(c.Moving()), name)
		}
		if c.Holder != "" {
			gauge("cluster_holder", 1, name, c.Holder)
		}
	}
	for i := range s.Config.Hosts {
		name := s.Config.Hosts[i].Name
		h := s.Host(name)
		gauge("host_fenced", flag(h.Fenced), name)
		for _, p := range h.Paths {
			gauge("fence_path_ready", flag(p.Ready), name, p.Device, p.Witness)
		}
		if can, cannot := len(s.Fencers(name)) > 0, s.NobodyCan(name); can || cannot {
			gauge("host_fenceable", flag(can), name)
		}
		if len(h.Took) > 0 {
			gauge("host_off_seconds", h.Baseline().Seconds(), name)
		}
	}
	waiting := 0
	for _, r := range s.Requests() {
		if r.Status == witness.StatusApproval {
			waiting++
		}
	}
	gauge("approvals_waiting", float64(waiting))
	gauge("actions_pending", float64(len(s.PendingActions())))
	gauge("kv_revision", float64(s.KV.Revision()))
	gauge("kv_bytes", float64(s.KV.Size()))
	gauge("config_version", float64(s.ConfigVersion))
	gauge("dns_index", float64(s.DNSIndex))
	gauge("cluster_time_seconds", s.Now.Seconds())
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// eventLog turns the events of the state machine into log lines and counts.
type eventLog struct {
	log   *slog.Logger
	count *prometheus.CounterVec
}

func newEventLog(log *slog.Logger, reg prometheus.Registerer) *eventLog {
	e := &eventLog{log: log, count: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "quorate_events_total", Help: "Events of the replicated state, by kind and level.",
	}, []string{"kind", "level"})}
	reg.MustRegister(e.count)
	return e
}

var slogLevels = map[string]slog.Level{witness.LevelInfo: slog.LevelInfo, witness.LevelWarn: slog.LevelWarn, witness.LevelAlert: slog.LevelError}

func (e *eventLog) write(_ uint64, _ *witness.State, evs []witness.Event) {
	for i := range evs {
		ev := &evs[i]
		e.count.WithLabelValues(ev.Kind, ev.Level).Inc()
		e.log.Log(context.Background(), slogLevels[ev.Level], ev.Text,
			"event", ev.Kind, "index", ev.Index, "cluster", ev.Cluster, "host", ev.Host, "epoch", ev.Epoch, "rule", ev.Rule)
	}
}
