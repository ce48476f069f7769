package dnsfailover

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	tcpWriteTimeout = 5 * time.Second
	tcpReadBuffer   = 4096
	tcpWriteBuffer  = 8192
)

// serveTCP accepts connections until ctx ends and then waits for them. Over TLS the
// handshake is part of reading the first query, and shares its deadline.
func (s *Server) serveTCP(ctx context.Context, l net.Listener, via transport) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if !s.retry(ctx, "accept", err) {
				return nil
			}
			continue
		}
		select {
		case s.tcpSlots <- struct{}{}:
		default:
			s.metrics.refused.Inc()
			conn.Close()
			continue
		}
		conns.Go(func() {
			defer func() { <-s.tcpSlots }()
			s.metrics.tcpConns.Inc()
			defer s.metrics.tcpConns.Dec()
			s.serveConn(ctx, conn, via)
		})
	}
}

// serveConn answers the queries of one connection in order. Queries may be sent
// ahead (RFC 7766 section 6.2.1.1): their replies are written together.
func (s *Server) serveConn(ctx context.Context, conn net.Conn, via transport) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	client := addrPort(conn.RemoteAddr())
	in := bufio.NewReaderSize(conn, tcpReadBuffer)
	out := bufio.NewWriterSize(conn, tcpWriteBuffer)
	var query []byte
	for {
		// One deadline for a whole query: a byte now and then does not hold a slot.
		if conn.SetReadDeadline(time.Now().Add(s.cfg.TCPIdle)) != nil {
			return
		}
		var err error
		query, err = readMessage(in, query)
		if err != nil {
			return // the client has finished, or is too slow
		}
		write := func(reply []byte) error {
			if err := conn.SetWriteDeadline(time.Now().Add(tcpWriteTimeout)); err != nil {
				return err
			}
			return writeMessage(out, reply)
		}
		if !s.answerTCP(query, client, via, write) {
			return // no DNS client, or one that is gone
		}
		if !messageBuffered(in) && out.Flush() != nil {
			return
		}
	}
}

// addrPort returns the address of a TCP peer without its zone and mapping.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(plain(p.Addr()), p.Port())
}

// readMessage reads one message with its length in front into buf, growing it as
// needed, RFC 1035 section 4.2.2.
func readMessage(in *bufio.Reader, buf []byte) ([]byte, error) {
	var prefix [2]byte
	if _, err := io.ReadFull(in, prefix[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(prefix[:]))
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	_, err := io.ReadFull(in, buf)
	return buf, err
}

func writeMessage(out *bufio.Writer, msg []byte) error {
	var prefix [2]byte
	binary.BigEndian.PutUint16(prefix[:], uint16(len(msg)))
	if _, err := out.Write(prefix[:]); err != nil {
		return err
	}
	_, err := out.Write(msg)
	return err
}

// messageBuffered reports whether the next message is here as a whole. Half of one
// is no reason to keep replies back: the client may be waiting for them.
func messageBuffered(in *bufio.Reader) bool {
	if in.Buffered() < 2 {
		return false
	}
	prefix, err := in.Peek(2)
	return err == nil && in.Buffered() >= 2+int(binary.BigEndian.Uint16(prefix))
}
