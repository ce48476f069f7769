package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"quorate/witness"
)

// Options say what a run consists of. The zero value is a usual run.
type Options struct {
	Steps  int       // events under faults, before everything is healed; 0 = 1000
	Trace  io.Writer // one line per event; nil = none
	Verify bool      // every witness applies the log itself and all digests are compared, with restores from snapshots; costs time
	// Corosync simulates a corosync cluster and its quorum device instead of Patroni
	// clusters.
	Corosync bool
	Break    Break // rules that this run breaks on purpose
}

// Break switches off one rule of the shell around the state machine. The
// simulator must notice each of them; a test says so.
type Break struct {
	BelieveTimeouts   bool // a power-off without an answer counts as proof
	ExpireEarly       bool // leases end at two thirds of their time
	ExpireWithoutMark bool // an expiry does not say which incarnation of a lease it means
	RenewBlindly      bool // renewals are acknowledged without a quorum
	RenewMarked       bool // renewals are acknowledged although the log still says how little the lease has left
	InheritDeadlines  bool // a new leader gives leases only the rest that it guesses
	IgnorePauses      bool // a leader that was paused goes on as if it had not been
	ExecuteBlindly    bool // actions are executed without verified leadership
	CommitAlone       bool // the leader commits without a majority
	NoGuard           bool // clusters behave as with fencing: none
	ConfirmBlindly    bool // operators confirm "off" without looking
	NeverFence        bool // nobody executes anything

	EchoBlindly     bool // heartbeats of qdevice clients are answered without contact with the leader
	PeerEarly       bool // a silent qdevice client is dead after 1.5 heartbeats, as in stock corosync-qnetd
	OwnerEarly      bool // the sessions of a silent witness end before their clients give up
	InheritSessions bool // a new leader takes all witnesses for silent since long ago
	VoidEarly       bool // the ACK of a client that vanished ends at once
	BelieveOneFeed  bool // one of two outlets that is off proves the machine off
}

// Report tells how a run ended.
type Report struct {
	Seed      uint64
	Steps     int
	Time      time.Duration // simulated
	Entries   int           // committed
	Elections int
	Grants    int
	Fences    int // power-offs that were proven
	Held      int // entries that recorded a hold
	ByFeeds   int // of those, by the outlets
	Orders    int // power actions that somebody asked for
	Reboots   int // that went on after their off was proven
	Marks     int // entries that recorded how long leases have left

	LateGiveUps int // see checkReleased
	Violations  []string
}

// Run simulates one schedule. The same seed and options give the same report.
func Run(seed uint64, opt Options) Report {
	if opt.Steps == 0 {
		opt.Steps = 1000
	}
	w := newWorld(seed, opt)
	w.runFaults(opt.Steps)
	if len(w.report.Violations) == 0 {
		w.runHealed()
	}
	w.report.Time = w.now
	w.report.Entries = len(w.committed)
	return w.report
}

// world is one simulated installation.
type world struct {
	opt    Options
	rng    *rand.Rand
	now    time.Duration
	queue  queue
	seq    uint64
	report Report

	net      network
	nodes    []*node
	hosts    []*host
	clusters []*cluster
	quorums  []*quorumCluster
	tool     *tool
	connSeq  uint64
	bootSeq  uint64

	committed []*entry // what is committed, whoever knows it yet
	prev      *witness.State
	leaseID   int64
	acked     map[lifeOfLease]time.Duration // when a lease was last granted or renewed
	expired   map[lifeOfLease]bool
	calm      bool // no new faults
}

type lifeOfLease struct {
	id    int64
	epoch uint64
}

const violationLimit = 5

func (w *world) violation(format string, args ...any) {
	text := fmt.Sprintf("at %s, entry %d: ", w.now, len(w.committed)) + fmt.Sprintf(format, args...)
	if len(w.report.Violations) < violationLimit {
		w.report.Violations = append(w.report.Violations, text)
	}
	w.trace("VIOLATION %s", text)
}

// trace writes one line. Callers in hot places check w.opt.Trace first.
func (w *world) trace(format string, args ...any) {
	if w.opt.Trace != nil {
		fmt.Fprintf(w.opt.Trace, "%10.3fs %s\n", w.now.Seconds(), fmt.Sprintf(format, args...))
	}
}

// step runs the next event; false means that nothing is left to happen.
func (w *world) step() bool {
	for {
		ev, ok := w.queue.pop()
		if !ok {
			return false
		}
		if a := ev.who; a != nil {
			if a.down || a.life != ev.life {
				continue // that process is no more
			}
			if a.paused {
				a.waiting = append(a.waiting, ev)
				continue
			}
		}
		w.now = max(w.now, ev.at)
		w.report.Steps++
		ev.fn()
		return true
	}
}

func (w *world) broken() bool { return len(w.report.Violations) > 0 }

func (w *world) runFaults(steps int) {
	w.scheduleFault()
	for w.report.Steps < steps && !w.broken() && w.step() {
	}
}

// settleTime is within what a healed installation must have settled.
const settleTime = 150 * time.Second

// runHealed mends everything and waits for a holder in every cluster.
func (w *world) runHealed() {
	w.heal()
	end := w.now + settleTime
	for w.now < end && !w.broken() && w.step() {
		if w.settled() {
			w.trace("settled")
			return
		}
	}
	if !w.broken() {
		w.explainUnsettled()
	}
}

// chance is true once in n.
func (w *world) chance(n int) bool { return w.rng.IntN(n) == 0 }

// between returns a time in [lo, hi).
func (w *world) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)))
}
