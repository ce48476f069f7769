package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Proxy serves the corosync-qdevice of this machine. Fill in the exported
// fields, then call Open and Run once each.
type Proxy struct {
	Listen    string   // loopback host:port
	Witnesses []string // host:port of each
	Cluster   string   // corosync's cluster_name; the common name of the certificate
	TLS       *tls.Config
	Lease     time.Duration
	Log       *slog.Logger

	// Trusted says whether a connection may be that of qdevice; nil is
	// [OwnerIsRoot].
	Trusted func(net.Conn) error
	// Dial connects to a witness; nil is TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	listener net.Listener
}

// Open checks the settings and listens.
func (p *Proxy) Open() error {
	var faults []error
	if len(p.Witnesses) == 0 {
		faults = append(faults, errors.New("no witness is named"))
	}
	for _, w := range p.Witnesses {
		if _, _, err := net.SplitHostPort(w); err != nil {
			faults = append(faults, fmt.Errorf("witness %q is not host:port: %w", w, err))
		}
	}
	if p.Cluster == "" {
		faults = append(faults, errors.New("the cluster has no name"))
	}
	if p.Lease < MinLease || p.Lease > MaxLease {
		faults = append(faults, fmt.Errorf("a lease of %v is not between %v and %v", p.Lease, MinLease, MaxLease))
	}
	host, _, err := net.SplitHostPort(p.Listen)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		faults = append(faults, fmt.Errorf("%q is not a loopback address and port: the proxy votes for whoever reaches it, and is for this machine alone", p.Listen))
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	if p.Trusted == nil {
		p.Trusted = OwnerIsRoot
	}
	if p.Dial == nil {
		p.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	p.listener, err = net.Listen("tcp", p.Listen)
	return err
}

// Addr is the address that is listened on, once Open has returned.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Run serves until the context ends. There is one qdevice: a new connection of
// it takes the place of the old one.
func (p *Proxy) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.listener.Close() })
	defer stop()
	var sessions sync.WaitGroup
	defer sessions.Wait()
	end := func() {}
	defer func() { end() }()
	for {
		nc, err := p.listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			p.Log.Warn("cannot accept a connection", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond): // out of file descriptors, for example
			}
			continue
		}
		if err := p.Trusted(nc); err != nil {
			p.Log.Warn("a connection is refused", "remote", nc.RemoteAddr(), "err", err)
			_ = nc.Close()
			continue
		}
		end()
		sessions.Wait()
		session, cancel := context.WithCancel(ctx)
		end = cancel
		sessions.Go(func() { p.Serve(session, nc) })
	}
}
