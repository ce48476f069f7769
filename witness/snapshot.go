package witness

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"

	"quorate/witness/kv"
)

// snapshot is the stored form of a State. Its fields keep their order, and
// lists are sorted by key, so equal states have equal bytes.
type snapshot struct {
	Format    int            `json:"format"`
	Index     uint64         `json:"index"`
	Term      uint64         `json:"term"`
	Now       Time           `json:"now"`
	Wall      int64          `json:"wall"`
	ClusterID uint64         `json:"cluster_id"`
	Digest    uint64         `json:"digest"`
	EventSeq  uint64         `json:"event_seq"`
	ConfigVer uint64         `json:"config_version"`
	DNSIndex  uint64         `json:"dns_index"`
	DNSWall   int64          `json:"dns_wall,omitempty"`
	Config    *Config        `json:"config"`
	Clusters  []*Cluster     `json:"clusters,omitempty"`
	Hosts     []*HostState   `json:"hosts,omitempty"`
	Actions   []*Action      `json:"actions,omitempty"`
	Requests  []*Request     `json:"requests,omitempty"`
	Events    []*Event       `json:"events,omitempty"`
	Born      []leaseBirth   `json:"born,omitempty"`
	Rests     []LeaseRest    `json:"rests,omitempty"`
	Retired   []retiredEpoch `json:"retired,omitempty"`
	NodeKeys  []NodeKey      `json:"node_keys,omitempty"`
	DataKeys  []DataKey      `json:"data_keys,omitempty"`
	KV        *kv.Store      `json:"kv"`
}

type leaseBirth struct {
	ID    int64  `json:"id"`
	Index uint64 `json:"index"`
}

type retiredEpoch struct {
	Name  string `json:"name"`
	Epoch uint64 `json:"epoch"`
}

const snapshotFormat = 1

// Marshal returns the whole state as JSON: equal states give equal bytes.
func (s *State) Marshal() ([]byte, error) {
	snap := snapshot{
		Format: snapshotFormat, Index: s.Index, Term: s.Term, Now: s.Now, Wall: s.Wall, ClusterID: s.ClusterID,
		Digest: s.digest, EventSeq: s.eventSeq, ConfigVer: s.ConfigVersion, DNSIndex: s.DNSIndex, DNSWall: s.DNSWall, Config: s.Config,
		Clusters: values(s.clusters.All()), Hosts: values(s.hosts.All()), Actions: values(s.actions.All()),
		Requests: values(s.requests.All()), Events: values(s.events.All()), Rests: values(s.rests.All()), KV: s.KV,
	}
	for id, index := range s.born.All() {
		snap.Born = append(snap.Born, leaseBirth{id, index})
	}
	snap.DataKeys = s.dataKeys
	for name, public := range s.nodeKeys.All() {
		snap.NodeKeys = append(snap.NodeKeys, NodeKey{name, public})
	}
	for name, epoch := range s.retired.All() {
		snap.Retired = append(snap.Retired, retiredEpoch{name, epoch})
	}
	return json.Marshal(snap)
}

func values[K cmp.Ordered, V any](seq iter.Seq2[K, V]) []V {
	var out []V
	for _, v := range seq {
		out = append(out, v)
	}
	return out
}

// Unmarshal reads what Marshal wrote. It returns an error, and never panics,
// on any other bytes.
func Unmarshal(raw []byte) (*State, error) {
	snap := snapshot{KV: kv.New()}
	if err := json.Unmarshal(raw, &snap); err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if snap.Format != snapshotFormat {
		return nil, fmt.Errorf("read state: format %d, this version reads %d: use the version of Quorate that wrote it", snap.Format, snapshotFormat)
	}
	if snap.Config == nil || snap.KV == nil {
		return nil, fmt.Errorf("read state: the configuration or the key space is missing")
	}
	s := &State{
		Index: snap.Index, Term: snap.Term, Now: snap.Now, Wall: snap.Wall, ClusterID: snap.ClusterID,
		digest: snap.Digest, eventSeq: snap.EventSeq, ConfigVersion: snap.ConfigVer, DNSIndex: snap.DNSIndex, DNSWall: snap.DNSWall,
		Config: snap.Config, KV: snap.KV,
	}
	s.index()
	if err := s.restore(&snap); err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	return s, nil
}

func (s *State) restore(snap *snapshot) error {
	for _, h := range snap.Hosts {
		if h == nil {
			return fmt.Errorf("an empty host")
		}
		s.hosts = s.hosts.Set(h.Name, h)
	}
	for _, c := range snap.Clusters {
		if c == nil || s.Config.Cluster(c.Name) == nil {
			return fmt.Errorf("a cluster that is not declared")
		}
		c.Spec = s.Config.Cluster(c.Name)
		s.clusters = s.clusters.Set(c.Name, c)
		(&applier{s: s}).attend(c)
	}
	for _, a := range snap.Actions {
		if a == nil {
			return fmt.Errorf("an empty action")
		}
		s.actions = s.actions.Set(a.ID, a)
		if a.Outcome == Pending {
			s.waiting = s.waiting.Set(a.ID, struct{}{})
		}
	}
	for _, r := range snap.Requests {
		if r == nil {
			return fmt.Errorf("an empty request")
		}
		s.requests = s.requests.Set(r.ID, r)
		if r.Key != "" {
			s.idem = s.idem.Set(r.Key, r.ID)
		}
		if r.Open() {
			s.open = s.open.Set(r.ID, struct{}{})
		}
	}
	for _, ev := range snap.Events {
		if ev == nil {
			return fmt.Errorf("an empty event")
		}
		s.events = s.events.Set(ev.Seq, ev)
	}
	for _, b := range snap.Born {
		s.born = s.born.Set(b.ID, b.Index)
	}
	for _, r := range snap.Rests {
		s.rests = s.rests.Set(r.ID, r)
	}
	s.dataKeys = snap.DataKeys
	for _, k := range snap.NodeKeys {
		s.nodeKeys = s.nodeKeys.Set(k.Node, k.Public)
	}
	for _, r := range snap.Retired {
		s.retired = s.retired.Set(r.Name, r.Epoch)
	}
	return nil
}

// Hash returns the SHA-256 of Marshal in hexadecimal: equal on two witnesses
// that have applied the same log to the same index.
func (s *State) Hash() string {
	raw, err := s.Marshal()
	if err != nil {
		panic(fmt.Sprintf("witness: state cannot be encoded: %v", err))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
