package dnsfailover

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Config is what a Server needs. Addrs and Source are required.
type Config struct {
	Addrs      []string // host:port, each served over UDP and TCP; port 0 takes a free one
	Source     Source
	Log        *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: a registry of its own

	// ID and Version answer CH TXT id.server and version.server (RFC 4892); an
	// empty one is refused.
	ID, Version string
	// TLSAddrs are served over TLS (RFC 7858) with the certificate of TLS.
	TLSAddrs []string
	TLS      *tls.Config
	// MaxTCP is how many TCP connections may be open at once; default 512.
	MaxTCP int
	// TCPIdle is how long a TCP connection may wait for the rest of a query, or
	// for the next one; default 10 s.
	TCPIdle time.Duration
	// RateLimit is how many replies per second one network (/24, /56) gets about
	// one name over UDP without a valid cookie; 0 means no limit.
	RateLimit uint32
	// Transfer says who may take whole zones.
	Transfer Transfer
	// Portable reads datagrams one at a time with Go's own means, as on systems
	// other than Linux.
	Portable bool
}

// Server answers DNS queries from the newest view of its Source.
type Server struct {
	cfg        Config
	responder  responder
	metrics    *metrics
	tallies    *tallies
	cookies    *cookies
	limiter    *limiter
	keys       keyring
	notifiers  []*notifier
	signatures signatureCache
	began      time.Time
	current    atomic.Pointer[published]
	ready      chan struct{}
	running    atomic.Bool
	addrs      []netip.AddrPort // written before ready is closed
	tlsAddrs   []netip.AddrPort // likewise
	tcpSlots   chan struct{}
}

// published is an index and when it was put in place.
type published struct {
	ix        *index
	at        time.Time
	histories map[string]*history // by apex; only if zones are transferred
}

// NewServer checks cfg and registers the metrics. It starts nothing.
func NewServer(cfg Config) (*Server, error) {
	var faults []error
	if cfg.Source == nil {
		faults = append(faults, errors.New("no source of views"))
	}
	if len(cfg.Addrs) == 0 {
		faults = append(faults, errors.New("no address to listen on"))
	}
	if len(cfg.TLSAddrs) > 0 && cfg.TLS == nil {
		faults = append(faults, errors.New("DNS over TLS needs a certificate"))
	}
	for _, a := range slices.Concat(cfg.Addrs, cfg.TLSAddrs) {
		if _, err := netip.ParseAddrPort(a); err != nil {
			faults = append(faults, fmt.Errorf("address %q is not ip:port: %w", a, err))
		}
	}
	keys, err := cfg.Transfer.keyring()
	if err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("DNS server configuration: %w", errors.Join(faults...))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	if cfg.MaxTCP <= 0 {
		cfg.MaxTCP = 512
	}
	if cfg.TCPIdle <= 0 {
		cfg.TCPIdle = 10 * time.Second
	}
	cookies := newCookies()
	s := &Server{
		cfg: cfg, responder: responder{id: cfg.ID, version: cfg.Version, cookies: cookies},
		cookies: cookies, keys: keys, limiter: newLimiter(cfg.RateLimit), began: time.Now(),
		ready: make(chan struct{}), tcpSlots: make(chan struct{}, cfg.MaxTCP),
	}
	s.metrics, s.tallies, err = newMetrics(cfg.Registerer, s.viewAge, cfg.Source.Contact)
	if err != nil {
		return nil, fmt.Errorf("DNS server metrics: %w", err)
	}
	for _, to := range cfg.Transfer.Notify {
		s.notifiers = append(s.notifiers, &notifier{
			to: to, key: keys[fqdn(to.Key)], log: cfg.Log, wake: make(chan struct{}, 1), latest: s.current.Load,
			sent: func(outcome string) { s.metrics.notifies.WithLabelValues(outcome).Inc() },
		})
	}
	return s, nil
}

// Ready returns a channel that is closed when the server listens on all addresses.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// TLSAddrs returns the addresses that the server listens on for DNS over TLS. It is
// valid once Ready is closed.
func (s *Server) TLSAddrs() []netip.AddrPort { return s.tlsAddrs }

// Addrs returns the addresses that the server listens on, in the order of
// Config.Addrs, with the real ports. It is valid once Ready is closed.
func (s *Server) Addrs() []netip.AddrPort { return s.addrs }

