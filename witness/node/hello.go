package node

import (
	"context"
	"encoding/json"
	"time"

	"quorate/witness"
)

// helloEvery is how often the members tell each other about themselves.
const helloEvery = 2 * time.Second

// helloMessage is what one member tells another, in both directions.
type helloMessage struct {
	Meta   map[string]string `json:"meta,omitempty"`
	Index  uint64            `json:"index"`  // of the last applied entry
	Digest uint64            `json:"digest"` // of the state after it
}

func (n *Node) ownHello() helloMessage {
	s := n.State()
	return helloMessage{Meta: n.opts.Meta, Index: s.Index, Digest: s.Digest()}
}

// greetPeers exchanges hellos until ctx ends. It carries what the members
// publish about themselves and finds states that have come apart.
func (n *Node) greetPeers(ctx context.Context) {
	for {
		for _, s := range n.servers() {
			name := string(s.ID)
			if name != n.opts.Name {
				n.background.start(func() { _, _ = n.hello(ctx, name) }) // silence shows as age
			}
		}
		n.forgetRemoved()
		if !pause(ctx, helloEvery) {
			return
		}
	}
}

func (n *Node) hello(ctx context.Context, name string) (helloMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, helloEvery)
	defer cancel()
	var h helloMessage
	raw, err := json.Marshal(n.ownHello())
	if err != nil {
		return h, err
	}
	resp, err := n.links.ask(ctx, name, methodHello, raw)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(resp, &h); err != nil {
		return h, err
	}
	n.hearHello(name, h)
	return h, nil
}

func (n *Node) answerHello(_ context.Context, from string, req []byte) ([]byte, error) {
	var h helloMessage
	if err := json.Unmarshal(req, &h); err != nil {
		return nil, &witness.Error{Code: witness.CodeInvalid, Msg: "malformed hello"}
	}
	n.hearHello(from, h)
	return json.Marshal(n.ownHello())
}

func (n *Node) hearHello(name string, h helloMessage) {
	if err := n.book.heard(name, h.Meta); err != nil {
		n.opts.Log.Warn("cannot remember a witness", "witness", name, "err", err)
	}
	if s := n.State(); s.Index == h.Index && s.Digest() != h.Digest {
		n.opts.Log.Error("two witnesses applied the same entries and hold different states: stop the one whose state is wrong, wipe it and let it join under a new name",
			"witness", name, "index", h.Index, "digest", h.Digest, "own_digest", s.Digest())
	}
}

// forgetRemoved lets a witness that was removed return with a new disk.
func (n *Node) forgetRemoved() {
	r := n.rt()
	if r == nil || len(r.GetConfiguration().Configuration().Servers) == 0 {
		return
	}
	err := n.book.forget(func(name string) bool {
		_, ok := n.addressOf(name)
		return ok
	})
	if err != nil {
		n.opts.Log.Warn("cannot forget removed witnesses", "err", err)
	}
}
