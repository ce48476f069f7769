package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"quorate/witness"
)

// Member is one witness of the cluster.
type Member struct {
	Name     string
	ID       uint64 // FNV-64a of the name
	PeerAddr string
	Meta     map[string]string // what it says about itself; remembered across restarts
	Voter    bool
	Heard    time.Time // last direct contact; zero = none since this process started
	Gossip   bool      // gossip believes it alive: a hint, never a reason
}

// MemberID returns the numeric identity of this node.
func (n *Node) MemberID() uint64 { return MemberIDOf(n.opts.Name) }

// Members returns the witnesses of the cluster by name; before the first
// contact, the initial peers.
func (n *Node) Members() []Member {
	var out []Member
	for _, s := range n.servers() {
		m := Member{Name: string(s.ID), ID: MemberIDOf(string(s.ID)), PeerAddr: string(s.Address), Voter: s.Suffrage == raft.Voter}
		if m.Name == n.opts.Name {
			m.Meta, m.Heard, m.Gossip = maps.Clone(n.opts.Meta), time.Now(), true
		} else {
			p := n.book.get(m.Name)
			m.Meta, m.Heard, m.Gossip = p.Meta, p.heard, p.alive
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// servers returns the present membership, or the initial one.
func (n *Node) servers() []raft.Server {
	if r := n.rt(); r != nil {
		if s := r.GetConfiguration().Configuration().Servers; len(s) > 0 {
			return s
		}
	}
	return initialServers(n.opts.Peers)
}

func initialServers(peers map[string]string) []raft.Server {
	var out []raft.Server
	for _, name := range slices.Sorted(maps.Keys(peers)) {
		out = append(out, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(peers[name])})
	}
	return out
}

func (n *Node) nameAt(addr string) string {
	for _, s := range n.servers() {
		if string(s.Address) == addr {
			return string(s.ID)
		}
	}
	return ""
}

func (n *Node) addressOf(name string) (string, bool) {
	for _, s := range n.servers() {
		if string(s.ID) == name {
			return string(s.Address), true
		}
	}
	return "", false
}

// memberRequest asks the leader for a change of membership.
type memberRequest struct {
	Op   string `json:"op"` // add, remove, transfer
	Name string `json:"name"`
	Addr string `json:"addr,omitempty"`
}

// catchUpTime bounds how long a new member may take to copy the log.
const catchUpTime = 20 * time.Second

// AddMember takes a witness in: first without a vote, and with one as soon as
// it has the log. If it does not catch up in time it stays without a vote, the
// error says so, and the call may be repeated.
func (n *Node) AddMember(ctx context.Context, name, addr string) error {
	if name == "" || addr == "" {
		return &witness.Error{Code: witness.CodeInvalid, Msg: "a new witness needs a name and a peer address"}
	}
	return n.changeMember(ctx, memberRequest{Op: "add", Name: name, Addr: addr})
}

// RemoveMember takes a witness out of the cluster.
func (n *Node) RemoveMember(ctx context.Context, name string) error {
	return n.changeMember(ctx, memberRequest{Op: "remove", Name: name})
}

// TransferLeadership makes the named voter the leader, or any if name is empty.
func (n *Node) TransferLeadership(ctx context.Context, name string) error {
	before, _ := n.Leader()
	err := n.changeMember(ctx, memberRequest{Op: "transfer", Name: name})
	// The leader that was asked may be gone before it can answer: then see who came.
	for giveUp := time.Now().Add(leaderWait); err != nil && time.Now().Before(giveUp); {
		now, _ := n.Leader()
		if now != "" && (now == name || name == "" && now != before) {
			return nil
		}
		if witness.ErrorCode(err) != witness.CodeNoQuorum || !pause(ctx, retryPause) {
			break
		}
	}
	return err
}

func (n *Node) changeMember(ctx context.Context, req memberRequest) error {
	ctx, cancel := context.WithTimeout(ctx, maxCallTime)
	defer cancel()
	raw, err := json.Marshal(req)
	if err != nil {
		return err
	}
	return n.seekLeader(ctx, once, methodMember, raw, func(ctx context.Context, l *leadership) error {
		return n.applyMember(ctx, l, req)
	}, func([]byte) error { return nil })
}

func (n *Node) answerMember(ctx context.Context, _ string, raw []byte) ([]byte, error) {
	var req memberRequest
	if err := json.Unmarshal(raw, &req); err != nil {
		return nil, &witness.Error{Code: witness.CodeInvalid, Msg: "malformed membership request"}
	}
	l, err := n.readyLead(ctx)
	if err != nil {
		return nil, err
	}
	return nil, n.applyMember(ctx, l, req)
}

func (n *Node) applyMember(ctx context.Context, l *leadership, req memberRequest) error {
	r := n.rt()
	switch req.Op {
	case "add":
		return n.addMember(ctx, l, r, req)
	case "remove":
		if addr, ok := n.addressOf(req.Name); !ok {
			return &witness.Error{Code: witness.CodeNotFound, Msg: fmt.Sprintf("no witness is called %q at %q", req.Name, addr)}
		}
		return memberError(n.await(ctx, r.RemoveServer(raft.ServerID(req.Name), 0, 0)))
	case "transfer":
		return n.transfer(ctx, r, req.Name)
	}
	return &witness.Error{Code: witness.CodeInvalid, Msg: fmt.Sprintf("unknown membership request %q", req.Op)}
}

func (n *Node) addMember(ctx context.Context, l *leadership, r *raft.Raft, req memberRequest) error {
	for _, s := range n.servers() {
		if string(s.ID) == req.Name && s.Suffrage == raft.Voter {
			return &witness.Error{Code: witness.CodeConflict, Msg: fmt.Sprintf("witness %q is a voter already; to replace a lost disk, remove it and join under a new name", req.Name)}
		}
		if string(s.Address) == req.Addr && string(s.ID) != req.Name {
			return &witness.Error{Code: witness.CodeConflict, Msg: fmt.Sprintf("address %s belongs to witness %q: remove that one first", req.Addr, s.ID)}
		}
	}
	id, addr := raft.ServerID(req.Name), raft.ServerAddress(req.Addr)
	if err := n.await(ctx, r.AddNonvoter(id, addr, 0, 0)); err != nil {
		return memberError(err)
	}
	wait, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	target := n.State().Index
	for {
		h, err := n.hello(wait, req.Name)
		if err == nil && h.Index >= target {
			break
		}
		if !pause(wait, 100*time.Millisecond) || l.ctx.Err() != nil {
			return &witness.Error{Code: witness.CodeNoQuorum, Msg: fmt.Sprintf("witness %q at %s is a member without a vote; it did not get the log in time (%v): check that it runs and is reachable, then repeat", req.Name, req.Addr, err)}
		}
	}
	return memberError(n.await(ctx, r.AddVoter(id, addr, 0, 0)))
}

func (n *Node) transfer(ctx context.Context, r *raft.Raft, name string) error {
	if name == n.opts.Name {
		return nil
	}
	if name == "" {
		return memberError(n.await(ctx, r.LeadershipTransfer()))
	}
	addr, ok := n.addressOf(name)
	if !ok {
		return &witness.Error{Code: witness.CodeNotFound, Msg: fmt.Sprintf("no witness is called %q", name)}
	}
	return memberError(n.await(ctx, r.LeadershipTransferToServer(raft.ServerID(name), raft.ServerAddress(addr))))
}

func memberError(err error) error {
	if err == nil {
		return nil
	}
	return asNoQuorum(err, "the change of membership was not confirmed (%v): look at the members before you repeat it", err)
}
