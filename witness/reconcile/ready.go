package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"quorate/fencing"
	"quorate/witness"
)

// HostCheck is what this witness found out about the fence devices of a host.
type HostCheck struct {
	Host    string
	State   fencing.PowerState // of the host, as far as its devices agree
	Devices []DeviceCheck      // in the order of the levels
}

// DeviceCheck is one device's part of it.
type DeviceCheck struct {
	Device   string // as declared
	Level    int
	Ready    bool
	Passive  bool // switches nothing by itself: a person, or a watchdog in the machine
	State    fencing.PowerState
	Raw      string
	Faults   []string // each keeps it from being ready
	Warnings []string
	Took     time.Duration // of the whole host: devices are asked at the same time
}

// Check asks every fence device of a host whether it could power it off now:
// everything that a power-off does but the command. It changes nothing.
func (f *Fencer) Check(ctx context.Context, s *witness.State, name string) (HostCheck, error) {
	spec := s.Config.Host(name)
	if spec == nil {
		return HostCheck{}, &witness.Error{Code: witness.CodeNotFound, Msg: fmt.Sprintf("there is no host %q; `witnessctl fence status` lists them", name)}
	}
	began := time.Now()
	levels := f.host(s.Config, spec)
	var passive []bool
	for _, level := range levels.Levels {
		for _, dev := range level {
			_, is := dev.(fencing.Passive)
			passive = append(passive, is)
		}
	}
	res := fencing.Check(ctx, levels, f.Timing)
	out := HostCheck{Host: name, State: res.State, Devices: make([]DeviceCheck, len(res.Devices))}
	steps := stepsOf(spec)
	for i := range res.Devices {
		out.Devices[i] = judged(steps[i], &res.Devices[i])
		out.Devices[i].Took = time.Since(began)
		if passive[i] {
			out.Devices[i].Passive, out.Devices[i].Ready = true, false
		}
	}
	return out, nil
}

func judged(step witness.FenceStep, d *fencing.DeviceState) DeviceCheck {
	out := DeviceCheck{Device: step.Device, Level: step.Level, State: d.Reading.State, Raw: d.Reading.Raw}
	if d.Readiness != nil {
		out.Faults = append(out.Faults, d.Readiness.Faults...)
		out.Warnings = append(out.Warnings, d.Readiness.Warnings...)
	}
	switch {
	case len(out.Faults) > 0:
	case d.Error != "":
		out.Faults = append(out.Faults, d.Error)
	case d.Reading.State == fencing.PowerUnknown || d.Reading.State == "":
		out.Faults = append(out.Faults, fmt.Sprintf("its power state %q cannot be understood, so off could not be proven", d.Reading.Raw))
	}
	out.Ready = len(out.Faults) == 0
	return out
}

// CheckTiming says how often devices are looked at.
type CheckTiming struct {
	Interval time.Duration // between two checks of a host, give or take a fifth; default 5 min
	Again    time.Duration // after a failed one, and after a power action; default 15 s
	Limit    time.Duration // for one host; default 15 s
}

const (
	checkParallel = 8 // hosts at a time
	firstSpread   = 30 * time.Second
)

// Checker looks at the fence devices of every host again and again, so that a
// path that is broken is known before it is needed. It reports edges only. A
// failure is reported when it has been seen twice: BMCs restart, too.
type Checker struct {
	Node   CheckNode
	Fencer *Fencer
	Timing CheckTiming
	Log    *slog.Logger

	mu     sync.Mutex
	failed map[string]bool     // host and device → the last check failed
	warned map[string][]string // host → warnings of the latest check
	due    map[string]time.Time
	busy   map[string]bool
	wg     sync.WaitGroup
}

// CheckNode is what the checker needs of the replicated log.
type CheckNode interface {
	Name() string
	State() *witness.State
	// Propose commits a command through whoever leads; witness.ErrNoQuorum if
	// nobody does.
	Propose(ctx context.Context, c witness.Command) (witness.Result, error)
}

func (c *Checker) defaults() {
	if c.Timing.Interval <= 0 {
		c.Timing.Interval = 5 * time.Minute
	}
	if c.Timing.Again <= 0 {
		c.Timing.Again = min(15*time.Second, c.Timing.Interval)
	}
	if c.Timing.Limit <= 0 {
		c.Timing.Limit = 15 * time.Second
	}
	c.failed, c.due, c.busy = map[string]bool{}, map[string]time.Time{}, map[string]bool{}
}

