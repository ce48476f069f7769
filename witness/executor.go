package witness

import (
	"slices"
	"sort"
)

// FencePath is what one witness last reported of one device of a host: could it
// power the host off by it now?
type FencePath struct {
	Device  string `json:"device"`
	Witness string `json:"witness"`
	Ready   bool   `json:"ready"`
	Since   Time   `json:"since"`
	Index   uint64 `json:"index"` // of the entry that recorded the edge
	Detail  string `json:"detail,omitempty"`
}

// path returns what a witness reported of a device of a host.
func (h *HostState) path(device, witness string) (FencePath, bool) {
	for i := range h.Paths {
		if p := &h.Paths[i]; p.Device == device && p.Witness == witness {
			return *p, true
		}
	}
	return FencePath{}, false
}

// levels returns the numbers of the fencing levels of a host, ascending.
func (h *Host) levels() []int {
	var out []int
	for _, f := range h.Fence {
		if !slices.Contains(out, f.Level) {
			out = append(out, f.Level)
		}
	}
	sort.Ints(out)
	return out
}

// Readiness of a host from one witness.
const (
	ReadyNo      = "no"      // no level has all of its devices ready
	ReadyUnknown = "unknown" // not every device has been looked at
	ReadyYes     = "yes"
)

// Readiness says whether a witness could power a host off now, as far as it has
// reported, and by which level, counted from 1.
func (s *State) Readiness(host, witness string) (ready string, level int) {
	spec := s.hostSpec[host]
	if spec == nil || len(spec.Fence) == 0 {
		return ReadyNo, 0
	}
	h := s.Host(host)
	ready = ReadyNo
	for i, n := range spec.levels() {
		all, known := true, true
		for _, f := range spec.Fence {
			if f.Level != n {
				continue
			}
			p, reported := h.path(f.Device, witness)
			known = known && reported
			all = all && (!reported || p.Ready)
		}
		switch {
		case all && known:
			return ReadyYes, i + 1
		case all && ready == ReadyNo:
			ready, level = ReadyUnknown, i+1
		}
	}
	return ready, level
}

// executors returns the living witnesses, the best to power a host off first:
// who can do it by the lowest level, then who has not looked, then who could
// not when it last looked. A failed check is no reason not to try, only to let
// others try before. Among equals the leader is first: it needs no hand-over.
func executors(v View, host string) []string {
	out := append([]string(nil), v.Alive...)
	rank := make(map[string]int, len(out))
	for _, w := range out {
		ready, level := v.State.Readiness(host, w)
		switch ready {
		case ReadyYes:
			rank[w] = level
		case ReadyUnknown:
			rank[w] = 100
		default:
			rank[w] = 1000
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return rank[out[i]] < rank[out[j]] })
	return out
}

// executorFor returns the executor of the nth attempt on a host, from 0: "" is
// the leader, whoever that is.
func executorFor(v View, host string, n int) string {
	list := executors(v, host)
	if len(list) == 0 || list[n%len(list)] == v.Alive[0] {
		return ""
	}
	return list[n%len(list)]
}

// bestExecutor returns the best executor but the one that has failed.
func bestExecutor(v View, host, failed string) string {
	for _, w := range executors(v, host) {
		switch {
		case w == v.Alive[0]:
			return ""
		case w != failed:
			return w
		}
	}
	return ""
}

// onExecutor returns who powers a host on. It is always named, the leader too:
// if another one were elected it would begin at once, while the first goes on,
// and an on that comes late must not come after a later off.
func onExecutor(v View, host, failed string) string {
	best := bestExecutor(v, host, failed)
	if best == "" && len(v.Alive) > 0 {
		return v.Alive[0]
	}
	return best
}
