package node

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"quorate/witness"
)

// published is one state together with the signal that a newer one exists.
type published struct {
	state   *witness.State
	changed chan struct{}
}

// batch is what one round of applying caused, for the event goroutine.
type batch struct {
	index  uint64
	state  *witness.State
	events []witness.Event
}

// machine is the state machine as hashicorp/raft drives it: from one goroutine,
// except for State and Changed.
type machine struct {
	cur     atomic.Pointer[published]
	emit    func(batch)         // must not block
	observe func(time.Duration) // time to apply one batch
}

var _ raft.BatchingFSM = (*machine)(nil)

func newMachine() *machine {
	m := &machine{
		emit:    func(batch) {},
		observe: func(time.Duration) {},
	}
	m.cur.Store(&published{state: witness.New(), changed: make(chan struct{})})
	return m
}

func (m *machine) publish(s *witness.State) {
	old := m.cur.Swap(&published{state: s, changed: make(chan struct{})})
	close(old.changed)
}

// Apply implements raft.FSM.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies committed entries in order and publishes the last state.
// An entry that cannot be decoded stops the process: skipping it would make
// this witness disagree with the others without anybody noticing.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	start := time.Now()
	s := m.cur.Load().state
	out := make([]any, len(logs))
	var batches []batch
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue // changes of membership are raft's own
		}
		cmd, stamp, err := witness.DecodeCommand(l.Data)
		if err != nil {
			panic(fmt.Sprintf("log entry %d (term %d) cannot be applied: %v", l.Index, l.Term, err))
		}
		next, res, events := s.Apply(witness.Entry{Index: l.Index, Term: l.Term, Stamp: stamp, Cmd: cmd})
		s, out[i] = next, res
		if len(events) > 0 {
			batches = append(batches, batch{index: l.Index, state: next, events: events})
		}
	}
	m.publish(s)
	for _, b := range batches {
		m.emit(b)
	}
	m.observe(time.Since(start))
	return out
}

// snapshotHeader is the first line of a snapshot.
type snapshotHeader struct {
	Format int    `json:"format"`
	Index  uint64 `json:"index"`
	Hash   string `json:"hash"` // witness.State.Hash of what follows
}

const snapshotFormat = 1

// Snapshot implements raft.FSM: states are immutable, so the pointer is enough.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot{m.cur.Load().state}, nil
}

type snapshot struct{ state *witness.State }

// Persist writes the header line and the state.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.write(sink); err != nil {
		_ = sink.Cancel() // the first error is the one that explains
		return fmt.Errorf("write snapshot: %w", err)
	}
	return sink.Close()
}

func (s snapshot) write(w io.Writer) error {
	body, err := s.state.Marshal()
	if err != nil {
		return err
	}
	head, err := json.Marshal(snapshotHeader{Format: snapshotFormat, Index: s.state.Index, Hash: s.state.Hash()})
	if err != nil {
		return err
	}
	if _, err := w.Write(append(head, '\n')); err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}

// Restore replaces the state by a snapshot and publishes it. It refuses one
// whose content does not have the hash that its writer recorded.
func (m *machine) Restore(rc io.ReadCloser) error {
	s, err := readSnapshot(rc)
	if err != nil {
		return err
	}
	m.publish(s)
	return nil
}

func readSnapshot(r io.Reader) (*witness.State, error) {
	br := bufio.NewReader(r)
	line, err := br.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("read snapshot header: %w", err)
	}
	var head snapshotHeader
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("read snapshot header: %w", err)
	}
	if head.Format != snapshotFormat {
		return nil, fmt.Errorf("snapshot has format %d, this program reads %d: upgrade this witness", head.Format, snapshotFormat)
	}
	body, err := io.ReadAll(br)
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	s, err := witness.Unmarshal(body)
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	if got := s.Hash(); got != head.Hash {
		return nil, fmt.Errorf("snapshot of entry %d has state hash %s, its header says %s: it is damaged or was written by an incompatible version", head.Index, got, head.Hash)
	}
	return s, nil
}
