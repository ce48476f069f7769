package witness

import (
	"fmt"

	"quorate/witness/kv"
)

// configure replaces the configuration as a whole, or changes nothing.
func (a *applier) configure(cmd Configure) {
	if cmd.Base != 0 && cmd.Base != a.s.ConfigVersion {
		a.res.Err = errorf(CodeConflict, "the configuration is at version %d, yours is based on %d: look at `witnessctl diff` and apply again", a.s.ConfigVersion, cmd.Base)
		return
	}
	cfg := cmd.Config
	if faults := cfg.Validate(nil); len(faults) > 0 {
		a.res.Err = errorf(CodeInvalid, "%s (and %d more faults)", faults[0], len(faults)-1)
		return
	}
	if err := a.mayReplace(&cfg); err != nil {
		a.res.Err = err
		return
	}
	a.s.Config, a.s.ConfigVersion, a.s.DNSIndex = &cfg, a.e.Index, a.e.Index
	a.s.index()
	a.dropHosts()
	a.dropPaths()
	a.dropDataKeys()
	a.rebind()
	a.res.ID = a.e.Index
	a.event(Event{Kind: "configured", Text: fmt.Sprintf("configuration version %d: %d clusters on %d hosts, applied by %s",
		a.e.Index, len(cfg.Clusters), len(cfg.Hosts), orUnknown(cmd.By))})
}

func orUnknown(by string) string {
	if by == "" {
		return "an unnamed person"
	}
	return by
}

// mayReplace refuses to take away what a holder or a running failover stands
// on.
func (a *applier) mayReplace(cfg *Config) *Error {
	for name, c := range a.s.clusters.All() {
		spec := cfg.Cluster(name)
		switch {
		case spec == nil && c.Quorum != nil && c.Quorum.counted() != "":
			return refusedf("config.voting", "%s of cluster %s may count its vote: stop the corosync-qdevice of its nodes before the cluster is declared no more", c.Quorum.counted(), name)
		case spec == nil && c.Guard == nil:
			continue
		case spec != nil && (spec.Kind != c.Spec.Kind || spec.Kind == KindCorosync && spec.QnetdName() != c.Spec.QnetdName()):
			return refusedf("config.rebind", "cluster %s is of kind %s and known to corosync as %q; to manage another one declare a cluster with another name", name, c.Spec.Kind, c.Spec.QnetdName())
		case spec != nil && spec.Prefix() != c.Spec.Prefix():
			return refusedf("config.rebind", "cluster %s has the keys %s; to manage %s declare a cluster with another name", name, c.Spec.Prefix(), spec.Prefix())
		case c.Guard != nil && (spec == nil || !spec.Guarded() || hostOf(spec, c.Holder) != c.HolderHost):
			return refusedf("config.guarded", "cluster %s is in the middle of a failover: its fencing and its holder %s must stay until that is over", name, c.Holder)
		case c.Holder != "" && spec.Guarded() && (hostOf(spec, c.Holder) == "" || c.HolderHost != "" && hostOf(spec, c.Holder) != c.HolderHost):
			return refusedf("config.holder", "%s holds %s and must stay one of its members, on the same host; switch over first", c.Holder, name)
		}
	}
	return a.mayGuard(cfg)
}

// mayGuard refuses fencing for clusters whose leader key, as it stands now,
// the witnesses could not guard.
func (a *applier) mayGuard(cfg *Config) *Error {
	leads := map[int64]string{}
	for i := range cfg.Clusters {
		spec := &cfg.Clusters[i]
		leader := a.s.KV.Get(spec.Prefix() + "leader")
		if !spec.Guarded() || leader == nil || len(leader.Value) == 0 {
			continue
		}
		host := hostOf(spec, text(leader.Value))
		if host == "" {
			return refusedf("config.unknown-holder", "cluster %s is led by %s, which is not one of its declared members: nobody could power it off", spec.Name, text(leader.Value))
		}
		c := a.s.Cluster(spec.Name)
		if lease, ok := a.s.KV.Lease(leader.Lease); !ok || lease.Dead && (c == nil || c.Guard == nil) {
			return refusedf("config.no-lease", "the leader key of cluster %s has no living lease, so it would never expire: let Patroni write it, or delete it, before fencing is required", spec.Name)
		}
		if a.s.Host(host).Fenced && !a.youngerThanProof(host, leader.Lease) {
			return refusedf("config.fenced-holder", "the leader key of cluster %s names %s on %s, which was proven off: let that lease end before fencing is required", spec.Name, text(leader.Value), host)
		}
		if other, shared := leads[leader.Lease]; shared {
			return refusedf("config.shared-lease", "the leader keys of clusters %s and %s hang on the same lease: the end of one would end the other", other, spec.Name)
		}
		leads[leader.Lease] = spec.Name
	}
	return nil
}