// Run checks until ctx ends, and returns after every check it started ended.
func (c *Checker) Run(ctx context.Context) error {
	c.defaults()
	defer c.wg.Wait()
	ticker := time.NewTicker(min(time.Second, c.Timing.Again))
	defer ticker.Stop()
	for {
		for _, host := range c.pick(c.Node.State()) {
			c.wg.Go(func() { c.check(ctx, host) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// pick returns the hosts whose turn it is. The turns of the witnesses and of
// the hosts are spread: many BMCs have one session to give.
func (c *Checker) pick(s *witness.State) []string {
	pending := map[string]bool{}
	for _, a := range s.PendingActions() {
		pending[a.Host] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var out []string
	declared := make(map[string]bool, len(s.Config.Hosts))
	for i := range s.Config.Hosts {
		h := &s.Config.Hosts[i]
		declared[h.Name] = true
		due, known := c.due[h.Name]
		switch {
		case len(h.Fence) == 0 || c.busy[h.Name]:
		case !known:
			c.due[h.Name] = now.Add(rand.N(min(firstSpread, c.Timing.Interval)))
		case pending[h.Name]: // its devices have something better to do
			c.due[h.Name] = now.Add(c.Timing.Again)
		case now.After(due) && len(c.busy) < checkParallel:
			c.busy[h.Name] = true
			out = append(out, h.Name)
		}
	}
	for name := range c.due {
		if !declared[name] {
			delete(c.due, name)
		}
	}
	return out
}

func (c *Checker) check(ctx context.Context, host string) {
	cctx, cancel := context.WithTimeout(ctx, c.Timing.Limit)
	res, err := c.Fencer.Check(cctx, c.Node.State(), host)
	cancel()
	next := c.Timing.Interval*4/5 + rand.N(max(c.Timing.Interval*2/5, 1))
	if err == nil && ctx.Err() == nil {
		c.remember(&res)
		items, again := c.edges(&res)
		if again || !c.report(ctx, items) {
			next = c.Timing.Again
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, host)
	c.due[host] = time.Now().Add(next)
}

// remember keeps the warnings of a check, and logs those that are new: they are
// this witness's own view, and no matter for the log of all.
func (c *Checker) remember(res *HostCheck) {
	var now []string
	for i := range res.Devices {
		for _, text := range res.Devices[i].Warnings {
			now = append(now, res.Devices[i].Device+": "+text)
		}
	}
	c.mu.Lock()
	before := c.warned[res.Host]
	if c.warned == nil {
		c.warned = map[string][]string{}
	}
	c.warned[res.Host] = now
	c.mu.Unlock()
	for _, text := range now {
		if !slices.Contains(before, text) {
			c.Log.Warn("a fence device deserves attention", "host", res.Host, "warning", text)
		}
	}
}

// Warnings returns what deserves attention of a host's devices, as this witness
// last saw them: a certificate that expires, a clock that is wrong, a password
// that anybody on the path can read.
func (c *Checker) Warnings(host string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.warned[host]
}

// edges compares a check with what the state says this witness knows. again
// says that a failure has to be seen once more before it counts.
func (c *Checker) edges(res *HostCheck) (items []witness.Observation, again bool) {
	known := map[string]bool{}
	for _, p := range c.Node.State().Host(res.Host).Paths {
		if p.Witness == c.Node.Name() {
			known[p.Device] = p.Ready
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range res.Devices {
		d := &res.Devices[i]
		key := res.Host + "\x00" + d.Device
		detail := strings.Join(d.Faults, "; ")
		if d.Passive {
			detail = witness.PathPassive
			c.failed[key] = true // it is not expected to become ready: no second look
		}
		before, reported := known[d.Device]
		twice := c.failed[key]
		c.failed[key] = !d.Ready
		switch {
		case reported && before == d.Ready:
		case !d.Ready && !twice:
			again = true
		default:
			items = append(items, witness.Observation{
				Host: res.Host, Kind: witness.SignalFence, Device: d.Device, Down: !d.Ready, Detail: detail,
			})
		}
	}
	return items, again
}

func (c *Checker) report(ctx context.Context, items []witness.Observation) bool {
	if len(items) == 0 {
		return true
	}
	pctx, cancel := context.WithTimeout(ctx, proposeMax)
	defer cancel()
	_, err := c.Node.Propose(pctx, witness.Observe{Witness: c.Node.Name(), Items: items})
	if err != nil {
		c.Log.Debug("findings about fence devices not recorded", "host", items[0].Host, "err", err)
	}
	return err == nil
}

// stepsOf returns the fence steps of a host in the order of their levels.
func stepsOf(spec *witness.Host) []witness.FenceStep {
	steps := append([]witness.FenceStep(nil), spec.Fence...)
	sort.SliceStable(steps, func(i, j int) bool { return steps[i].Level < steps[j].Level })
	return steps
}
