package node

import (
	"fmt"
	"net"
	"testing"
)

func TestGossipIsAHint(t *testing.T) {
	addr := map[string]string{}
	var seeds []string
	for i, name := range []string{"a", "b", "c"} {
		// Loopback addresses of our own, so that any free port is free on all.
		ln, err := net.Listen("tcp", fmt.Sprintf("127.83.%d.1:0", i))
		if err != nil {
			t.Skipf("no further loopback addresses here: %v", err)
		}
		addr[name] = ln.Addr().String()
		seeds = append(seeds, addr[name])
		_ = ln.Close()
	}
	r := newReal(t, func(o *Options) {
		o.GossipListen, o.GossipSeeds, o.GossipKey = addr[o.Name], seeds, []byte("0123456789abcdef")
	}, "a", "b", "c")
	r.leader()
	alive := func(n *Node) (count int) {
		for _, m := range n.Members() {
			if m.Gossip {
				count++
			}
		}
		return count
	}
	for _, n := range r.live {
		until(t, "gossip shows three witnesses", func() bool { return alive(n.Node) == 3 })
	}
	r.stop("c")
	until(t, "gossip notices that one left", func() bool { return alive(r.live["a"].Node) == 2 })
	put(t, r.leader().Node, "/k", "v")
}
