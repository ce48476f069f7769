package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"quorate/witness"
)

// Barrier makes a read linearizable: when it returns nil, [Node.State] holds
// every command whose effect anybody could have seen before the call. On a
// follower it asks the leader how far to wait. Without a leader that can prove
// itself it returns a no-quorum error.
func (n *Node) Barrier(ctx context.Context) error {
	var index uint64
	err := n.atLeader(ctx, harmless, methodReadIndex, nil, func(ctx context.Context, l *leadership) error {
		var err error
		index, err = n.readIndex(ctx, l)
		return err
	}, func(resp []byte) error { return json.Unmarshal(resp, &index) })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	return n.waitApplied(ctx, index)
}

// readIndex returns the index of the last command that was committed when the
// call began, after proving that this node leads.
func (n *Node) readIndex(ctx context.Context, l *leadership) (uint64, error) {
	index, err := n.lastCommand(n.rt())
	if err != nil {
		return 0, err
	}
	if _, err := n.verify(ctx, l); err != nil {
		return 0, err
	}
	return index, nil
}

// lastCommand returns the index of the newest command at or below the commit
// index. The commit index itself will not do, because a state carries the index
// of its last command; nor will the applied state of the leader, because a
// follower may have applied, and shown, an entry before its leader does.
func (n *Node) lastCommand(r *raft.Raft) (uint64, error) {
	for i := r.CommitIndex(); i > n.State().Index; i-- {
		var e raft.Log
		err := n.cache.GetLog(i, &e)
		if errors.Is(err, raft.ErrLogNotFound) {
			break // behind a snapshot, so applied
		}
		if err != nil {
			return 0, &witness.Error{Code: witness.CodeInternal, Msg: fmt.Sprintf("log entry %d cannot be read: %v", i, err)}
		}
		if e.Type == raft.LogCommand {
			return i, nil
		}
	}
	return n.State().Index, nil
}

func (n *Node) answerReadIndex(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	l, err := n.readyLead(ctx)
	if err != nil {
		return nil, err
	}
	index, err := n.readIndex(ctx, l)
	if err != nil {
		return nil, err
	}
	return json.Marshal(index)
}
