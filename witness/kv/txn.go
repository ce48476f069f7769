package kv

import (
	"bytes"
	"cmp"
)

// Txn runs a transaction. It returns the new state (s itself if nothing changed),
// the result, and the events in the order in which they happened, all of which
// have the new revision as their ModRevision.
//
// On an error nothing happened at all. Errors: ErrLeaseNotFound, ErrKeyNotFound
// (ignore_value or ignore_lease on an absent key), ErrCompacted and
// ErrFutureRevision (a read in the chosen branch), and those of
// [TxnRequest.Validate] that are not about limits.
func (s *Store) Txn(t TxnRequest) (*Store, TxnResult, []Event, error) {
	if err := t.Validate(Limits{}); err != nil {
		return s, TxnResult{}, nil, err
	}
	// All branches, nested ones included, are chosen on the state before the
	// first write, and all of their operations are checked before it as well:
	// the writes first, as in etcd.
	plan := s.choose(&t)
	if err := s.checkPuts(plan); err != nil {
		return s, TxnResult{}, nil, err
	}
	if err := s.checkReads(plan); err != nil {
		return s, TxnResult{}, nil, err
	}
	next := *s
	x := &txn{base: s, s: &next, rev: s.rev + 1}
	res := x.run(plan)
	if len(x.events) == 0 {
		res.Revision = s.rev
		return s, res, nil, nil
	}
	x.commit()
	res.Revision = x.rev
	return x.s, res, x.events, nil
}

// branch is the chosen side of a transaction, with those of its nested ones.
type branch struct {
	ok     bool
	ops    []Op
	nested []*branch // one for each op that is a transaction
}

func (s *Store) choose(t *TxnRequest) *branch {
	b := &branch{ok: true, ops: t.Success}
	for i := range t.Compare {
		if !s.holds(&t.Compare[i]) {
			b.ok, b.ops = false, t.Failure
			break
		}
	}
	for i := range b.ops {
		if n := b.ops[i].Txn; n != nil {
			b.nested = append(b.nested, s.choose(n))
		}
	}
	return b
}

