package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"quorate/witness"
)

// Node is what the loop needs of the replicated log.
type Node interface {
	Name() string
	State() *witness.State
	// Changed is closed when a newer state than the one now returned by State
	// is published.
	Changed() <-chan struct{}
	IsLeader() bool
	// VerifyLeader returns nil only if a quorum confirmed, after the call, that
	// this node leads.
	VerifyLeader(ctx context.Context) error
	// Barrier returns nil once the local state is at least as new as every
	// entry acknowledged before the call; witness.ErrNoQuorum without a leader.
	Barrier(ctx context.Context) error
	// ProposeLocal commits a command on this node, if it leads.
	ProposeLocal(ctx context.Context, c witness.Command) (witness.Result, error)
	// Propose commits a command through whoever leads; it is never retried.
	Propose(ctx context.Context, c witness.Command) (witness.Result, error)
	// View is the state together with cluster time and the witnesses alive.
	View() witness.View
	// SinceRenewal returns how long ago a lease was renewed or armed, as far
	// as this node watches it as leader.
	SinceRenewal(lease int64) (time.Duration, bool)
}

// Executor does one action on real devices and says how it ended. It returns
// within the deadline of ctx; what it could not prove is witness.Unknown.
type Executor interface {
	Execute(ctx context.Context, s *witness.State, a *witness.Action) witness.Finished
}

// Loop decides and executes. The fields are set before Run.
type Loop struct {
	Node     Node
	Executor Executor
	Log      *slog.Logger

	running map[string]bool // actions in the hands of this process
	done    chan string
	wg      sync.WaitGroup
}

// How often the loop looks again when only time can change the answer, and how
// long one action may take in all.
const (
	tick       = 100 * time.Millisecond
	idleTick   = 250 * time.Millisecond
	proposeMax = 5 * time.Second
	actionMax  = 80 * time.Second
	retryPause = 300 * time.Millisecond
	maxPlans   = 100 // plans in one round, so that a fault cannot spin
)

