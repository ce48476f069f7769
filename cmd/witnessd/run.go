package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"quorate/fencing"
	"quorate/fencing/agent"
	"quorate/fencing/ipmi"
	"quorate/fencing/manual"
	"quorate/fencing/pdu"
	"quorate/fencing/redfish"
	"quorate/fencing/relay"
	"quorate/fencing/watchdog"
	"quorate/witness/node"
	"quorate/witness/probe"
	"quorate/witness/reconcile"
	"quorate/witness/seal"
)

// drivers names every fence driver that this program has.
var drivers = map[string]reconcile.Driver{
	"agent":    func(settings map[string]string) (fencing.Device, error) { return agent.Open(settings) },
	"ipmi":     func(settings map[string]string) (fencing.Device, error) { return ipmi.Open(settings) },
	"manual":   func(settings map[string]string) (fencing.Device, error) { return manual.Open(settings) },
	"pdu":      func(settings map[string]string) (fencing.Device, error) { return pdu.Open(settings) },
	"redfish":  func(settings map[string]string) (fencing.Device, error) { return redfish.Open(settings) },
	"relay":    func(settings map[string]string) (fencing.Device, error) { return relay.Open(settings) },
	"watchdog": func(settings map[string]string) (fencing.Device, error) { return watchdog.Open(settings) },

	"redfish-outlet": func(settings map[string]string) (fencing.Device, error) { return redfish.OpenOutlets(settings) },
}

// Options is what Run needs.
type Options struct {
	Config Config
	Log    *slog.Logger
	Ready  func(*Services) // called once when everything listens; may be nil
}

// Services are the addresses on which a running witness listens.
type Services struct {
	Etcd, HTTP, DNS string
	Backend         *backend
}

// Run runs one witness until ctx ends. It stops in this order: the front ends,
// so that clients turn to other witnesses; the loops: a power
// action in hand stays pending for the next leader, since off is idempotent;
// leadership, if held, goes to another witness; then the log.
func Run(ctx context.Context, opts Options) error {
	log := opts.Log.With("node", opts.Config.Node)
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n, err := openNode(opts.Config, log, reg)
	if err != nil {
		return err
	}
	b := newBackend(n, opts.Config)
	reg.MustRegister(newStateMetrics(n.State))
	n.OnEvents(newEventLog(log, reg).write)

	keeper, err := seal.Open(opts.Config.Data, b, log)
	if err != nil {
		_ = n.Close()
		return err
	}
	fencer := &reconcile.Fencer{Drivers: drivers, Reveal: keeper.Reveal}
	checker := &reconcile.Checker{Node: b, Fencer: fencer, Log: log, Timing: reconcile.CheckTiming{Interval: opts.Config.Fencing.Check}}
	front, err := listen(opts.Config, b, fenceCare{fencer, checker, keeper}, log, reg)
	if err != nil {
		_ = n.Close()
		return err
	}
	if opts.Ready != nil {
		opts.Ready(&Services{Etcd: front.etcdAddr, HTTP: front.httpAddr, DNS: front.dnsAddr, Backend: b})
	}

	nctx, stopNode := context.WithCancel(context.WithoutCancel(ctx))
	defer stopNode()
	nodeDone := make(chan error, 1)
	go func() { nodeDone <- n.Run(nctx) }()

	fctx, stopFront := context.WithCancelCause(ctx)
	defer stopFront(nil)
	g, gctx := errgroup.WithContext(fctx)
	front.start(g, gctx)
	loop := &reconcile.Loop{Node: b, Executor: fencer, Log: log}
	g.Go(func() error { return loop.Run(gctx) })
	g.Go(func() error { return keeper.Run(gctx) })
	g.Go(func() error { return checker.Run(gctx) })
	reporter := &probe.Reporter{Node: b, Sessions: front, Log: log, Timing: probe.Timing{
		Interval: opts.Config.Probe.Interval, Timeout: opts.Config.Probe.Timeout, Fall: opts.Config.Probe.Fall,
	}}
	g.Go(func() error { return reporter.Run(gctx) })
	g.Go(func() error { return (&compactor{node: b, log: log}).Run(gctx) })
	signer := &resigner{node: b, log: log, signs: len(opts.Config.DNS.Keys) > 0}
	g.Go(func() error { return signer.Run(gctx) })
	log.Info("witness runs", "version", version, "etcd", front.etcdAddr, "http", front.httpAddr, "dns", front.dnsAddr)

	frontDone := make(chan error, 1)
	go func() { frontDone <- g.Wait() }()
	select {
	case err = <-nodeDone:
		stopFront(err)
		return errors.Join(err, <-frontDone)
	case err = <-frontDone:
	}
	if n.IsLeader() {
		tctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		if terr := n.TransferLeadership(tctx, ""); terr != nil {
			log.Info("leadership not handed over; the others will elect", "err", terr)
		}
		cancel()
	}
	stopNode()
	return errors.Join(err, <-nodeDone)
}

func openNode(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*node.Node, error) {
	return node.Open(node.Options{
		Name: cfg.Node, Cluster: cfg.Cluster, DataDir: cfg.Data,
		Listen: cfg.Peer.Listen, Advertise: cfg.Peer.Advertise, Peers: cfg.Peers,
		Bootstrap: !cfg.Join, Join: cfg.Join, GossipListen: cfg.Peer.Gossip,
		HeartbeatTimeout: cfg.Timing.Heartbeat, ElectionTimeout: cfg.Timing.Election,
		Meta: map[string]string{"etcd": cfg.Etcd.Advertise, "http": cfg.HTTP.Advertise, "site": cfg.Site},
		Log:  log, Registerer: reg,
	})
}

func listenOn(addr, what string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s cannot listen on %s: is the address on this machine, and is another program there? %w", what, addr, err)
	}
	return l, nil
}
