package node

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
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

	quick []string // voters, those that answered last first; of the round under way
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

// lateAnswer is the part of an election timeout after which a voter that was asked
// counts as slow for the moment.
const lateAnswer = 20

// round asks voters for their term and waits for a majority. It asks no more of them
// than it needs, those first that answered last time, and all others as soon as one
// does not answer or is late: in quiet times half of the messages would be for nothing.
func (n *Node) round() error {
	l, r := n.lead.Load(), n.rt()
	if l == nil || r == nil {
		return errNotLeading
	}
	voters := votersOf(r)
	need := len(voters)/2 + 1
	if i := slices.Index(voters, n.opts.Name); i >= 0 {
		voters = slices.Delete(voters, i, i+1)
		need--
	}
	quick := n.verifier.quick
	slices.SortStableFunc(voters, func(a, b string) int { return cmp.Compare(rank(quick, a), rank(quick, b)) })

	ctx, cancel := context.WithTimeout(l.ctx, max(n.opts.ElectionTimeout, 300*time.Millisecond))
	defer cancel()
	type answer struct {
		name string
		err  error
	}
	answers := make(chan answer, len(voters))
	waiting := 0
	ask := func(count int) bool {
		for ; count > 0; count-- {
			name := voters[0]
			voters = voters[1:]
			waiting++
			if !n.work(l, func() { answers <- answer{name, n.askTerm(ctx, name, l.term)} }) {
				return false
			}
		}
		return true
	}
	if !ask(min(need, len(voters))) {
		return errNotLeading
	}
	late := time.NewTimer(n.opts.ElectionTimeout / lateAnswer)
	defer late.Stop()
	for need > 0 {
		if need > waiting+len(voters) {
			return errNotLeading
		}
		all := false
		select {
		case a := <-answers:
			waiting--
			switch {
			case a.err == nil:
				need--
				n.verifier.quick = slices.Insert(slices.DeleteFunc(n.verifier.quick, func(name string) bool { return name == a.name }), 0, a.name)
			case errors.Is(a.err, errDeposed):
				return errNotLeading
			default:
				all = true
			}
		case <-late.C:
			all = true
		case <-ctx.Done():
			return errNotLeading
		}
		if all && !ask(len(voters)) {
			return errNotLeading
		}
	}
	// Our own vote, cast last: still the leader, still in this term.
	if r.State() != raft.Leader || r.CurrentTerm() != l.term {
		return errNotLeading
	}
	return nil
}

// rank is the place of a name in a list, behind all others if it is not there.
func rank(list []string, name string) int {
	if i := slices.Index(list, name); i >= 0 {
		return i
	}
	return len(list)
}

// work runs f in a goroutine, one that waits for work if there is one: a new one would
// have to grow its stack first. It returns false during a shutdown.
func (n *Node) work(l *leadership, f func()) bool {
	select {
	case l.work <- f:
		return true
	default:
		return n.background.start(f)
	}
}

// workers is how many goroutines of a leadership wait for work.
const workers = 4

// serveWork does work until the leadership ends.
func (l *leadership) serveWork() {
	for {
		select {
		case f := <-l.work:
			f()
		case <-l.ctx.Done():
			return
		}
	}
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
// what [Node.State] shows: on a leader that has taken office, how long ago a round
// confirmed it, shown as 0 up to one election timeout; on all others, how long ago
// the leader was heard, if the state has caught up since contact was last lost. A
// very long time means never.
func (n *Node) Contact() time.Duration {
	if n.IsLeader() {
		if t := n.verified.Load(); t != nil {
			if age := time.Since(*t); age > n.opts.ElectionTimeout {
				return age
			}
			return 0
		}
	}
	return max(n.heard(), n.outdated())
}