// Run serves until ctx ends and then returns nil. It may be called once. An error
// means that an address cannot be listened on.
func (s *Server) Run(ctx context.Context) error {
	if s.running.Swap(true) {
		return errors.New("this DNS server has been run before; make a new one")
	}
	s.publish(s.cfg.Source.View())
	pairs, secure, err := s.listenAll()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { s.follow(ctx); return nil })
	for _, n := range s.notifiers {
		group.Go(func() error { n.run(ctx); return nil })
	}
	for _, p := range pairs {
		// A reader answers what it has read before it reads again: answering never
		// blocks, and no goroutine per packet is needed.
		serve := s.serveUDP
		if s.cfg.Portable {
			serve = s.serveUDPPortable
		}
		for _, c := range p.udp {
			group.Go(func() error { return serve(ctx, c) })
		}
		group.Go(func() error { return s.serveTCP(ctx, p.tcp, transportTCP) })
	}
	for _, l := range secure {
		group.Go(func() error { return s.serveTCP(ctx, tls.NewListener(l, s.cfg.TLS), transportTLS) })
	}
	group.Go(func() error {
		<-ctx.Done()
		closeAll(pairs, secure)
		return nil
	})
	close(s.ready)
	s.cfg.Log.Info("DNS server listens", "addrs", s.addrs, "tls", s.tlsAddrs)
	return group.Wait()
}

// readers returns how many UDP sockets share one address.
func (s *Server) readers() int {
	if !shareable {
		return 1
	}
	return min(runtime.GOMAXPROCS(0), 4)
}

// follow publishes each new view of the source, and rolls the cookies' secret.
func (s *Server) follow(ctx context.Context) {
	roll := time.NewTicker(secretLife)
	defer roll.Stop()
	for {
		changed := s.cfg.Source.Changed() // before View, so that no change is missed
		s.publish(s.cfg.Source.View())
		select {
		case <-changed:
		case <-roll.C:
			s.cookies.roll()
		case <-ctx.Done():
			return
		}
	}
}

// publish makes v the view that queries are answered from. An older view than the
// present one is ignored: a delayed writer must not bring back an old answer.
func (s *Server) publish(v *View) {
	old := s.current.Load()
	if v == nil || old != nil && old.ix.view == v {
		return
	}
	if old != nil && v.Index < old.ix.view.Index {
		s.cfg.Log.Warn("DNS view ignored: it is older than the one being served",
			"index", v.Index, "serving", old.ix.view.Index)
		return
	}
	s.signatures.next()
	ix, err := compile(v, &s.signatures)
	s.metrics.faults.Set(0)
	if err != nil {
		s.metrics.faults.Set(1)
		s.cfg.Log.Error("DNS view has faults: the names concerned are not served, or answered with SERVFAIL; correct the zone configuration",
			"index", v.Index, "err", err)
	}
	s.current.Store(&published{ix: ix, at: time.Now(), histories: s.histories(old, ix)})
	s.metrics.index.Set(float64(v.Index))
	for _, n := range s.notifiers {
		n.changed()
	}
}

// histories continues what is known of how each zone has changed.
func (s *Server) histories(old *published, ix *index) map[string]*history {
	if !s.cfg.Transfer.on() || old == nil {
		return nil
	}
	next := make(map[string]*history, len(ix.zones))
	for apex, z := range ix.zones {
		if before := old.ix.zones[apex]; before != nil {
			next[apex] = old.histories[apex].then(before, z)
		}
	}
	return next
}

func (s *Server) viewAge() time.Duration {
	p := s.current.Load()
	if p == nil {
		return 0
	}
	return time.Since(p.at)
}

// handle answers one packet on the slow path; nil means no reply. The index is
// loaded once, so that the answer is of one view.
func (s *Server) handle(query []byte, via transport, client netip.Addr, now clock) ([]byte, result) {
	var ix *index
	if p := s.current.Load(); p != nil {
		ix = p.ix
	}
	r := s.responder
	r.client, r.now = client, now.seconds
	sig := s.keys.signatureOf(query)
	var reply []byte
	var res result
	if sig != nil && sig.fault != 0 {
		reply, res = sig.refuse(query)
	} else {
		r.reserve, r.transfers = sig.room(), s.cfg.Transfer.may(client, sig)
		reply, res = r.respond(ix, s.cfg.Source.Contact(), query, via)
		if sig != nil && reply != nil {
			var err error
			if reply, err = sig.signBytes(reply); err != nil {
				reply, res = headerOnly(query, dns.RcodeServerFailure, 0)
			}
			res.proven = true // as a cookie does: its address is not forged
		}
	}
	s.metrics.count(res, via)
	return reply, res
}

// answerTCP answers one message of a connection, behind the same barrier as for
// datagrams: see udpWorker. It returns false if the connection is of no use.
func (s *Server) answerTCP(query []byte, client netip.AddrPort, via transport, write func([]byte) error) (ok bool) {
	defer func() {
		if fault := recover(); fault != nil {
			s.panicked(fault, via, client, query)
			ok = false
		}
	}()
	if req := transferQuery(query); req != nil {
		return s.transfer(req, query, client, via, write) == nil
	}
	reply, _ := s.handle(query, via, client.Addr(), s.clock())
	return reply != nil && write(reply) == nil
}
