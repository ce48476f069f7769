package kv

// Limits bound a transaction. A zero field is no limit.
type Limits struct {
	// MaxOps bounds compares, success and failure operations, each list on its
	// own; what a level uses is taken off the allowance of the levels below it.
	MaxOps int
	// MaxBytes bounds keys and values of the whole request.
	MaxBytes int
}

// DefaultLimits are etcd's: 128 operations and 1.5 MiB.
var DefaultLimits = Limits{MaxOps: 128, MaxBytes: 1536 << 10}

// maxNesting bounds transactions inside transactions where MaxOps does not.
const maxNesting = 128

// Validate checks everything about a transaction that does not depend on the state.
// Errors: ErrEmptyKey, ErrValueProvided, ErrLeaseProvided, ErrInvalidSort,
// ErrKeyNotFound (an operation without a request), ErrTooManyOps, ErrTooLarge, and
// ErrDuplicateKey if one branch could change a key twice.
func (t TxnRequest) Validate(l Limits) error {
	if l.MaxOps == 0 {
		l.MaxOps = maxInt
	}
	if err := t.check(l.MaxOps, maxNesting); err != nil {
		return err
	}
	if err := t.checkDuplicates(); err != nil {
		return err
	}
	if l.MaxBytes > 0 && t.bytes() > l.MaxBytes {
		return ErrTooLarge
	}
	return nil
}

const maxInt = int(^uint(0) >> 1)

func (t *TxnRequest) check(ops, depth int) error {
	n := max(len(t.Compare), len(t.Success), len(t.Failure))
	if n > ops || depth == 0 {
		return ErrTooManyOps
	}
	for i := range t.Compare {
		if len(t.Compare[i].Key) == 0 {
			return ErrEmptyKey
		}
	}
	for _, list := range [2][]Op{t.Success, t.Failure} {
		for i := range list {
			if err := list[i].check(ops-n, depth-1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *Op) check(ops, depth int) error {
	set := 0
	for _, b := range [4]bool{o.Range != nil, o.Put != nil, o.Delete != nil, o.Txn != nil} {
		if b {
			set++
		}
	}
	switch {
	case set != 1:
		return ErrKeyNotFound
	case o.Range != nil:
		return o.Range.validate()
	case o.Put != nil:
		return o.Put.validate()
	case o.Delete != nil:
		if len(o.Delete.Key) == 0 {
			return ErrEmptyKey
		}
		return nil
	}
	return o.Txn.check(ops, depth)
}

func (p *PutRequest) validate() error {
	switch {
	case len(p.Key) == 0:
		return ErrEmptyKey
	case p.IgnoreValue && len(p.Value) != 0:
		return ErrValueProvided
	case p.IgnoreLease && p.Lease != 0:
		return ErrLeaseProvided
	}
	return nil
}

// writes are the keys that a branch may put and the ranges that it may delete.
type writes struct {
	puts map[string]bool
	dels [][2]string
}

func (w *writes) deletes(key string) bool {
	for _, d := range w.dels {
		if inRange(key, d[0], d[1]) {
			return true
		}
	}
	return false
}

func (w *writes) addPut(key string) error {
	if w.puts[key] || w.deletes(key) {
		return ErrDuplicateKey
	}
	w.puts[key] = true
	return nil
}

func (t *TxnRequest) checkDuplicates() error {
	for _, list := range [2][]Op{t.Success, t.Failure} {
		if len(list) == 0 || len(list) == 1 && list[0].Txn == nil {
			continue // the common case: no second operation to collide with
		}
		if _, err := collectWrites(list); err != nil {
			return err
		}
	}
	return nil
}

// collectWrites gathers what a list of operations may write, nested transactions
// included, and fails if a put meets another put or a delete. Two deletes may meet:
// the second finds nothing. The branches of one nested transaction exclude each
// other. Order of operations does not matter, as in etcd.
func collectWrites(list []Op) (*writes, error) {
	w := &writes{puts: map[string]bool{}}
	for i := range list {
		if d := list[i].Delete; d != nil {
			w.dels = append(w.dels, [2]string{string(d.Key), string(d.RangeEnd)})
		}
	}
	for i := range list {
		if list[i].Txn == nil {
			continue
		}
		if err := w.addNested(list[i].Txn); err != nil {
			return nil, err
		}
	}
	for i := range list {
		if p := list[i].Put; p != nil {
			if err := w.addPut(string(p.Key)); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

func (w *writes) addNested(t *TxnRequest) error {
	then, err := collectWrites(t.Success)
	if err != nil {
		return err
	}
	other, err := collectWrites(t.Failure)
	if err != nil {
		return err
	}
	// Which colliding key is met first depends on the map; that there is one does not.
	for key := range then.puts {
		if err := w.addPut(key); err != nil {
			return err
		}
	}
	for key := range other.puts {
		if then.puts[key] {
			continue
		}
		if err := w.addPut(key); err != nil {
			return err
		}
	}
	w.dels = append(append(w.dels, then.dels...), other.dels...)
	return nil
}

func (t *TxnRequest) bytes() int {
	n := 0
	for _, c := range t.Compare {
		n += len(c.Key) + len(c.RangeEnd) + len(c.Value)
	}
	for _, list := range [2][]Op{t.Success, t.Failure} {
		for _, op := range list {
			switch {
			case op.Range != nil:
				n += len(op.Range.Key) + len(op.Range.RangeEnd)
			case op.Put != nil:
				n += len(op.Put.Key) + len(op.Put.Value)
			case op.Delete != nil:
				n += len(op.Delete.Key) + len(op.Delete.RangeEnd)
			case op.Txn != nil:
				n += op.Txn.bytes()
			}
		}
	}
	return n
}
