package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"quorate/witness"
)

const (
	leaderWait  = 2 * time.Second // how long a request waits for a leader to appear
	requestTime = 3 * time.Second // and how long it takes at most; Patroni gives a node 3.3 s
	retryPause  = 20 * time.Millisecond
)

// maxCommand bounds one log entry in bytes; the etcd limit of a request is
// 1.5 MiB, in JSON a third more.
const maxCommand = 8 << 20

// The internal calls of this package.
const (
	methodTerm       = "node.term"
	methodHello      = "node.hello"
	methodPropose    = "node.propose"
	methodReadIndex  = "node.read-index"
	methodKeepAlive  = "node.keep-alive"
	methodTimeToLive = "node.time-to-live"
	methodMember     = "node.member"
)

func (n *Node) ownHandlers() map[string]Handler {
	return map[string]Handler{
		methodTerm:       n.answerTerm,
		methodHello:      n.answerHello,
		methodPropose:    n.answerPropose,
		methodReadIndex:  n.answerReadIndex,
		methodKeepAlive:  n.answerKeepAlive,
		methodTimeToLive: n.answerTimeToLive,
		methodMember:     n.answerMember,
	}
}

// Propose commits a command and returns what applying it answered. On a
// follower it is sent on to the leader once; after it was sent it is never sent
// again, so a no-quorum error may mean that the command was or will be applied
// (the message says so). Without a leader the error comes after about two
// seconds. An error in the result is returned as error, too.
func (n *Node) Propose(ctx context.Context, cmd witness.Command) (witness.Result, error) {
	var res witness.Result
	raw, err := witness.EncodeCommand(cmd, witness.Stamp{})
	if err != nil {
		return res, err
	}
	err = n.atLeader(ctx, once, methodPropose, raw, func(ctx context.Context, l *leadership) error {
		var err error
		res, err = n.append(ctx, l, n.rt(), cmd)
		return err
	}, func(resp []byte) error { return json.Unmarshal(resp, &res) })
	if err == nil && res.Err != nil {
		err = res.Err
	}
	return res, err
}

