package node

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"quorate/witness"
)

// never is the age of something that has not happened.
const never = time.Duration(math.MaxInt64)

// errNotLeading says that this node is not, or is no longer, the leader.
var errNotLeading = &witness.Error{Code: witness.CodeNoQuorum, Msg: "this witness does not lead, or can no longer prove that it does; ask again"}

// verifier batches proofs of leadership: whoever asks while a round is under
// way waits for the next one, which starts after the question.
type verifier struct {
	mu      sync.Mutex
	next    *round
	running bool
}

type round struct {
	done  chan struct{}
	start time.Time
	err   error
}

// VerifyLeader returns nil if this node led at some moment after the call. It
// returns a no-quorum error otherwise.
//
// It is not raft.VerifyLeader. That one counts every acknowledgement that is
// read after the call, also one that a follower sent before it (raft v1.8.0,
// replication.go: updateLastAppended and heartbeat call notifyAll), so a leader
// deposed in between could still answer. Here a majority of voters, asked after
// the call, says that its term is not beyond ours. A leader of a later term
// needs the votes of a majority in that term, so there was none yet.
func (n *Node) VerifyLeader(ctx context.Context) error {
	l := n.lead.Load()
	if l == nil {
		return errNotLeading
	}
	_, err := n.verify(ctx, l)
	return err
}

// verify also returns when the round that it relied on began.
func (n *Node) verify(ctx context.Context, l *leadership) (time.Time, error) {
	v := &n.verifier
	v.mu.Lock()
	if v.next == nil {
		v.next = &round{done: make(chan struct{})}
	}
	r := v.next
	if !v.running {
		if !n.background.start(n.rounds) {
			v.mu.Unlock()
			return time.Time{}, errNotLeading
		}
		v.running = true
	}
	v.mu.Unlock()
	select {
	case <-r.done:
	case <-ctx.Done():
		return time.Time{}, errNotLeading
	}
	if r.err != nil {
		return time.Time{}, r.err
	}
	if n.lead.Load() != l {
		return time.Time{}, errNotLeading
	}
	return r.start, nil
}

// rounds runs rounds while somebody waits for one.
func (n *Node) rounds() {
	v := &n.verifier
	for {
		v.mu.Lock()
		r := v.next
		v.next = nil
		if r == nil {
			v.running = false
			v.mu.Unlock()
			return
		}
		v.mu.Unlock()
		r.start = time.Now()
		r.err = n.round()
		outcome := "ok"
		if r.err != nil {
			outcome = "failed"
		} else {
			n.verified.Store(&r.start)
		}
		n.metrics.rounds.WithLabelValues(outcome).Inc()
		close(r.done)
	}
}

// round asks all voters for their term and waits for a majority.
func (n *Node) round() error {
	l, r := n.lead.Load(), n.rt()
	if l == nil || r == nil {
		return errNotLeading
	}
	voters := votersOf(r)
	ctx, cancel := context.WithTimeout(l.ctx, max(n.opts.ElectionTimeout, 300*time.Millisecond))
	defer cancel()
	answers := make(chan error, len(voters))
	need := len(voters)/2 + 1
	for _, name := range voters {
		if name == n.opts.Name {
			need--
			continue
		}
		if !n.background.start(func() { answers <- n.askTerm(ctx, name, l.term) }) {
			return errNotLeading
		}
	}
	var failed error
	for asked := len(voters); need > 0 && asked > 0; asked-- {
		select {
		case err := <-answers:
			if err == nil {
				need--
			} else if errors.Is(err, errDeposed) {
				return errNotLeading
			} else {
				failed = err
			}
		case <-ctx.Done():
			return errNotLeading
		}
		if failed != nil && asked <= need {
			return errNotLeading
		}
	}
	// Our own vote, cast last: still the leader, still in this term.
	if r.State() != raft.Leader || r.CurrentTerm() != l.term {
		return errNotLeading
	}
	return nil
}

var errDeposed = errors.New("a later term exists")

func (n *Node) askTerm(ctx context.Context, name string, term uint64) error {
	resp, err := n.links.ask(ctx, name, methodTerm, nil)
	if err != nil {
		return err
	}
	if len(resp) != 8 {
		return errors.New("malformed answer")
	}
	if binary.BigEndian.Uint64(resp) > term {
		return errDeposed
	}
	return nil
}

// answerTerm tells a leader our term. Raft stores a term before it votes in it.
func (n *Node) answerTerm(context.Context, string, []byte) ([]byte, error) {
	r := n.rt()
	if r == nil {
		return nil, errNotTaken
	}
	return binary.BigEndian.AppendUint64(nil, r.CurrentTerm()), nil
}

func votersOf(r *raft.Raft) []string {
	var out []string
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			out = append(out, string(s.ID))
		}
	}
	return out
}

// Contact returns the age of the last confirmed contact with a quorum, and so of
// what [Node.State] shows: on a leader, how long ago a round confirmed it, shown as
// 0 up to one election timeout; on a follower, how long ago the leader was heard,
// if the state has caught up since contact was last lost. A very long time means
// never.
func (n *Node) Contact() time.Duration {
	if n.lead.Load() != nil {
		if t := n.verified.Load(); t != nil {
			if age := time.Since(*t); age > n.opts.ElectionTimeout {
				return age
			}
			return 0
		}
	}
	return max(n.heard(), n.outdated())
}
