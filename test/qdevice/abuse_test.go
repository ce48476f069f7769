//go:build integration

package qdevice

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"quorate/witness/qnetd/wire"
)

// idleConnections is how many connections say nothing.
const idleConnections = 5000

// TestAbuse holds a cluster with a vote on three witnesses, and does to them what
// a network may: malformed, truncated and oversized messages, a client that does
// not read, slow ones, and 5,000 that say nothing. The cluster does not notice,
// and the witnesses' memory stays bounded.
func TestAbuse(t *testing.T) {
	raiseFileLimit(t)
	tr := newTrio(t, 1)
	config := tr.identity("c1")
	casts := make(chan Cast, 1000)
	var nodes []*Device
	for id := uint32(1); id <= 2; id++ {
		d := New("c1", id, []uint32{1, 2}, tr.devices()...)
		d.TLS = config
		d.OnCast = func(c Cast) { casts <- c }
		nodes = append(nodes, d)
	}
	until(t, "the witnesses take devices", tr.all)
	running(t, nodes...)
	voting := func() bool { return nodes[0].Cast().Vote == wire.ACK && nodes[1].Cast().Vote == wire.ACK }
	until(t, "both nodes have the vote", voting)
	for len(casts) > 0 {
		<-casts
	}
	target := tr.witnesses[0]
	before := target.rss(t)

	for name, abuse := range map[string]func(*testing.T, string, *tls.Config){
		"malformed": malformed, "truncated": truncated, "oversized": oversized, "does not read": deaf,
	} {
		t.Run(name, func(t *testing.T) { abuse(t, target.device, config) })
	}
	// Half of the idle ones have begun a message that never ends.
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	refused := 0
	for i := range idleConnections {
		c, err := net.DialTimeout("tcp", target.device, 5*time.Second)
		if err != nil {
			refused++
			continue
		}
		held = append(held, c)
		if i%2 == 0 {
			head := make([]byte, 2048)
			binary.BigEndian.PutUint16(head, uint16(wire.TypeNodeList))
			binary.BigEndian.PutUint32(head[2:], wire.MaxMessage-wire.HeaderSize)
			_, _ = c.Write(head) // the witness may have closed it already
		}
	}
	during := target.rss(t)

	// A cluster that is split meanwhile gets its decision.
	nodes[1].Member(wire.RingID{NodeID: 2, Seq: 13}, 2)
	nodes[0].Member(wire.RingID{NodeID: 1, Seq: 13}, 1)
	until(t, "node 1 alone has the vote", func() bool { return nodes[0].Cast().Vote == wire.ACK && nodes[1].Cast().Vote == wire.NACK })
	nodes[1].Member(wire.RingID{NodeID: 1, Seq: 17}, 1, 2)
	nodes[0].Member(wire.RingID{NodeID: 1, Seq: 17}, 1, 2)
	until(t, "both nodes have the vote", voting)
	for i, d := range nodes {
		if d.Sessions() != 1 {
			t.Errorf("node %d has had %d sessions", i+1, d.Sessions())
		}
	}
	t.Logf("memory of the witness: %.1f MiB before, %.1f MiB with %d connections that say nothing (%d refused)", before, during, len(held), refused)
	if during > 128 {
		t.Errorf("the witness takes %.1f MiB", during)
	}
}

func raiseFileLimit(t *testing.T) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = max(limit.Cur, min(limit.Max, 2*idleConnections))
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

// secured connects for cluster c1, up to TLS.
func secured(t *testing.T, address string, config *tls.Config) *tls.Conn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", address, bound)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	send(t, nc, wire.Preinit{Seq: 1, Cluster: "c1"})
	if _, err := wire.NewReader(nc, wire.MaxMessage).Next(); err != nil {
		t.Fatal(err)
	}
	send(t, nc, wire.StartTLS{Seq: 2})
	c := tls.Client(nc, config)
	_ = nc.SetDeadline(time.Now().Add(bound))
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, to io.Writer, m wire.Message) {
	t.Helper()
	raw, err := wire.Append(nil, m)
	if err == nil {
		_, err = to.Write(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// malformed sends seeded nonsense, before and after TLS: bytes of any kind, and
// well-framed messages with one byte changed.
func malformed(t *testing.T, address string, config *tls.Config) {
	rnd := rand.New(rand.NewPCG(1, 2))
	good, err := wire.Append(nil, wire.NodeList{Seq: 1, List: wire.ListMembership, Nodes: []wire.NodeInfo{{NodeID: 1}, {NodeID: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	for i := range 200 {
		raw := append([]byte{}, good...)
		if i%2 == 0 {
			for range 400 {
				raw = append(raw, byte(rnd.Uint32()))
			}
		}
		raw[rnd.IntN(len(raw))] = byte(rnd.Uint32())
		var c net.Conn
		if i%20 == 0 {
			c = secured(t, address, config)
		} else if c, err = net.DialTimeout("tcp", address, bound); err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(bound))
			_, _ = c.Write(raw)
			if half, is := c.(interface{ CloseWrite() error }); is {
				_ = half.CloseWrite()
			}
			_, _ = io.Copy(io.Discard, c)
		})
	}
	work.Wait()
}

// truncated ends the connection inside a message, at every byte of an INIT.
func truncated(t *testing.T, address string, config *tls.Config) {
	raw, err := wire.Append(nil, wire.Init{
		Seq: 3, NodeID: 7, Algorithm: wire.AlgorithmFFSplit, HeartbeatMS: 8000, TieBreaker: wire.TieBreaker{Mode: wire.TieLowest},
	})
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(raw) {
		var c net.Conn
		if cut%16 == 0 {
			c = secured(t, address, config)
		} else if c, err = net.DialTimeout("tcp", address, bound); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(raw[:cut]); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
}

// oversized announces more than a server takes: it is told so, and either loses
// the connection or goes on.
func oversized(t *testing.T, address string, _ *tls.Config) {
	c, err := net.DialTimeout("tcp", address, bound)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	head := []byte{0, byte(wire.TypeNodeList), 0xff, 0xff, 0xff, 0xff}
	if _, err := c.Write(head); err != nil {
		t.Fatal(err)
	}
	junk := make([]byte, 1<<16)
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	for range 512 { // 32 MiB, if it is let
		if _, err := c.Write(junk); err != nil {
			break
		}
	}
}

// deaf asks a thousand times and never reads: the witness must cut it off, not
// keep its answers.
func deaf(t *testing.T, address string, _ *tls.Config) {
	c, err := net.DialTimeout("tcp", address, bound)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if tcp, is := c.(*net.TCPConn); is {
		_ = tcp.SetReadBuffer(4096)
	}
	raw, err := wire.Append(nil, wire.Preinit{Seq: 1, Cluster: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetWriteDeadline(time.Now().Add(bound))
	for i := 0; ; i++ {
		if _, err = c.Write(raw); err != nil {
			break
		}
		if i == 10_000_000 {
			t.Fatal("ten million questions are taken of a client that reads no answer")
		}
	}
	if nerr, is := err.(net.Error); is && nerr.Timeout() {
		t.Errorf("the witness neither reads on nor closes: %v", err)
	}
}
