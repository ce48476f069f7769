package witness

import (
	"iter"

	"quorate/witness/kv"
)

// State is all that the witnesses agree on after some entry. It is immutable.
type State struct {
	Index     uint64 // of the last applied entry
	Term      uint64 // of the last applied entry
	Now       Time   // cluster time of the last applied entry
	Wall      int64  // Unix milliseconds of the last applied entry, for people
	ClusterID uint64 // identity of this witness cluster

	KV *kv.Store // the key space served over the etcd API

	Config        *Config
	ConfigVersion uint64 // index of the entry that set Config; 0 = never
	DNSIndex      uint64 // index of the last entry that changed a DNS answer
	DNSWall       int64  // Unix milliseconds of that entry, from which signatures are valid

	clusters kv.Map[string, *Cluster]
	hosts    kv.Map[string, *HostState]
	attn     kv.Map[string, struct{}] // clusters that Decide has to look at
	waiting  kv.Map[string, struct{}] // pending actions
	open     kv.Map[uint64, struct{}] // unfinished requests
	actions  kv.Map[string, *Action]  // pending and the latest finished ones
	requests kv.Map[uint64, *Request] // pending and the latest finished ones
	idem     kv.Map[string, uint64]   // idempotency key → request
	events   kv.Map[uint64, *Event]   // by sequence, the latest ones
	born     kv.Map[int64, uint64]    // lease → index of its grant
	rests    kv.Map[int64, LeaseRest] // leases that nobody renewed for a while
	bind     map[string]string        // key prefix → cluster; replaced, never changed
	hostSpec map[string]*Host         // replaced, never changed
	hostAddr map[string]string        // address → host; replaced, never changed
	members  map[string]memberRef     // host → the member on it; replaced, never changed
	retired  kv.Map[string, uint64]   // epoch of clusters that are declared no more
	nodeKeys kv.Map[string, string]   // witness → its public key
	dataKeys []DataKey                // to the secrets of devices, oldest first; replaced, never changed
	eventSeq uint64
	digest   uint64
}

type memberRef struct{ cluster, member string }

// How much history a state keeps. What falls out stays in the log archive and
// in reports; the limits bound memory and snapshots.
const (
	keepEvents   = 2000
	keepActions  = 500
	keepRequests = 500
	keepRuns     = 50
)

// New returns the state before the first entry.
func New() *State { return &State{KV: kv.New(), Config: &Config{}} }

// Cluster returns the cluster called name, or nil.
func (s *State) Cluster(name string) *Cluster { c, _ := s.clusters.Get(name); return c }

// Clusters returns all clusters by name.
func (s *State) Clusters() iter.Seq2[string, *Cluster] { return s.clusters.All() }

// Host returns what is known of the host called name; never nil.
func (s *State) Host(name string) *HostState {
	if h, ok := s.hosts.Get(name); ok {
		return h
	}
	return &HostState{Name: name}
}

// HostByAddress returns the name of the declared host with this IP address.
func (s *State) HostByAddress(ip string) (string, bool) { h, ok := s.hostAddr[ip]; return h, ok }

// Action returns an action by its id, or nil.
func (s *State) Action(id string) *Action { a, _ := s.actions.Get(id); return a }

// Actions returns the pending and the recently finished actions by id.
func (s *State) Actions() iter.Seq2[string, *Action] { return s.actions.All() }

// Request returns a request by its id, or nil.
func (s *State) Request(id uint64) *Request { r, _ := s.requests.Get(id); return r }

// Requests returns the pending and the recently finished requests by id.
func (s *State) Requests() iter.Seq2[uint64, *Request] { return s.requests.All() }

// Events returns the kept events from sequence number seq on.
func (s *State) Events(seq uint64) iter.Seq2[uint64, *Event] { return s.events.From(seq) }

// LastEvent returns the sequence number of the newest event.
func (s *State) LastEvent() uint64 { return s.eventSeq }

// Digest is a rolling fingerprint of everything applied so far: equal on two
// witnesses that applied the same log, and cheap enough to compare always.
func (s *State) Digest() uint64 { return s.digest }

// MemberOn returns the cluster and the member that run on a host.
func (s *State) MemberOn(host string) (cluster, member string, ok bool) {
	m, ok := s.members[host]
	return m.cluster, m.member, ok
}

// FencingHolder says whether a lease is that of a guarded holder whose host is
// being powered off now.
func (s *State) FencingHolder(lease int64) bool {
	l, ok := s.KV.Lease(lease)
	if !ok {
		return false
	}
	for _, key := range l.Keys() {
		if name, rest := s.bound(key); name != "" && rest == "leader" {
			c := s.Cluster(name)
			return c.HolderLease == lease && c.Guard != nil && c.Guard.Action != ""
		}
	}
	return false
}

// PendingActions returns the actions that wait for an executor, oldest first.
func (s *State) PendingActions() []*Action {
	var out []*Action
	for id := range s.waiting.All() {
		out = append(out, s.Action(id))
	}
	return out
}

// bound returns the cluster that a key belongs to, and the rest of the key.
func (s *State) bound(key string) (cluster, rest string) {
	for i := 1; i < len(key); i++ {
		if key[i] != '/' {
			continue
		}
		if c, ok := s.bind[key[:i+1]]; ok {
			return c, key[i+1:]
		}
	}
	return "", ""
}
