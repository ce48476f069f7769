package node

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
)

// gossip is a memberlist. What it says is shown to people and decides nothing:
// its key is shared, so any witness could speak for any other.
type gossip struct {
	list *memberlist.Memberlist
	node *Node
}

// hints posts what memberlist reports; it never acts on the library's goroutine.
type hints struct{ book *peerBook }

var _ memberlist.EventDelegate = hints{}

// NotifyJoin implements memberlist.EventDelegate.
func (h hints) NotifyJoin(m *memberlist.Node) { h.book.hint(m.Name, true) }

// NotifyLeave implements memberlist.EventDelegate.
func (h hints) NotifyLeave(m *memberlist.Node) { h.book.hint(m.Name, false) }

// NotifyUpdate implements memberlist.EventDelegate.
func (h hints) NotifyUpdate(*memberlist.Node) {}

// startGossip starts a memberlist if one is configured; nil means none.
func (n *Node) startGossip() (*gossip, error) {
	if n.opts.GossipListen == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(n.opts.GossipListen)
	if err != nil {
		return nil, fmt.Errorf("gossip address %q: %w", n.opts.GossipListen, err)
	}
	cfg := memberlist.DefaultLANConfig()
	cfg.Name = n.opts.Name
	cfg.Label = n.opts.Cluster
	cfg.BindAddr = host
	if cfg.BindPort, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("gossip address %q: %w", n.opts.GossipListen, err)
	}
	cfg.AdvertisePort = cfg.BindPort
	cfg.SecretKey = n.opts.GossipKey
	cfg.Events = hints{n.book}
	cfg.LogOutput = io.Discard // a hint needs no log
	list, err := memberlist.Create(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot start gossip on %s: %w", n.opts.GossipListen, err)
	}
	if len(n.opts.GossipSeeds) > 0 {
		if _, err := list.Join(n.opts.GossipSeeds); err != nil {
			n.opts.Log.Info("no gossip seed answered yet", "err", err)
		}
	}
	return &gossip{list: list, node: n}, nil
}

func (g *gossip) stop() {
	if g == nil {
		return
	}
	_ = g.list.Leave(time.Second) // the others notice anyway
	if err := g.list.Shutdown(); err != nil {
		g.node.opts.Log.Warn("gossip did not stop cleanly", "err", err)
	}
}
