package witness

import "fmt"

// corosync checks a cluster that has the quorum device as its witness.
func (v *validator) corosync(p string, c *ClusterSpec, names, placed map[string]string) {
	v.oneOf(p+".fencing", c.Fencing, "", FencingOff, FencingOnRequest, FencingProactive)
	v.oneOf(p+".no_holder", c.NoHolder, "", "nodata", "servfail", "last-good")
	v.oneOf(p+".wait_for_all", c.WaitForAll, "", "yes", "no")
	v.oneOf(p+".strict_lms", c.StrictLMS, "", "yes", "no")
	foreign := map[string]string{"namespace": c.Namespace, "scope": c.Scope, "fast": c.Fast, "on_unproven": c.OnUnproven}
	if c.ReleaseAfter != 0 {
		foreign["release_after"] = "set"
	}
	v.foreign(p, c, foreign)
	if c.Qnetd != "" && !goodName(c.Qnetd) {
		v.add(p+".qnetd", "the cluster_name %q may only have letters, digits, '-', '_' and '.', at most 63", c.Qnetd)
	} else if other, dup := names[c.QnetdName()]; dup {
		v.add(p+".qnetd", "cluster %q has the same cluster_name %q as cluster %q: the witnesses could not tell their nodes apart", c.Name, c.QnetdName(), other)
	}
	names[c.QnetdName()] = c.Name
	if c.Zone != "" && !v.zone[fqdn(c.Zone)] {
		v.add(p+".zone", "cluster %q is named in zone %s, which is not declared", c.Name, fqdn(c.Zone))
	}
	v.members(p, c, placed)
	node := map[uint32]string{}
	for i, m := range c.Members {
		at := fmt.Sprintf("%s.members[%d]", p, i)
		switch other, dup := node[m.Node]; {
		case m.Node == 0:
			v.add(at+".node", "member %q has no node id: give it the nodeid that corosync.conf has", m.Name)
		case dup:
			v.add(at+".node", "member %q has the same node id %d as member %q", m.Name, m.Node, other)
		}
		node[m.Node] = m.Name
		if h := v.cfg.Host(m.Host); c.Fencing == FencingProactive && h != nil && len(h.Fence) == 0 {
			v.add(at+".host", "cluster %q has fencing: proactive, but host %q has no fence device", c.Name, m.Host)
		}
	}
}

// foreign reports settings that mean nothing for the kind of a cluster.
func (v *validator) foreign(p string, c *ClusterSpec, set map[string]string) {
	for _, key := range sortedKeys(set) {
		if set[key] != "" {
			v.add(p+"."+key, "%s means nothing for a cluster of kind %s", key, c.Kind)
		}
	}
}
