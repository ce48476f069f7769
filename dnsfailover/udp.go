package dnsfailover

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// clock is the time of one batch of packets.
type clock struct {
	seconds uint32 // Unix time, for cookies
	millis  uint32 // monotonic, for the rate limit
}

func (s *Server) clock() clock {
	now := time.Now()
	return clock{seconds: uint32(now.Unix()), millis: uint32(now.Sub(s.began) / time.Millisecond)}
}

// udpWorker answers the datagrams of one reader.
type udpWorker struct {
	s     *Server
	tally *tally
	query fastQuery
	now   clock
	fresh bool // this node is in touch with a quorum: ready-made answers hold
}

func (s *Server) newUDPWorker() *udpWorker {
	return &udpWorker{s: s, tally: s.tallies.add()}
}

// begin reads what holds for a batch.
func (w *udpWorker) begin() {
	w.now, w.fresh = w.s.clock(), w.s.cfg.Source.Contact() <= staleNotice
}

// answer writes the reply to one datagram into out, which holds ednsSize bytes, and
// returns its size; 0 for none. A packet that finds a fault in the parser is dropped
// and logged, because a DNS packet must not be able to stop the vote that runs in
// the same process.
func (w *udpWorker) answer(msg, out []byte, client netip.AddrPort) (n int) {
	defer func() {
		if fault := recover(); fault != nil {
			w.s.panicked(fault, transportUDP, client, msg)
			n = 0
		}
	}()
	if p := w.s.current.Load(); p != nil && w.fresh {
		if r, ok := w.s.answerFast(p.ix, &w.query, msg, out, client.Addr(), w.now); ok {
			w.tally.count(w.query.qtype, r)
			return r.n
		}
	}
	reply, res := w.s.handle(msg, transportUDP, client.Addr(), w.now)
	if reply == nil {
		return 0
	}
	return copy(out, w.s.limitSlow(reply, msg, res, client.Addr(), w.now))
}

// limitSlow applies the rate limit to a reply of the slow path: nil, or an empty
// reply that asks for TCP, where a network has had too many of its kind.
func (s *Server) limitSlow(reply, query []byte, res result, client netip.Addr, now clock) []byte {
	if s.limiter.rate == 0 || res.proven {
		return reply
	}
	kind := uint64(res.rcode)<<32 | uint64(len(reply)) // errors of all names together
	switch s.limiter.judge(limitKey(client, mix(kind+1)), now.millis) {
	case drop:
		s.metrics.limited.WithLabelValues("dropped").Inc()
		return nil
	case truncate:
		s.metrics.limited.WithLabelValues("truncated").Inc()
		out, _ := headerOnly(query, res.rcode&0xF, binary.BigEndian.Uint16(reply[2:])&(bitRD|maskOpcode<<shiftOpc)|bitTC)
		return out
	}
	return reply
}

// panicked reports a packet that could not be answered because of a defect.
func (s *Server) panicked(fault any, via transport, from fmt.Stringer, packet []byte) {
	s.metrics.dropped.WithLabelValues("panic", string(via)).Inc()
	s.cfg.Log.Error("DNS packet dropped: answering it failed inside the server; report this packet as a defect",
		"from", from, "panic", fault, "packet", fmt.Sprintf("%x", packet[:min(len(packet), 512)]))
}

// serveUDPPortable answers datagrams until ctx ends, one at a time, on any system.
func (s *Server) serveUDPPortable(ctx context.Context, c *net.UDPConn) error {
	buf, out := make([]byte, dns.MaxMsgSize), make([]byte, ednsSize)
	w := s.newUDPWorker()
	for {
		n, session, err := dns.ReadFromSessionUDP(c, buf)
		if err != nil {
			if !s.retry(ctx, "read", err) {
				return nil
			}
			continue
		}
		w.begin()
		size := w.answer(buf[:n], out, session.RemoteAddr().(*net.UDPAddr).AddrPort())
		if size == 0 {
			continue
		}
		if _, err := dns.WriteToSessionUDP(c, out[:size], session); err != nil && ctx.Err() == nil {
			// The client is gone or its address is forged: nobody to tell.
			s.metrics.dropped.WithLabelValues("send", string(transportUDP)).Inc()
		}
	}
}