func (s *Store) checkPuts(b *branch) error {
	nested := b.nested
	for i := range b.ops {
		var err error
		switch op := &b.ops[i]; {
		case op.Put != nil:
			err = s.checkPut(op.Put)
		case op.Txn != nil:
			err, nested = s.checkPuts(nested[0]), nested[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) checkReads(b *branch) error {
	nested := b.nested
	for i := range b.ops {
		var err error
		switch op := &b.ops[i]; {
		case op.Range != nil:
			err = s.checkRevision(op.Range.Revision)
		case op.Txn != nil:
			err, nested = s.checkReads(nested[0]), nested[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) checkPut(p *PutRequest) error {
	if (p.IgnoreValue || p.IgnoreLease) && s.Get(string(p.Key)) == nil {
		return ErrKeyNotFound
	}
	if p.Lease != 0 {
		if l, ok := s.leases.Get(p.Lease); !ok || l.Dead {
			return ErrLeaseNotFound
		}
	}
	return nil
}

func (s *Store) holds(c *Compare) bool {
	absent := true
	for _, kv := range s.current(string(c.Key), string(c.RangeEnd)) {
		absent = false
		if !c.holds(kv) {
			return false
		}
	}
	if !absent {
		return true
	}
	return c.Target != CompareValue && c.holds(&KeyValue{})
}

func (c *Compare) holds(kv *KeyValue) bool {
	var d int
	switch c.Target {
	case CompareVersion:
		d = cmp.Compare(kv.Version, c.Number)
	case CompareCreate:
		d = cmp.Compare(kv.CreateRevision, c.Number)
	case CompareMod:
		d = cmp.Compare(kv.ModRevision, c.Number)
	case CompareValue:
		d = bytes.Compare(kv.Value, c.Value)
	case CompareLease:
		d = cmp.Compare(kv.Lease, c.Number)
	}
	switch c.Result {
	case Greater:
		return d > 0
	case Less:
		return d < 0
	case NotEqual:
		return d != 0
	}
	return d == 0
}

// txn builds the next state in s, a copy that nobody else sees yet.
type txn struct {
	base   *Store // the state before
	s      *Store
	rev    int64 // of the events, if there are any
	events []Event
}

// now is the revision that a reader inside the transaction sees.
func (x *txn) now() int64 {
	if len(x.events) > 0 {
		return x.rev
	}
	return x.rev - 1
}

func (x *txn) run(b *branch) TxnResult {
	res := TxnResult{Succeeded: b.ok}
	if len(b.ops) > 0 {
		res.Responses = make([]OpResult, 0, len(b.ops))
	}
	nested := b.nested
	for i := range b.ops {
		op := &b.ops[i]
		var r OpResult
		switch {
		case op.Range != nil:
			r.Range = x.read(*op.Range)
		case op.Put != nil:
			r.Put = x.put(op.Put)
		case op.Delete != nil:
			r.Delete = x.delete(op.Delete)
		case op.Txn != nil:
			t := x.run(nested[0])
			r.Txn, nested = &t, nested[1:]
		}
		res.Responses = append(res.Responses, r)
	}
	return res
}

// read answers a range inside a transaction: an explicit revision reads the past,
// anything else sees what the transaction has written so far.
func (x *txn) read(r RangeRequest) *RangeResult {
	from := x.s
	if r.Revision > 0 {
		from = x.base
	}
	res, err := from.Range(r)
	if err != nil {
		panic("kv: a range that was checked before the transaction failed in it: " + err.Error())
	}
	res.Revision = x.now()
	return &res
}

func (x *txn) put(p *PutRequest) *PutResult {
	key := string(p.Key)
	old := x.s.Get(key)
	kv := &KeyValue{Key: p.Key, Value: p.Value, CreateRevision: x.rev, ModRevision: x.rev, Version: 1, Lease: p.Lease}
	if old != nil {
		kv.Key, kv.CreateRevision, kv.Version = old.Key, old.CreateRevision, old.Version+1
		if p.IgnoreValue {
			kv.Value = old.Value
		}
		if p.IgnoreLease {
			kv.Lease = old.Lease
		}
	}
	if len(kv.Value) == 0 {
		kv.Value = nil // one form, so that a snapshot restores exactly this
	}
	x.apply(key, Event{Type: Put, KV: kv, Prev: old})
	res := &PutResult{Revision: x.rev}
	if p.PrevKV {
		res.Prev = old
	}
	return res
}

func (x *txn) delete(d *DeleteRequest) *DeleteResult {
	res := &DeleteResult{}
	for key, old := range x.s.current(string(d.Key), string(d.RangeEnd)) {
		x.apply(key, Event{Type: Delete, KV: &KeyValue{Key: old.Key, ModRevision: x.rev}, Prev: old})
		res.Deleted++
		if d.PrevKV {
			res.Prev = append(res.Prev, old)
		}
	}
	res.Revision = x.now()
	return res
}

// apply makes one event happen to the keys, the leases and the accounts. Replaying
// a snapshot goes through it too.
func (x *txn) apply(key string, ev Event) {
	s := x.s
	var from, to int64
	if ev.Prev != nil {
		from = ev.Prev.Lease
		s.size -= cost(ev.Prev)
	}
	if ev.Type == Put {
		to = ev.KV.Lease
		s.size += cost(ev.KV)
		s.keys = s.keys.Set(key, ev.KV)
	} else {
		s.keys = s.keys.Delete(key)
	}
	if from != to {
		s.detach(from, key)
		s.attach(to, key)
	}
	s.size += cost(ev.KV)
	x.events = append(x.events, ev)
}

// commit closes the revision. The events must not be empty.
func (x *txn) commit() {
	s := x.s
	s.rev = x.rev
	s.log = s.log.add(x.rev, x.events)
	for _, ev := range x.events {
		s.digest = digestEvent(s.digest, ev)
	}
}
