//go:build amd64 || arm64

package dnsfailover

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// udpBatch is how many datagrams one system call takes in, or sends out; more did
// not help in measurements.
const udpBatch = 32

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// udpBuffers are the buffers of one reader. A query keeps its slot from recvmmsg
// to sendmmsg, with the raw address and the control data that came with it.
type udpBuffers struct {
	in, out   [udpBatch]mmsghdr
	inVec     [udpBatch]unix.Iovec
	outVec    [udpBatch]unix.Iovec
	names     [udpBatch]unix.RawSockaddrInet6
	control   [udpBatch][controlSize]byte
	query     [udpBatch][querySize]byte
	reply     [udpBatch][ednsSize]byte
	withAddrs bool // control data tells which address a query was sent to
}

const (
	// querySize is enough for a question with the longest name and many options;
	// what is longer is cut off and answered with a format error.
	querySize   = 4096
	controlSize = 128 // the address may be told twice, once for each family
)

func newUDPBuffers(withAddrs bool) *udpBuffers {
	b := &udpBuffers{withAddrs: withAddrs}
	for i := range udpBatch {
		b.inVec[i] = unix.Iovec{Base: &b.query[i][0], Len: querySize}
		b.outVec[i] = unix.Iovec{Base: &b.reply[i][0]}
		name := (*byte)(unsafe.Pointer(&b.names[i]))
		b.in[i].hdr = unix.Msghdr{Name: name, Iov: &b.inVec[i], Iovlen: 1}
		b.out[i].hdr = unix.Msghdr{Iov: &b.outVec[i], Iovlen: 1}
	}
	return b
}

// receive fills the slots, and returns how many are filled.
func (b *udpBuffers) receive(fd uintptr) (int, syscall.Errno) {
	for i := range udpBatch {
		b.in[i].hdr.Namelen = unix.SizeofSockaddrInet6
		if b.withAddrs {
			b.in[i].hdr.Control = &b.control[i][0]
			b.in[i].hdr.SetControllen(controlSize)
		}
	}
	n, _, errno := syscall.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.in[0])), udpBatch, unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// address prepares slot to of the replies to go where query from came from.
func (b *udpBuffers) address(to, from, size int) {
	src, dst := &b.in[from].hdr, &b.out[to].hdr
	dst.Name, dst.Namelen = src.Name, src.Namelen
	b.outVec[to].Len = uint64(size)
	b.outVec[to].Base = &b.reply[from][0]
	if b.withAddrs {
		dst.Control, dst.Controllen = src.Control, src.Controllen
		unbindInterface(b.control[from][:src.Controllen])
	}
}

// unbindInterface lets the kernel choose the interface of a reply, but not its
// source address: routing may be asymmetric. Link-local addresses need theirs.
func unbindInterface(control []byte) {
	for len(control) >= unix.CmsgLen(0) {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		if h.Len < uint64(unix.CmsgLen(0)) || h.Len > uint64(len(control)) {
			return
		}
		data := control[unix.CmsgLen(0):h.Len]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= 4:
			clear(data[:4]) // ipi_ifindex
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= 20:
			if data[0] != 0xFE || data[1]&0xC0 != 0x80 {
				clear(data[16:20]) // ipi6_ifindex
			}
		}
		next := unix.CmsgSpace(len(data))
		if next > len(control) {
			return
		}
		control = control[next:]
	}
}

// client returns the address of the sender of a query.
func (b *udpBuffers) client(i int) netip.AddrPort {
	raw := &b.names[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&raw.Port))[:])
	if raw.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(raw))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(raw.Addr).Unmap(), port)
}

// send sends the first n replies and returns how many could not be sent.
func (b *udpBuffers) send(fd uintptr, n int) (lost int) {
	for at := 0; at < n; {
		sent, _, errno := syscall.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.out[at])), uintptr(n-at), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == 0:
			at += int(sent)
		case errno == unix.EINTR:
		default: // of the first one: its address is forged, or there is no room
			at++
			lost++
		}
	}
	return lost
}

// serveUDP answers datagrams until ctx ends, as many at a time as have arrived.
// The goroutine is parked by Go's poller while there is nothing to read.
func (s *Server) serveUDP(ctx context.Context, c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	local := c.LocalAddr().(*net.UDPAddr).AddrPort()
	b, w := newUDPBuffers(local.Addr().IsUnspecified()), s.newUDPWorker()
	for {
		var failed syscall.Errno
		err := raw.Read(func(fd uintptr) bool {
			for {
				n, errno := b.receive(fd)
				switch errno {
				case 0:
				case unix.EINTR:
					continue
				case unix.EAGAIN:
					return false
				default:
					failed = errno
					return true
				}
				s.answerBatch(b, w, fd, n)
				if n == 1 {
					return false // a quiet time; what arrives from now on wakes the poller
				}
				// Under load more has come meanwhile, and to ask is cheaper than to be woken.
			}
		})
		if err == nil && failed == 0 {
			continue
		}
		if failed == unix.ECONNREFUSED || failed == unix.EHOSTUNREACH || failed == unix.ENETUNREACH {
			continue // an earlier reply met nobody
		}
		if err == nil {
			err = failed
		}
		if !s.retry(ctx, "read", err) {
			return nil
		}
	}
}

// answerBatch answers the first n slots.
func (s *Server) answerBatch(b *udpBuffers, w *udpWorker, fd uintptr, n int) {
	w.begin()
	replies := 0
	for i := range n {
		if size := w.answer(b.query[i][:b.in[i].len], b.reply[i][:], b.client(i)); size > 0 {
			b.address(replies, i, size)
			replies++
		}
	}
	if lost := b.send(fd, replies); lost > 0 {
		s.metrics.dropped.WithLabelValues("send", string(transportUDP)).Add(float64(lost))
	}
}

// shareable says whether several sockets can share one address.
const shareable = true

// listenUDP binds one socket; shared ones let others bind the same address, and the
// kernel spreads the clients over them (SO_REUSEPORT, socket(7)).
func listenUDP(addr netip.AddrPort, shared bool) (*net.UDPConn, error) {
	var lc net.ListenConfig
	if shared {
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			if cerr := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}); cerr != nil {
				return cerr
			}
			return err
		}
	}
	c, err := lc.ListenPacket(context.Background(), network("udp", addr), addr.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}
