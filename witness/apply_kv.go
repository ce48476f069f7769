package witness

import (
	"fmt"

	"quorate/witness/kv"
)

// txn applies a change of the key space, unless the guard forbids it.
func (a *applier) txn(c Txn) {
	next, res, evs, err := a.s.KV.Txn(c.Req)
	if err != nil {
		a.res.Err = kvError(err)
		return
	}
	if refusal := a.guard(&change{req: &c.Req, done: res.Succeeded, next: next, evs: evs}); refusal != nil {
		a.res.Err = refusal
		return
	}
	a.res.Txn = &res
	a.commit(next, evs, Release{Grade: GradeClean})
}

// change is a transaction that would take effect.
type change struct {
	req  *kv.TxnRequest
	done bool      // its comparisons held
	next *kv.Store // the key space after it
	evs  []kv.Event
}

// guard refuses a change of the leader key of a guarded cluster by which
// somebody could become holder before the present one is known to be gone.
func (a *applier) guard(ch *change) *Error {
	for i := range ch.evs {
		name, rest := a.s.bound(string(ch.evs[i].KV.Key))
		if name == "" || rest != "leader" {
			continue
		}
		c := a.s.Cluster(name)
		if !c.Spec.Guarded() {
			continue
		}
		err := a.guardKey(c, ch, &ch.evs[i])
		if err != nil {
			err.Code = CodeGuarded
			a.event(Event{Kind: "guard-refused", Level: LevelWarn, Cluster: name, Epoch: c.Epoch, Rule: err.Rule, Text: err.Msg})
			return err
		}
	}
	return nil
}

func (a *applier) guardKey(c *Cluster, ch *change, ev *kv.Event) *Error {
	if ev.Type == kv.Delete {
		switch {
		case c.Holder == "":
			return nil
		case c.Guard != nil:
			return refusedf("guard.fencing", "the leader key of %s stays until %s is proven off", c.Name, c.Holder)
		case !ch.done || !compares(ch.req, ev.KV.Key):
			return refusedf("guard.unconditional-delete", "the leader key of %s is held by %s; only a delete that compares the key's value or revision first, as Patroni's own does, gives it up", c.Name, c.Holder)
		}
		return nil
	}
	value := text(ev.KV.Value)
	lease, ok := ch.next.Lease(ev.KV.Lease)
	if !ok || lease.Dead {
		return refusedf("guard.no-lease", "a leader key of %s without a living lease would never expire", c.Name)
	}
	if other := a.alsoLeads(lease, c.Name); other != "" {
		return refusedf("guard.shared-lease", "the lease of this leader key of %s carries the one of %s too: the end of one would end the other", c.Name, other)
	}
	if c.Holder == "" {
		return a.mayGrant(c, value)
	}
	switch {
	case value != c.Holder:
		return refusedf("guard.leader-taken", "%s holds %s with epoch %d and is not released; %s cannot take the leader key", c.Holder, c.Name, c.Epoch, value)
	case c.Guard != nil && c.Guard.Action != "":
		return refusedf("guard.fencing", "%s is being powered off as holder of %s; its leader key cannot be renewed", c.Holder, c.Name)
	}
	return nil
}

// mayGrant says whether a member may take the vacant leader key.
func (a *applier) mayGrant(c *Cluster, member string) *Error {
	spec := c.Spec.Member(member)
	if spec == nil {
		return refusedf("grant.unknown-member", "%s is not a declared member of %s, so nobody could power it off; add it to the configuration", member, c.Name)
	}
	if h := a.s.Host(spec.Host); h.Fenced {
		return refusedf("grant.fenced", "%s runs on %s, which was proven off and has not been seen on since", member, spec.Host)
	}
	return nil
}

// compares says whether a transaction depends on the present content of a key.
func compares(req *kv.TxnRequest, key []byte) bool {
	for i := range req.Compare {
		c := &req.Compare[i]
		if string(c.Key) == string(key) && len(c.RangeEnd) == 0 && c.Result == kv.Equal && c.Target != kv.CompareVersion {
			return true
		}
	}
	return false
}

// alsoLeads names a guarded cluster other than name whose leader key hangs on
// the lease.
func (a *applier) alsoLeads(lease *kv.Lease, name string) string {
	for _, key := range lease.Keys() {
		if other, rest := a.s.bound(key); other != "" && other != name && rest == "leader" && a.s.Cluster(other).Spec.Guarded() {
			return other
		}
	}
	return ""
}

