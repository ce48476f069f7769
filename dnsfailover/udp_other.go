//go:build !linux || !(amd64 || arm64)

package dnsfailover

import (
	"context"
	"net"
	"net/netip"
)

func (s *Server) serveUDP(ctx context.Context, c *net.UDPConn) error {
	return s.serveUDPPortable(ctx, c)
}

// listenUDP binds one socket. More readers share it.
func listenUDP(addr netip.AddrPort, _ bool) (*net.UDPConn, error) {
	return net.ListenUDP(network("udp", addr), net.UDPAddrFromAddrPort(addr))
}

// shareable says whether several sockets can share one address.
const shareable = false
