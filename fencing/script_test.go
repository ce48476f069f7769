package fencing_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"quorate/fencing"
)

// machine is a device whose behaviour a test writes down: what it reads as a function of the time since the first
// command. It is used in synctest bubbles, where real sockets cannot be; the real wire is tested in fencing/redfish.
type machine struct {
	name   string
	proves fencing.Grade
	// state is asked with -1 before the first command. Nil: off from the command on.
	state   func(sinceCommand time.Duration) fencing.PowerState
	readErr func(sinceCommand time.Duration) error // nil: none
	offErr  func(n int) error                      // for the n-th command, from 1
	stall   bool                                   // every call waits for its context
	parts   func(sinceCommand time.Duration) []fencing.Part
	started time.Time

	mu       sync.Mutex
	commands []time.Duration // since started
	reads    []time.Duration
	closed   int
	closeErr error // of the context that Close got
}

func (m *machine) Name() string { return m.name }

func (m *machine) begin() {
	if m.started.IsZero() {
		m.started = time.Now()
	}
}

func (m *machine) since() time.Duration {
	if len(m.commands) == 0 {
		return -1
	}
	return time.Since(m.started) - m.commands[0]
}

func (m *machine) Read(ctx context.Context) (fencing.Reading, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin()
	m.reads = append(m.reads, time.Since(m.started))
	if m.stall {
		<-ctx.Done()
		return fencing.Reading{}, ctx.Err()
	}
	since := m.since()
	if m.readErr != nil {
		if err := m.readErr(since); err != nil {
			return fencing.Reading{}, err
		}
	}
	state := fencing.PowerOn
	switch {
	case m.state != nil:
		state = m.state(since)
	case since >= 0:
		state = fencing.PowerOff
	}
	proves := m.proves
	if proves == "" {
		proves = fencing.GradeObservedOff
	}
	r := fencing.Reading{State: state, Raw: string(state), At: time.Now(), Proves: proves, Identity: "serial " + m.name}
	if m.parts != nil {
		r.Parts = m.parts(since)
	}
	return r, nil
}

func (m *machine) Off(context.Context) error { return m.command() }
func (m *machine) On(context.Context) error  { return m.command() }

func (m *machine) command() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin()
	m.commands = append(m.commands, time.Since(m.started))
	if m.offErr != nil {
		return m.offErr(len(m.commands))
	}
	return nil
}

func (m *machine) Check(context.Context) (fencing.Readiness, error) { return fencing.Readiness{}, nil }

func (m *machine) Close(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed++
	m.closeErr = ctx.Err()
	return nil
}

var _ fencing.Device = (*machine)(nil)

func permanent(text string) error { return fmt.Errorf("%w: %s", fencing.ErrPermanent, text) }

func host(levels ...fencing.Level) fencing.Host { return fencing.Host{Name: "db1", Levels: levels} }
