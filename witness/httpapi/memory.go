package httpapi

import (
	"context"
	"sync"
	"time"

	"quorate/witness"
)

// Memory is the trivial [Backend]: the real state machine of one witness, kept
// in memory, where whatever is proposed is committed at once. Tests and
// documentation run the API on it. Its clocks stand still unless moved.
type Memory struct {
	mu      sync.Mutex
	state   *witness.State
	changed chan struct{}
	now     witness.Time
	node    NodeInfo
}

var _ Backend = (*Memory)(nil)

// memoryEpoch is the wall time of the first entry in Unix milliseconds; later
// entries follow the cluster clock.
const memoryEpoch = 1_795_000_000_000

// NewMemory returns an empty state on a node that describes itself as node.
func NewMemory(node NodeInfo) *Memory {
	return &Memory{state: witness.New(), changed: make(chan struct{}), node: node}
}

// State returns the present state.
func (m *Memory) State() *witness.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// Changed returns a channel that is closed at the next entry.
func (m *Memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Propose applies a command. Without quorum it returns [witness.ErrNoQuorum].
func (m *Memory) Propose(ctx context.Context, cmd witness.Command) (witness.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return witness.Result{}, err
	}
	if !m.node.Quorum {
		return witness.Result{}, witness.ErrNoQuorum
	}
	next, res, _ := m.state.Apply(witness.Entry{
		Index: m.state.Index + 1, Term: max(m.node.Term, 1), Cmd: cmd,
		Stamp: witness.Stamp{Time: m.now, Wall: memoryEpoch + m.now.Milliseconds()},
	})
	m.state = next
	close(m.changed)
	m.changed = make(chan struct{})
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
}

// Barrier returns at once, or a no-quorum error.
func (m *Memory) Barrier(context.Context) error {
	if !m.Node().Quorum {
		return witness.ErrNoQuorum
	}
	return nil
}

// View returns the state with the members of the node.
func (m *Memory) View() witness.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := witness.View{State: m.state, Now: m.now}
	for _, member := range m.node.Members {
		if member.Voter {
			v.Voters = append(v.Voters, member.Name)
		}
		if member.Alive {
			v.Alive = append(v.Alive, member.Name)
		}
	}
	return v
}

// Node returns the description of the node.
func (m *Memory) Node() NodeInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.node
	n.Index = m.state.Index
	return n
}

// Describe changes how the node describes itself.
func (m *Memory) Describe(edit func(*NodeInfo)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	edit(&m.node)
}

// Advance moves the cluster clock.
func (m *Memory) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now += d
}

// Settle does what a leader does: it decides and lets execute carry out each
// pending action, until there is nothing left to do now. It returns the first
// error of a proposal.
func (m *Memory) Settle(ctx context.Context, execute func(*witness.Action) witness.Finished) error {
	for {
		plan := witness.Decide(m.View())
		if plan != nil {
			if _, err := m.Propose(ctx, witness.PlanCmd{Plan: *plan}); err != nil {
				return err
			}
		}
		pending := m.State().PendingActions()
		for _, act := range pending {
			if _, err := m.Propose(ctx, execute(act)); err != nil {
				return err
			}
		}
		if plan == nil && len(pending) == 0 {
			return nil
		}
	}
}
