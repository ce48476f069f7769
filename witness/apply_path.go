package witness

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// SignalFence is the kind of observation by which a witness reports whether it
// could switch a host by one of its devices.
const SignalFence = "fence"

// PathPassive is the detail of a path that is never ready, and no fault: a
// person, or a watchdog in the machine, has to do it.
const PathPassive = "switches nothing by itself"

const keepTook = 9 // proven power-offs that make the baseline of a host

// observePath takes into the state what a witness found out about a device. It
// decides nothing by itself: it says who is the best to try first, and warns
// people before the device is needed.
func (a *applier) observePath(from string, item Observation) {
	spec := a.s.hostSpec[item.Host]
	if !slices.ContainsFunc(spec.Fence, func(f FenceStep) bool { return f.Device == item.Device }) || from == "" {
		return
	}
	old := a.s.Host(item.Host)
	before := a.s.Fencers(item.Host)
	h := *old
	h.Paths = append([]FencePath(nil), old.Paths...)
	i := sort.Search(len(h.Paths), func(i int) bool {
		p := &h.Paths[i]
		return p.Device > item.Device || p.Device == item.Device && p.Witness >= from
	})
	p := FencePath{Device: item.Device, Witness: from, Ready: !item.Down, Since: a.s.Now, Index: a.e.Index, Detail: clip(item.Detail)}
	known := i < len(h.Paths) && h.Paths[i].Device == item.Device && h.Paths[i].Witness == from
	edge := item.Down
	switch {
	case known && h.Paths[i].Ready == p.Ready:
		return
	case known:
		h.Paths[i] = p
		edge = true
	default:
		h.Paths = slices.Insert(h.Paths, i, p)
	}
	a.s.hosts = a.s.hosts.Set(item.Host, &h)
	a.pathEvents(from, item, before, edge)
}

func (a *applier) pathEvents(from string, item Observation, before []string, edge bool) {
	after := a.s.Fencers(item.Host)
	cluster, _, _ := a.s.MemberOn(item.Host)
	ev := Event{Cluster: cluster, Host: item.Host, Rule: "fence.path"}
	switch {
	case len(after) == 0 && a.s.NobodyCan(item.Host) && (len(before) > 0 || edge):
		ev.Kind, ev.Level = "unfenceable", LevelAlert
		ev.Text = fmt.Sprintf("%s is unfenceable: %s found no level that is ready as a whole; the last path lost is %s from %s (%s)",
			item.Host, strings.Join(a.s.pathWitnesses(item.Host), " and "), item.Device, from, item.Detail)
	case item.Detail == PathPassive:
		return
	case edge && item.Down:
		ev.Kind, ev.Level = "fence-path-lost", LevelWarn
		ev.Text = fmt.Sprintf("%s cannot power %s off by %s (%s); %s", from, item.Host, item.Device, item.Detail, stillCan(after))
	case edge:
		ev.Kind = "fence-path-back"
		ev.Text = fmt.Sprintf("%s can power %s off by %s again; %s", from, item.Host, item.Device, stillCan(after))
	default:
		return
	}
	a.event(ev)
}

func stillCan(fencers []string) string {
	if len(fencers) == 0 {
		return "no other witness is known to be able to"
	}
	return strings.Join(fencers, " and ") + " can"
}

// clip bounds what a device said.
func clip(detail string) string {
	detail = text([]byte(detail))
	if r := []rune(detail); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return detail
}

// Fencers returns the witnesses that could power a host off now, as they have
// reported.
func (s *State) Fencers(host string) []string {
	var out []string
	for _, w := range s.pathWitnesses(host) {
		if ready, _ := s.Readiness(host, w); ready == ReadyYes {
			out = append(out, w)
		}
	}
	return out
}

// NobodyCan says whether every witness that has looked found no level whose
// devices are all ready.
func (s *State) NobodyCan(host string) bool {
	seen := s.pathWitnesses(host)
	for _, w := range seen {
		if ready, _ := s.Readiness(host, w); ready != ReadyNo {
			return false
		}
	}
	return len(seen) > 0
}

// Unfenceable returns the hosts that, as far as the witnesses have looked, none
// of them could power off now.
func (s *State) Unfenceable() []string {
	var out []string
	for name := range s.hosts.All() {
		if s.NobodyCan(name) {
			out = append(out, name)
		}
	}
	return out
}

func (s *State) pathWitnesses(host string) []string {
	var out []string
	for _, p := range s.Host(host).Paths {
		if !slices.Contains(out, p.Witness) {
			out = append(out, p.Witness)
		}
	}
	sort.Strings(out)
	return out
}

// Baseline returns how long a power-off of a host usually takes until it is
// proven: the median of the latest ones; 0 when none is known.
func (h *HostState) Baseline() Time {
	if len(h.Took) == 0 {
		return 0
	}
	took := slices.Clone(h.Took)
	slices.Sort(took)
	return took[len(took)/2]
}

// tookTime adds a proven power-off to the baseline of its host.
func (a *applier) tookTime(act *Action) {
	h := *a.s.Host(act.Host)
	took := append([]Time(nil), h.Took...)
	h.Took = append(took[max(0, len(took)-keepTook+1):], act.Ended-act.Planned)
	a.s.hosts = a.s.hosts.Set(act.Host, &h)
}

// dropPaths forgets reports about devices that a host has no more.
func (a *applier) dropPaths() {
	for name, h := range a.s.hosts.All() {
		spec := a.s.hostSpec[name]
		if spec == nil || len(h.Paths) == 0 {
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(h.Paths), func(p FencePath) bool {
			return !slices.ContainsFunc(spec.Fence, func(f FenceStep) bool { return f.Device == p.Device })
		})
		if len(kept) == len(h.Paths) {
			continue
		}
		next := *h
		next.Paths = kept
		a.s.hosts = a.s.hosts.Set(name, &next)
	}
}