// Run loops until ctx ends, and returns after every action it started ended.
func (l *Loop) Run(ctx context.Context) error {
	l.running, l.done = map[string]bool{}, make(chan string, 64)
	defer l.wg.Wait()
	for {
		changed := l.Node.Changed()
		s := l.Node.State()
		wait := 10 * time.Second
		if l.Node.IsLeader() {
			wait = idleTick
			if witness.Busy(s) {
				wait = tick
			}
			l.watchRenewals(ctx, s)
			l.decide(ctx)
			l.abandon(ctx)
		}
		l.start(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		case id := <-l.done:
			delete(l.running, id)
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// decide proposes plans until there is nothing more to decide.
func (l *Loop) decide(ctx context.Context) {
	for range maxPlans {
		plan := witness.Decide(l.Node.View())
		if plan == nil {
			return
		}
		pctx, cancel := context.WithTimeout(ctx, proposeMax)
		_, err := l.Node.ProposeLocal(pctx, witness.PlanCmd{Plan: *plan})
		cancel()
		if err != nil {
			if witness.ErrorCode(err) != witness.CodeConflict && !errors.Is(err, witness.ErrNoQuorum) {
				l.Log.Warn("plan not taken", "cluster", plan.Cluster, "rule", plan.Rule, "err", err)
			}
			return
		}
	}
}

// abandon ends actions whose executor is silent and which nobody else may take
// over, because what they were planned for is no more: they would keep others
// from the host, and be done whenever their executor comes back.
func (l *Loop) abandon(ctx context.Context) {
	for _, a := range witness.Abandoned(l.Node.View()) {
		pctx, cancel := context.WithTimeout(ctx, proposeMax)
		_, err := l.Node.ProposeLocal(pctx, witness.Finished{
			Action: a.ID, Executor: l.Node.Name(), Outcome: witness.Unknown, Grade: witness.GradeUnknown,
			Reason: "its executor did not report in time, and what it was planned for is no more, so nobody else does it",
		})
		cancel()
		if err != nil {
			l.Log.Debug("action not ended", "action", a.ID, "err", err)
			return
		}
	}
}

// start executes the pending actions that are this witness's own.
func (l *Loop) start(ctx context.Context) {
	for _, a := range l.Node.State().PendingActions() {
		mine := a.Executor == l.Node.Name() || a.Executor == "" && l.Node.IsLeader()
		if !mine || l.running[a.ID] || len(l.running) >= cap(l.done) {
			continue
		}
		l.running[a.ID] = true
		l.wg.Go(func() {
			if !l.execute(ctx, a) {
				pause(ctx, retryPause) // or a leader without a quorum would ask without end
			}
			l.done <- a.ID
		})
	}
}

// execute does an action if this witness may, and says whether it could.
func (l *Loop) execute(ctx context.Context, a *witness.Action) bool {
	limit := actionMax
	if a.Limit > 0 {
		limit = min(limit, a.Limit)
	}
	actx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := l.entitled(actx, a)
	if err == nil && a.Kind == witness.ActionFenceOn {
		began := time.Now()
		var left time.Duration
		if left, err = l.left(actx, a); err == nil && left <= 0 {
			return false // it is somebody else's by now, or will be
		}
		actx, cancel = context.WithDeadline(actx, began.Add(left))
		defer cancel()
	}
	if err != nil {
		l.Log.Warn("action not started", "action", a.ID, "kind", a.Kind, "host", a.Host, "err", err)
		return false
	}
	s := l.Node.State()
	if now := s.Action(a.ID); now == nil || now.Outcome != witness.Pending {
		return true
	}
	if why := witness.Moot(s, a); why != "" {
		l.report(ctx, witness.Finished{
			Action: a.ID, Executor: l.Node.Name(), Outcome: witness.Unknown, Grade: witness.GradeUnknown, Reason: "not done: " + why,
		})
		return true
	}
	l.Log.Info("action starts", "action", a.ID, "kind", a.Kind, "host", a.Host, "cluster", a.Cluster)
	f := l.Executor.Execute(actx, s, a)
	f.Action, f.Executor = a.ID, l.Node.Name()
	l.report(ctx, f)
	return true
}

// left returns how much of the time for a power-on is left. It is not begun, and
// does not last, beyond that: another executor may have done it by then, and
// somebody may have powered the host off again. How old the action is only
// cluster time can tell, of an entry that is made now: this witness may have
// been restarted, or cut off.
func (l *Loop) left(ctx context.Context, a *witness.Action) (time.Duration, error) {
	left := func() time.Duration { return actionMax - (l.Node.State().Now - a.Planned) }
	if left() <= 0 {
		return 0, nil
	}
	pctx, cancel := context.WithTimeout(ctx, proposeMax)
	defer cancel()
	if _, err := l.Node.Propose(pctx, witness.Touch{}); err != nil {
		return 0, err
	}
	err := l.entitled(ctx, a)
	return left(), err
}

// pause waits, but not longer than ctx lasts.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// entitled confirms that this witness may touch a device now.
func (l *Loop) entitled(ctx context.Context, a *witness.Action) error {
	if a.Executor == "" {
		return l.Node.VerifyLeader(ctx)
	}
	return l.Node.Barrier(ctx)
}

// report commits an outcome. It asks again while the action is pending: the
// entry is idempotent, since only a pending action takes an outcome.
func (l *Loop) report(ctx context.Context, f witness.Finished) {
	for ctx.Err() == nil {
		pctx, cancel := context.WithTimeout(ctx, proposeMax)
		_, err := l.Node.Propose(pctx, f)
		cancel()
		if err == nil || witness.ErrorCode(err) == witness.CodeConflict {
			return
		}
		l.Log.Warn("outcome not recorded yet", "action", f.Action, "outcome", f.Outcome, "err", err)
		pause(ctx, tick)
		if a := l.Node.State().Action(f.Action); a == nil || a.Outcome != witness.Pending {
			return
		}
	}
}

// watchRenewals reports holders whose renewal is late, and those that are back
// in time. Only clusters that could be fenced before their lease ends matter.
func (l *Loop) watchRenewals(ctx context.Context, s *witness.State) {
	var items []witness.Observation
	for name, c := range s.Clusters() {
		if c.Holder == "" || c.Guard != nil || c.Spec.Fast == "" || c.Spec.Fast == witness.FastOff {
			continue
		}
		since, ok := l.Node.SinceRenewal(c.HolderLease)
		if !ok {
			continue
		}
		limit := witness.RenewalLimit(c.Settings)
		if late := since > limit; late != (c.Overdue != nil) {
			detail := "renewed " + since.Round(time.Millisecond).String() + " ago"
			if late {
				detail += ", expected every " + limit.String()
			}
			items = append(items, witness.Observation{Cluster: name, Kind: witness.SignalRenewal, Down: late, Detail: detail})
		}
	}
	if len(items) == 0 {
		return
	}
	pctx, cancel := context.WithTimeout(ctx, proposeMax)
	defer cancel()
	if _, err := l.Node.ProposeLocal(pctx, witness.Observe{Witness: l.Node.Name(), Items: items}); err != nil {
		l.Log.Debug("renewal signals not recorded", "err", err)
	}
}
