package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"quorate/dnsfailover"
	"quorate/witness/etcdapi"
	"quorate/witness/httpapi"
)

// fronts are the servers that clients talk to.
type fronts struct {
	etcd *etcdapi.Server // nil if it is off
	dns  *dnsfailover.Server
	api  http.Handler
	webL net.Listener
	log  *slog.Logger

	etcdAddr, httpAddr, dnsAddr string
}

// listen opens the ports of all front ends; nothing is served before start.
func listen(cfg Config, b *backend, care fenceCare, log *slog.Logger, reg *prometheus.Registry) (*fronts, error) {
	f := &fronts{httpAddr: cfg.HTTP.Listen, etcdAddr: cfg.Etcd.Listen, dnsAddr: cfg.DNS.Listen}
	if cfg.Etcd.Listen != "" {
		l, err := listenOn(cfg.Etcd.Listen, "etcd API")
		if err != nil {
			return nil, err
		}
		f.etcdAddr = l.Addr().String()
		f.etcd = &etcdapi.Server{Listener: l, Backend: &etcdBackend{b}, Log: log, TLS: cfg.Etcd.tls, Access: cfg.Etcd.access}
		if cfg.Etcd.access != nil && cfg.Etcd.tls == nil {
			log.Warn("the etcd API asks for passwords but has no TLS: whoever sees the network can read them", "addr", f.etcdAddr)
		}
	}
	keys, err := cfg.DNS.signingKeys()
	if err != nil {
		return nil, f.closeAfter(err)
	}
	source := &dnsSource{node: b, log: log, keys: keys}
	if cfg.DNS.Listen != "" {
		secure, err := cfg.DNS.TLS.load()
		if err != nil {
			return nil, f.closeAfter(err)
		}
		var tlsAddrs []string
		if secure != nil {
			tlsAddrs = []string{cfg.DNS.TLS.Listen}
		}
		f.dns, err = dnsfailover.NewServer(dnsfailover.Config{
			TLSAddrs: tlsAddrs, TLS: secure,
			Addrs: []string{cfg.DNS.Listen}, Source: source, Log: log, Registerer: reg, ID: cfg.Node, Version: version,
			RateLimit: cfg.DNS.rateLimit(), Transfer: cfg.DNS.Transfer.transfer(),
		})
		if err != nil {
			return nil, f.closeAfter(err)
		}
	}
	l, err := listenOn(cfg.HTTP.Listen, "HTTP API")
	if err != nil {
		return nil, f.closeAfter(err)
	}
	f.webL, f.httpAddr = l, l.Addr().String()
	known := map[string]bool{}
	for name := range drivers {
		known[name] = true
	}
	f.api = httpapi.New(httpapi.Options{
		Backend: httpBackend{b}, Zone: source.zoneText, Drivers: known, CheckDevice: care.fencer.CheckSettings, Membership: b.Node, Log: log,
		FenceTest: fenceTest(b, care.fencer), FenceWarnings: care.checker.Warnings, Secrets: care.secrets,
		Metrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}),
	})
	f.log = log
	return f, nil
}

func (f *fronts) closeAfter(err error) error {
	if f.etcd != nil {
		_ = f.etcd.Listener.Close()
	}
	return err
}

// start serves until ctx ends.
func (f *fronts) start(g *errgroup.Group, ctx context.Context) {
	if f.etcd != nil {
		g.Go(func() error { return f.etcd.Run(ctx) })
	}
	if f.dns != nil {
		g.Go(func() error { return f.dns.Run(ctx) })
	}
	web := httpapi.NewServer(ctx, f.api, f.log)
	g.Go(func() error {
		if err := web.Serve(f.webL); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("HTTP API: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		sctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := web.Shutdown(sctx); err != nil {
			return web.Close()
		}
		return nil
	})
}

// Connections counts the etcd connections by remote address.
func (f *fronts) Connections() map[string]int {
	out := map[string]int{}
	if f.etcd != nil {
		for _, s := range f.etcd.Sessions() {
			out[s.Remote.String()] += s.Conns
		}
	}
	return out
}
