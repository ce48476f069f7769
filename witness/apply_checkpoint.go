package witness

import (
	"encoding/binary"
	"time"
)

// LeaseRest says how long one incarnation of a lease had left when the entry
// was made. Rest is in milliseconds, rounded up; 0 takes an earlier mark back.
type LeaseRest struct {
	ID    int64  `json:"id"`
	Epoch uint64 `json:"epoch"` // kv.Lease.Epoch
	Rest  int64  `json:"rest,omitempty"`
}

// checkpoint marks leases with the time that they have left.
//
// A mark is valid only in the term of the leader that watched the deadline: the
// same node may have lost and regained its leadership in between, and with it
// forgotten a renewal that another leader answered. To take a mark back is
// always safe.
func (a *applier) checkpoint(c LeaseCheckpoint) {
	for _, r := range c.Rests {
		lease, ok := a.s.KV.Lease(r.ID)
		if !ok || lease.Dead || lease.Epoch != r.Epoch {
			continue
		}
		switch {
		case r.Rest == 0:
			a.s.rests = a.s.rests.Delete(r.ID)
		case r.Rest < 0 || r.Rest/1000 >= lease.TTL || c.Term != a.e.Term:
			continue
		default:
			a.s.rests = a.s.rests.Set(r.ID, r)
		}
		a.extra = binary.LittleEndian.AppendUint64(a.extra, uint64(r.ID))
		a.extra = binary.LittleEndian.AppendUint64(a.extra, uint64(r.Rest))
	}
}

// forgetLease drops what the state keeps of a lease beside the key space.
func (a *applier) forgetLease(id int64) {
	a.s.born = a.s.born.Delete(id)
	a.s.rests = a.s.rests.Delete(id)
}

// LeaseRest returns how long a living lease had left when its leader last said
// so. ok is false if it was renewed since, or nothing was said: then it has its
// full time. Whoever becomes leader may give such a lease this time, counted
// from the beginning of its leadership, instead of the full one.
func (s *State) LeaseRest(id int64) (rest time.Duration, ok bool) {
	lease, alive := s.KV.Lease(id)
	r, marked := s.rests.Get(id)
	if !alive || lease.Dead || !marked || r.Epoch != lease.Epoch {
		return 0, false
	}
	return time.Duration(r.Rest) * time.Millisecond, true
}
