package dnsfailover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// socketPair is one address over both transports.
type socketPair struct {
	addr netip.AddrPort
	udp  []*net.UDPConn // one for each reader
	tcp  *net.TCPListener
}

func (p socketPair) close() {
	for _, c := range p.udp {
		c.Close()
	}
	if p.tcp != nil {
		p.tcp.Close()
	}
}

// listenAll opens all sockets, or none.
func (s *Server) listenAll() (pairs []socketPair, secure []*net.TCPListener, err error) {
	for _, a := range s.cfg.Addrs {
		pair, err := listen(a, s.readers())
		if err != nil {
			closeAll(pairs, nil)
			return nil, nil, err
		}
		pairs = append(pairs, pair)
		s.addrs = append(s.addrs, pair.addr)
	}
	for _, a := range s.cfg.TLSAddrs {
		l, err := listenTLS(a)
		if err != nil {
			closeAll(pairs, secure)
			return nil, nil, err
		}
		secure = append(secure, l)
		s.tlsAddrs = append(s.tlsAddrs, l.Addr().(*net.TCPAddr).AddrPort())
	}
	return pairs, secure, nil
}

func closeAll(pairs []socketPair, secure []*net.TCPListener) {
	for _, p := range pairs {
		p.close()
	}
	for _, l := range secure {
		l.Close()
	}
}

// listen binds addr for TCP, and for UDP with a socket for each of readers. With
// port 0 both get the same free port.
func listen(addr string, readers int) (socketPair, error) {
	want, err := netip.ParseAddrPort(addr)
	if err != nil {
		return socketPair{}, fmt.Errorf("DNS address %q: %w", addr, err)
	}
	const tries = 20 // a port that is free for UDP may be taken for TCP
	for try := 1; ; try++ {
		p, err := listenOnce(want, readers)
		if err == nil {
			return p, nil
		}
		if want.Port() != 0 || try == tries || !errors.Is(err, syscall.EADDRINUSE) {
			return socketPair{}, fmt.Errorf("DNS cannot listen on %s: %w%s", addr, err, listenHint(err))
		}
	}
}

func listenOnce(want netip.AddrPort, readers int) (p socketPair, err error) {
	defer func() {
		if err != nil {
			p.close()
			p = socketPair{}
		}
	}()
	// TCP first: its socket is not shared, so an address that is taken is noticed.
	p.tcp, err = net.ListenTCP(network("tcp", want), net.TCPAddrFromAddrPort(want))
	if err != nil {
		return p, err
	}
	p.addr = netip.AddrPortFrom(want.Addr(), p.tcp.Addr().(*net.TCPAddr).AddrPort().Port())
	for range max(readers, 1) {
		udp, err := listenUDP(p.addr, readers > 1)
		if err != nil {
			return p, err
		}
		p.udp = append(p.udp, udp)
		if want.Addr().IsUnspecified() {
			if err := reportDestination(udp); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

func listenTLS(addr string) (*net.TCPListener, error) {
	want, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("DNS over TLS address %q: %w", addr, err)
	}
	l, err := net.ListenTCP(network("tcp", want), net.TCPAddrFromAddrPort(want))
	if err != nil {
		return nil, fmt.Errorf("DNS over TLS cannot listen on %s: %w%s", addr, err, listenHint(err))
	}
	return l, nil
}

// network keeps 0.0.0.0 to IPv4; [::] stays dual stack.
func network(base string, addr netip.AddrPort) string {
	if addr.Addr().Is4() {
		return base + "4"
	}
	return base
}

// reportDestination makes the socket say which of the host's addresses a query
// was sent to, so that the reply comes from that address: clients drop replies
// from another one.
func reportDestination(c *net.UDPConn) error {
	err4 := ipv4.NewPacketConn(c).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	err6 := ipv6.NewPacketConn(c).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	if err4 != nil && err6 != nil { // a socket of one family refuses the other's
		return fmt.Errorf("ask for destination addresses: %w", errors.Join(err4, err6))
	}
	return nil
}

func listenHint(err error) string {
	switch {
	case errors.Is(err, syscall.EACCES):
		return "; ports below 1024 need the capability CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRINUSE):
		return "; another program has it: see `ss -lnup`, and stop it or choose another address"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "; no interface has this address: correct it, or wait for the network"
	}
	return ""
}

// retry reports whether to go on after a socket error: always, slowly, until ctx
// ends, because a server that gave up on a passing shortage of files or memory
// would be gone for good.
func (s *Server) retry(ctx context.Context, op string, err error) bool {
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return false
	}
	s.cfg.Log.Warn("DNS socket error, trying again", "op", op, "err", err)
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
