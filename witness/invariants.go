package witness

import "fmt"

// assertStep panics when one entry would break a safety rule of DESIGN.md,
// section 5, for one cluster. It guards against faults of our own: a witness
// that stops is safer than one that goes on wrongly.
func assertStep(old, next *Cluster) {
	if fault := stepFault(old, next); fault != "" {
		panic("witness: invariant broken: " + fault)
	}
}

// stepFault returns what is wrong with the step from old to next, or "".
func stepFault(old, next *Cluster) string {
	if old == nil {
		return ""
	}
	if fault := quorumStepFault(old, next); fault != "" {
		return fault
	}
	granted := next.Epoch != old.Epoch
	switch {
	case next.Epoch < old.Epoch:
		return fmt.Sprintf("epoch of %s falls from %d to %d", next.Name, old.Epoch, next.Epoch)
	case next.Epoch > old.Epoch+1:
		return fmt.Sprintf("epoch of %s jumps from %d to %d", next.Name, old.Epoch, next.Epoch)
	case next.Holder != "" && next.Holder != old.Holder && !granted:
		return fmt.Sprintf("%s becomes holder of %s without a new epoch", next.Holder, next.Name)
	case next.Holder != "" && next.Guard != nil && next.Guard.Host != next.HolderHost:
		return fmt.Sprintf("the guard of %s waits for %s, its holder is on %s", next.Name, next.Guard.Host, next.HolderHost)
	case next.Holder == "" && next.Guard != nil:
		return fmt.Sprintf("%s is guarded without a holder", next.Name)
	}
	if !next.Spec.Guarded() {
		return ""
	}
	if granted && old.Holder != "" {
		return fmt.Sprintf("%s is granted to %s while %s is not released", next.Name, next.Holder, old.Holder)
	}
	if granted && old.Epoch > 0 && (next.Release == nil || next.Release.Epoch != old.Epoch || next.Release.Grade == GradeUnknown || next.Release.Grade == "") {
		return fmt.Sprintf("%s is granted epoch %d, but nothing says how epoch %d ended", next.Name, next.Epoch, old.Epoch)
	}
	if old.Holder != "" && next.Holder == "" && (next.Release == nil || next.Release.Epoch != old.Epoch) {
		return fmt.Sprintf("%s loses its holder %s without a recorded release", next.Name, old.Holder)
	}
	if old.Guard != nil && next.Holder == "" && next.Release.Grade == GradeClean {
		return fmt.Sprintf("%s is released from %s as clean while it is guarded", old.Holder, next.Name)
	}
	if old.Guard != nil && next.Holder == "" && !next.Spec.Unlocks(next.Release.Grade) {
		return fmt.Sprintf("%s is released from %s as %s, which its policy does not take", old.Holder, next.Name, next.Release.Grade)
	}
	return ""
}

// Violations checks the safety rules that can be seen in one state and in the
// step from prev to it. It returns one line per fault; the simulator calls it
// after every entry.
func Violations(prev, next *State) []string {
	var out []string
	for name, c := range next.clusters.All() {
		old := prev.Cluster(name)
		if old == c {
			continue
		}
		switch {
		case old == nil:
		case c.Quorum != nil: // one entry may have many steps, each of which was asserted as it was made
			if c.Epoch < old.Epoch {
				out = append(out, fmt.Sprintf("epoch of %s falls from %d to %d", name, old.Epoch, c.Epoch))
			}
		case old.Spec.Prefix() == c.Spec.Prefix():
			if f := stepFault(old, c); f != "" {
				out = append(out, f)
			}
		}
		out = append(out, clusterFaults(next, c)...)
	}
	for id := range next.rests.All() {
		if _, ok := next.LeaseRest(id); !ok {
			out = append(out, fmt.Sprintf("lease %d is gone, dead or another one, but the time it has left is kept", id))
		}
	}
	if next.Now < prev.Now {
		out = append(out, "cluster time runs backwards")
	}
	if next.KV.Revision() < prev.KV.Revision() {
		out = append(out, "the key space revision falls")
	}
	return out
}

// clusterFaults compares what a cluster says with the keys it stands on.
func clusterFaults(s *State, c *Cluster) []string {
	if c.Spec.Kind == KindCorosync {
		return quorumFaults(c)
	}
	var out []string
	leader := s.KV.Get(c.Spec.Prefix() + "leader")
	switch {
	case leader == nil && c.Holder != "":
		out = append(out, fmt.Sprintf("%s has holder %s, but no leader key", c.Name, c.Holder))
	case leader != nil && text(leader.Value) != c.Holder:
		out = append(out, fmt.Sprintf("%s has holder %s, but its leader key says %s", c.Name, c.Holder, leader.Value))
	case leader != nil && c.Holder != "" && leader.Lease != c.HolderLease:
		out = append(out, fmt.Sprintf("%s has lease %d, but its leader key has %d", c.Name, c.HolderLease, leader.Lease))
	}
	if leader != nil && c.Spec.Guarded() {
		if lease, ok := s.KV.Lease(leader.Lease); c.Holder != "" && (!ok || lease.Dead != (c.Guard != nil)) {
			out = append(out, fmt.Sprintf("%s: guard and the death of the holder's lease disagree", c.Name))
		}
	}
	if c.Spec.Guarded() && c.Holder != "" && s.Host(c.HolderHost).Fenced {
		out = append(out, fmt.Sprintf("%s has holder %s on %s, which is fenced", c.Name, c.Holder, c.HolderHost))
	}
	return out
}