// ProposeLocal is Propose for commands that only a leader may issue, such as
// plans: it is never forwarded, and fails at once on a node that does not lead.
func (n *Node) ProposeLocal(ctx context.Context, cmd witness.Command) (witness.Result, error) {
	l := n.lead.Load()
	if l == nil || !l.isReady() {
		return witness.Result{}, errNotLeading
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	res, err := n.append(ctx, l, n.rt(), cmd)
	if errors.Is(err, errNotTaken) {
		err = errNotLeading
	}
	if err == nil && res.Err != nil {
		err = res.Err
	}
	return res, err
}

// repeat says whether a request may be sent again when its fate is not known.
type repeat bool

const (
	once     repeat = false // it may have been carried out
	harmless repeat = true  // carrying it out twice is the same as once
)

// atLeader runs local here if this node leads, or else sends req to the leader
// and gives the answer to remote. It looks for another leader as long as the
// request certainly had no effect, or does no harm twice.
func (n *Node) atLeader(ctx context.Context, again repeat, method string, req []byte,
	local func(context.Context, *leadership) error, remote func([]byte) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	return n.seekLeader(ctx, again, method, req, local, remote)
}

// seekLeader is atLeader without its limit of time.
func (n *Node) seekLeader(ctx context.Context, again repeat, method string, req []byte,
	local func(context.Context, *leadership) error, remote func([]byte) error,
) error {
	giveUp := time.Now().Add(leaderWait)
	for {
		err := n.tryLeader(ctx, method, req, local, remote)
		if !errors.Is(err, errNotTaken) && (again == once || !errors.Is(err, witness.ErrNoQuorum)) {
			return err
		}
		if time.Now().After(giveUp) || !pause(ctx, retryPause) {
			return witness.ErrNoQuorum
		}
	}
}

func (n *Node) tryLeader(ctx context.Context, method string, req []byte,
	local func(context.Context, *leadership) error, remote func([]byte) error,
) error {
	if n.lead.Load() != nil {
		l, err := n.readyLead(ctx)
		if err != nil {
			return err
		}
		return local(ctx, l)
	}
	followed := n.followed.Load()
	name, _ := n.Leader()
	if name == "" || name == n.opts.Name {
		return errNotTaken
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(followed.ctx, func() {
		// The answer of a leader that is gone may never come. The signal may also
		// be late and speak of the change that brought this leader.
		if now, _ := n.Leader(); now != name {
			cancel()
		}
	})()
	n.metrics.forwards.WithLabelValues(method).Inc()
	resp, err := n.links.call(ctx, name, method, req)
	switch {
	case errors.Is(err, errNotTaken):
		return err
	case err != nil:
		return asNoQuorum(err, "the request was sent to the leader %q and no answer came (%v): it may have been carried out, or still be; look before you repeat it", name, err)
	}
	if err := remote(resp); err != nil {
		return fmt.Errorf("unreadable answer from the leader %q: %w", name, err)
	}
	return nil
}

// readyLead returns the present leadership once it has taken office; the error
// is errNotTaken.
func (n *Node) readyLead(ctx context.Context) (*leadership, error) {
	l := n.lead.Load()
	if l == nil {
		return nil, errNotTaken
	}
	wait, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	select {
	case <-l.ready:
		return l, nil
	case <-l.ctx.Done():
	case <-wait.Done():
	}
	return nil, errNotTaken
}

// answerPropose stamps and commits what a follower sent on.
func (n *Node) answerPropose(ctx context.Context, _ string, req []byte) ([]byte, error) {
	cmd, _, err := witness.DecodeCommand(req)
	if err != nil {
		return nil, &witness.Error{Code: witness.CodeInvalid, Msg: err.Error()}
	}
	switch cmd.(type) {
	case witness.LeaseExpire, witness.LeaseCheckpoint, witness.QnetdExpire, witness.Bootstrap:
		return nil, &witness.Error{Code: witness.CodeRefused, Msg: "only the leader itself proposes a " + witness.Kind(cmd)}
	}
	l, err := n.readyLead(ctx)
	if err != nil {
		return nil, err
	}
	res, err := n.append(ctx, l, n.rt(), cmd)
	if err != nil {
		return nil, err
	}
	return json.Marshal(res)
}

// append commits a command in the term of l. The error wraps errNotTaken if the
// entry was certainly not appended; after any other error its fate is open.
func (n *Node) append(ctx context.Context, l *leadership, r *raft.Raft, cmd witness.Command) (witness.Result, error) {
	var none witness.Result
	done := func() {}
	if g, ok := cmd.(witness.LeaseGrant); ok {
		g.TTL = max(g.TTL, n.leaseFloor())
		cmd = g
		if err := l.beginGrant(ctx, g.ID); err != nil {
			return none, err
		}
		done = func() { l.lease.grantEnd(g.ID) }
	}
	f, err := n.queue(ctx, l, r, cmd)
	if err != nil {
		done()
		return none, err
	}
	err = n.await(ctx, f, done)
	switch {
	case err == nil:
		res, ok := f.Response().(witness.Result)
		if !ok {
			return none, &witness.Error{Code: witness.CodeInternal, Msg: fmt.Sprintf("applying a %s answered %T", witness.Kind(cmd), f.Response())}
		}
		return res, nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return none, fmt.Errorf("%w: %w", errNotTaken, err)
	}
	return none, asNoQuorum(err, "the request is in the log of this leader, but not confirmed by a majority (%v): it may still be carried out; look before you repeat it", err)
}

// queue stamps a command and hands it to Raft. Some may do so at once, so stamps
// rise in the order of the log but for the time that they wait here together.
func (n *Node) queue(ctx context.Context, l *leadership, r *raft.Raft, cmd witness.Command) (raft.ApplyFuture, error) {
	select {
	case n.slot <- struct{}{}:
		defer func() { <-n.slot }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errNotTaken, ctx.Err())
	}
	if r == nil || n.lead.Load() != l {
		return nil, errNotTaken
	}
	raw, err := witness.EncodeCommand(cmd, witness.Stamp{Time: l.clock.now(), Wall: time.Now().UnixMilli()})
	if err != nil {
		return nil, err
	}
	if len(raw) > maxCommand {
		return nil, &witness.Error{Code: witness.CodeExhausted, Msg: fmt.Sprintf("a %s of %d bytes is too long for the log (limit %d): split it", witness.Kind(cmd), len(raw), maxCommand)}
	}
	wait := requestTime
	if d, ok := ctx.Deadline(); ok {
		wait = max(time.Until(d), time.Millisecond)
	}
	return r.Apply(raw, wait), nil
}

// beginGrant waits while a lease of the same id is being ended.
func (l *leadership) beginGrant(ctx context.Context, id int64) error {
	for {
		wait := l.lease.grantBegin(id)
		if wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-l.ctx.Done():
			return errNotTaken
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errNotTaken, ctx.Err())
		}
	}
}