func (a *applier) leaseGrant(c LeaseGrant) {
	next, err := a.s.KV.Grant(c.ID, c.TTL)
	if err != nil {
		a.res.Err = kvError(err)
		return
	}
	a.s.KV = next
	a.s.born = a.s.born.Set(c.ID, a.e.Index)
}

func (a *applier) leaseRevoke(c LeaseRevoke) {
	lease, ok := a.s.KV.Lease(c.ID)
	if !ok || lease.Dead {
		a.res.Err = kvError(kv.ErrLeaseNotFound)
		return
	}
	a.endLease(lease, "lease-revoked")
}

func (a *applier) leaseExpire(c LeaseExpire) {
	if c.Term != a.e.Term {
		return // a leader of an earlier term watched this deadline: void
	}
	for i, id := range c.IDs {
		lease, ok := a.s.KV.Lease(id)
		if !ok || lease.Dead || i < len(c.Epochs) && c.Epochs[i] != lease.Epoch {
			continue
		}
		a.endLease(lease, causeExpired)
	}
}

// endLease ends a lease. If it carries the leader key of a guarded cluster it
// is dead from now on, but its keys stay: the holder must be proven off first.
func (a *applier) endLease(lease *kv.Lease, cause string) {
	if c := a.guardedBy(lease); c != nil {
		a.startGuard(c, cause)
		return
	}
	next, evs, err := a.s.KV.Revoke(lease.ID)
	if err != nil {
		panic(fmt.Sprintf("witness: revoke of live lease %d: %v", lease.ID, err))
	}
	a.forgetLease(lease.ID)
	a.commit(next, evs, Release{Grade: GradeUnguarded, Reason: cause})
}

// guardedBy returns the guarded cluster whose holder lives by this lease.
func (a *applier) guardedBy(lease *kv.Lease) *Cluster {
	for _, key := range lease.Keys() {
		name, rest := a.s.bound(key)
		if name == "" || rest != "leader" {
			continue
		}
		if c := a.s.Cluster(name); c.Spec.Guarded() && c.HolderLease == lease.ID {
			return c
		}
	}
	return nil
}

// leads says whether a lease carries the leader key of a guarded cluster.
func (a *applier) leads(id int64) bool {
	lease, ok := a.s.KV.Lease(id)
	return ok && a.alsoLeads(lease, "") != ""
}

// startGuard kills the holder's lease and keeps its keys.
func (a *applier) startGuard(old *Cluster, cause string) {
	next, err := a.s.KV.Kill(old.HolderLease)
	if err != nil {
		panic(fmt.Sprintf("witness: kill of holder lease %d: %v", old.HolderLease, err))
	}
	a.s.KV = next
	a.s.rests = a.s.rests.Delete(old.HolderLease) // should it live again, then with its full time
	c := *old
	c.Guard = &Guard{Since: a.s.Now, Index: a.e.Index, Cause: cause, Host: c.HolderHost}
	text := fmt.Sprintf("the lease of %s died (%s); its leader key stays until %s is proven off", c.Holder, cause, c.HolderHost)
	a.startRun(&c, Run{Kind: RunFailover, From: c.Holder})
	a.suspected(&c)
	a.phase(&c, "lease-dead", text)
	a.event(Event{Kind: "lease-dead", Level: LevelAlert, Cluster: c.Name, Host: c.HolderHost, Epoch: c.Epoch, Text: text})
	a.put(&c, true)
}

// release ends the epoch of a guarded holder: its leader key, its member key
// and the leases of both go in this very entry.
func (a *applier) release(name string, how Release) {
	c := a.s.Cluster(name)
	prefix := c.Spec.Prefix()
	leases := []int64{c.HolderLease}
	if m := a.s.KV.Get(prefix + "members/" + c.Holder); m != nil && m.Lease != 0 && m.Lease != c.HolderLease && !a.leads(m.Lease) {
		leases = append(leases, m.Lease)
	}
	for _, id := range leases {
		next, evs, err := a.s.KV.Revoke(id)
		if err != nil {
			continue // the lease is gone already; its keys are deleted below
		}
		a.forgetLease(id)
		a.commit(next, evs, how)
	}
	for _, rest := range []string{"leader", "members/" + c.Holder} {
		key := []byte(prefix + rest)
		if a.s.KV.Get(string(key)) == nil {
			continue
		}
		next, _, evs, err := a.s.KV.Txn(kv.DeleteTxn(kv.DeleteRequest{Key: key}))
		if err != nil {
			panic(fmt.Sprintf("witness: delete %s: %v", key, err))
		}
		a.commit(next, evs, how)
	}
}
