package witness

import (
	"fmt"
	"slices"
	"strings"
)

// unlockable are the grades that a policy may name. The others are not proofs:
// clean and unguarded are ways for an epoch to end without one.
var unlockable = []Grade{GradeObserved, GradeFeeds, GradeSelf, GradePerson}

// Unlocking returns the grades of evidence that may end the epoch of a guarded
// holder. By default a machine that was read off, or whose feeds were all read
// off, and the word of a named person do; that its watchdog must have reset it
// counts only where the policy says so, by unlock or by release-after.
func (c *ClusterSpec) Unlocking() []Grade {
	if len(c.Unlock) > 0 {
		return c.Unlock
	}
	grades := []Grade{GradeObserved, GradeFeeds}
	if c.OnUnproven == UnprovenReleaseAfter {
		grades = append(grades, GradeSelf)
	}
	return append(grades, GradePerson)
}

// Unlocks says whether evidence of this grade may end the epoch of a guarded
// holder of the cluster.
func (c *ClusterSpec) Unlocks(g Grade) bool { return slices.Contains(c.Unlocking(), g) }

// ruleUnlock: does the policy of the cluster take evidence of this grade?
func ruleUnlock(spec *ClusterSpec, g Grade) (bool, Finding) {
	ok := spec.Unlocks(g)
	names := make([]string, 0, len(unlockable))
	for _, u := range spec.Unlocking() {
		names = append(names, string(u))
	}
	text := fmt.Sprintf("%s unlocks %s", g, spec.Name)
	if !ok {
		text = fmt.Sprintf("evidence of grade %q does not unlock %s, whose policy takes %s", g, spec.Name, strings.Join(names, ", "))
	}
	return ok, Finding{Rule: "unlock.grade", Verdict: verdict(ok), Inputs: "unlock=" + strings.Join(names, ","), Text: text}
}

// guardOf returns the cluster whose dead holder a host has to be proven off
// for, or nil.
func (s *State) guardOf(host string) *Cluster {
	ref, ok := s.members[host]
	if !ok {
		return nil
	}
	if c := s.Cluster(ref.cluster); c.Guard != nil && c.Guard.Host == host {
		return c
	}
	return nil
}

// holderOn returns the guarded cluster that a member on the host holds, with a
// live lease or a dead one, or nil.
func (s *State) holderOn(host string) *Cluster {
	ref, ok := s.members[host]
	if !ok {
		return nil
	}
	if c := s.Cluster(ref.cluster); c.Holder == ref.member && c.Spec.Guarded() {
		return c
	}
	return nil
}

// notProof says why the evidence of a finished power-off does not count, or "".
// A grade that a device cannot give never counts; one that needs trust, because
// nobody has read a power state, counts only where the policy says so.
func (s *State) notProof(host string, g Grade) string {
	switch c := s.holderOn(host); {
	case !g.proves() && g != GradeSelf:
		return fmt.Sprintf("evidence of grade %q is no proof", g)
	case c != nil:
		if ok, f := ruleUnlock(c.Spec, g); !ok {
			return f.Text
		}
	case g == GradeSelf:
		ref, member := s.members[host]
		if !member || !s.Cluster(ref.cluster).Spec.Unlocks(g) {
			return fmt.Sprintf("evidence of grade %q is an assumption by time, and no policy takes it for %s", g, host)
		}
	}
	return ""
}

// unlock checks the policy of a cluster.
func (v *validator) unlock(p string, c *ClusterSpec) {
	seen := map[Grade]bool{}
	for i, g := range c.Unlock {
		at := fmt.Sprintf("%s.unlock[%d]", p, i)
		switch {
		case !slices.Contains(unlockable, g):
			v.add(at, "%q is not one of %s, %s, %s, %s", g, GradeObserved, GradeFeeds, GradeSelf, GradePerson)
		case seen[g]:
			v.add(at, "%q is listed twice", g)
		}
		seen[g] = true
	}
	if len(c.Unlock) == 0 {
		return
	}
	if !c.Guarded() {
		v.add(p+".unlock", "cluster %q has fencing: none, so no evidence is asked for; remove unlock", c.Name)
	}
	if !seen[GradeObserved] && !seen[GradeFeeds] && !seen[GradeSelf] {
		v.add(p+".unlock", "cluster %q would fail over only by a person's word: name %s or %s too", c.Name, GradeObserved, GradeFeeds)
	}
	if c.OnUnproven == UnprovenReleaseAfter && !seen[GradeSelf] {
		v.add(p+".unlock", "cluster %q has on_unproven: release-after, which releases as %s: name it in unlock, or hold", c.Name, GradeSelf)
	}
}
