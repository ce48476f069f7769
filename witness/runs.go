package witness

import "fmt"

// startRun begins the story of a failover or switchover on a copied cluster.
func (a *applier) startRun(c *Cluster, run Run) {
	if cur := c.Current(); cur != nil {
		if run.Kind == RunFailover && cur.Kind == RunSwitchover {
			a.endRun(c, RunFailed, "") // the holder died in the middle of it
		} else {
			return
		}
	}
	run.ID, run.Epoch, run.State = a.e.Index, c.Epoch, RunRunning
	runs := append([]*Run(nil), c.Runs...)
	if len(runs) >= keepRuns {
		runs = runs[len(runs)-keepRuns+1:]
	}
	c.Runs = append(runs, &run)
}

// phase adds a step to the current run, if there is one.
func (a *applier) phase(c *Cluster, name, text string) {
	a.editRun(c, func(r *Run) {
		r.Phases = append(append([]Phase(nil), r.Phases...), Phase{Name: name, At: a.s.Now, Wall: a.s.Wall, Index: a.e.Index, Text: text})
		if len(r.Phases) > 100 { // a run that is held for days: keep its beginning and its end
			r.Phases = append(append([]Phase(nil), r.Phases[:20]...), r.Phases[len(r.Phases)-60:]...)
		}
	})
}

// suspected puts the first sign of trouble at the beginning of a run, with the
// time at which it was recorded.
func (a *applier) suspected(c *Cluster) {
	var first *Signal
	signals := a.s.Host(c.HolderHost).Signals
	for i := range signals {
		if sig := &signals[i]; sig.Down && (first == nil || sig.Since < first.Since) {
			first = sig
		}
	}
	if c.Overdue != nil && (first == nil || c.Overdue.Since < first.Since) {
		first = c.Overdue
	}
	if run := c.Current(); first == nil || run == nil || len(run.Phases) > 0 {
		return
	}
	ago := (a.s.Now - first.Since).Milliseconds()
	a.editRun(c, func(r *Run) {
		r.Phases = append(r.Phases, Phase{
			Name: "suspected", At: first.Since, Wall: a.s.Wall - ago, Index: first.Index,
			Text: fmt.Sprintf("first sign that %s is gone, seen by %s: %s (%s)", c.HolderHost, first.Witness, first.Kind, first.Detail),
		})
	})
}

// endRun closes the current run and the request that started it.
func (a *applier) endRun(c *Cluster, state, to string) {
	a.editRun(c, func(r *Run) {
		if to != "" && r.To != "" && to != r.To && r.Kind == RunSwitchover {
			state = RunFailed
		}
		r.State, r.NewEpoch = state, c.Epoch
		if to != "" {
			r.To = to
		}
		if r.Request == 0 {
			return
		}
		if state == RunCompleted {
			a.endRequest(r.Request, StatusDone, "", fmt.Sprintf("%s holds %s with epoch %d", to, c.Name, c.Epoch))
		} else {
			a.endRequest(r.Request, StatusFailed, "", fmt.Sprintf("the switchover ended without the wanted holder; `witnessctl cluster history %s` has the phases", c.Name))
		}
	})
}

func (a *applier) editRun(c *Cluster, edit func(*Run)) {
	cur := c.Current()
	if cur == nil {
		return
	}
	run := *cur
	edit(&run)
	runs := append([]*Run(nil), c.Runs...)
	runs[len(runs)-1] = &run
	c.Runs = runs
}