func hostOf(spec *ClusterSpec, member string) string {
	if m := spec.Member(member); m != nil {
		return m.Host
	}
	return ""
}

// index makes the look-up tables for the configuration.
func (s *State) index() {
	s.bind, s.hostAddr, s.hostSpec, s.members = map[string]string{}, map[string]string{}, map[string]*Host{}, map[string]memberRef{}
	s.qnetd = map[string]string{}
	for i := range s.Config.Hosts {
		h := &s.Config.Hosts[i]
		s.hostSpec[h.Name] = h
		for _, addr := range h.Addresses {
			s.hostAddr[addr] = h.Name
		}
	}
	for i := range s.Config.Clusters {
		c := &s.Config.Clusters[i]
		if c.Kind == KindCorosync {
			s.qnetd[c.QnetdName()] = c.Name
		} else {
			s.bind[c.Prefix()] = c.Name
		}
		for _, m := range c.Members {
			s.members[m.Host] = memberRef{c.Name, m.Name}
		}
	}
}

func (a *applier) dropHosts() {
	for name := range a.s.hosts.All() {
		if a.s.hostSpec[name] == nil {
			a.s.hosts = a.s.hosts.Delete(name)
		}
	}
}

// rebind gives every declared cluster its new spec, adds new ones from the
// keys that are there already, and drops those that are declared no more.
func (a *applier) rebind() {
	for name := range a.s.clusters.All() {
		if a.s.Config.Cluster(name) == nil {
			a.s.retired = a.s.retired.Set(name, a.s.Cluster(name).Epoch)
			a.s.clusters = a.s.clusters.Delete(name)
			a.s.attn = a.s.attn.Delete(name)
		}
	}
	for i := range a.s.Config.Clusters {
		spec := &a.s.Config.Clusters[i]
		old := a.s.Cluster(spec.Name)
		if old == nil {
			a.adopt(spec)
			continue
		}
		c := *old
		c.Spec = spec
		c.Members = append([]Member(nil), old.Members...)
		for j := range c.Members {
			c.Members[j].Host = ""
			if m := spec.Member(c.Members[j].Name); m != nil {
				c.Members[j].Host = m.Host
			}
		}
		if m := spec.Member(c.Holder); m != nil && spec.Kind != KindCorosync {
			c.HolderHost = m.Host
		}
		a.seenOn(c.HolderHost, c.HolderLease)
		if c.Quorum != nil {
			c.Quorum = c.Quorum.clone()
			c.Quorum.declared(spec)
		}
		a.put(&c, true)
	}
}

// adopt starts to manage a cluster. Keys that Patroni wrote before are taken
// over as they are; the epochs go on where an earlier life of the name ended.
func (a *applier) adopt(spec *ClusterSpec) {
	c := &Cluster{Name: spec.Name, Spec: spec}
	if epoch, ok := a.s.retired.Get(spec.Name); ok {
		c.Epoch = epoch
		c.Release = &Release{Epoch: epoch, Grade: GradeUnguarded, Index: a.e.Index, At: a.s.Now, Reason: "the cluster was not managed in between"}
		a.s.retired = a.s.retired.Delete(spec.Name)
	}
	if spec.Kind == KindCorosync {
		c.Quorum = &Quorum{}
	}
	a.put(c, true)
	if spec.Kind == KindCorosync {
		return
	}
	prefix := spec.Prefix()
	res, err := a.s.KV.Range(kv.RangeRequest{Key: []byte(prefix), RangeEnd: []byte(kv.PrefixEnd(prefix))})
	if err != nil {
		panic(fmt.Sprintf("witness: range %s: %v", prefix, err))
	}
	if leader := a.s.KV.Get(prefix + "leader"); leader != nil {
		a.seenOn(hostOf(spec, text(leader.Value)), leader.Lease)
	}
	for _, kvp := range res.KVs {
		a.keyChanged(spec.Name, string(kvp.Key[len(prefix):]), &kv.Event{Type: kv.Put, KV: kvp}, Release{})
	}
}
