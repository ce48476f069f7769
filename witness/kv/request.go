package kv

// KeyValue is one version of a key. It must not be modified.
type KeyValue struct {
	Key            []byte `json:"k"`
	Value          []byte `json:"v,omitempty"`
	CreateRevision int64  `json:"c,omitempty"` // revision at which this life of the key began
	ModRevision    int64  `json:"m,omitempty"` // revision of the last change
	Version        int64  `json:"n,omitempty"` // changes since creation, from 1
	Lease          int64  `json:"l,omitempty"` // 0 = no lease
}

// EventType says what happened to a key. The numbers are those of mvccpb.Event.
type EventType int

// The two kinds of change.
const (
	Put EventType = iota
	Delete
)

// Event is one change of one key.
type Event struct {
	Type EventType `json:"t,omitempty"`
	// KV is the new version; for Delete it has only Key and ModRevision.
	KV *KeyValue `json:"kv"`
	// Prev is the version before, nil if there was none or if it is compacted.
	Prev *KeyValue `json:"p,omitempty"`
}

// SortOrder of a range result; numbers of etcdserverpb.RangeRequest.
type SortOrder int

// Sort orders.
const (
	SortNone SortOrder = iota
	SortAscend
	SortDescend
)

// SortTarget is the field to sort by; numbers of etcdserverpb.RangeRequest.
type SortTarget int

// Sort targets.
const (
	SortByKey SortTarget = iota
	SortByVersion
	SortByCreate
	SortByMod
	SortByValue
)

// RangeRequest reads one key (RangeEnd empty), the keys in [Key, RangeEnd), or all
// keys from Key on (RangeEnd is one zero byte).
type RangeRequest struct {
	Key      []byte `json:"k"`
	RangeEnd []byte `json:"e,omitempty"`
	Revision int64  `json:"rev,omitempty"`   // 0 or less = the current one
	Limit    int64  `json:"limit,omitempty"` // 0 or less = no limit

	SortOrder  SortOrder  `json:"order,omitempty"`
	SortTarget SortTarget `json:"target,omitempty"`

	// Bounds on the revisions of the returned keys; 0 = no bound.
	MinModRevision    int64 `json:"minMod,omitempty"`
	MaxModRevision    int64 `json:"maxMod,omitempty"`
	MinCreateRevision int64 `json:"minCreate,omitempty"`
	MaxCreateRevision int64 `json:"maxCreate,omitempty"`

	KeysOnly  bool `json:"keysOnly,omitempty"`
	CountOnly bool `json:"countOnly,omitempty"`
}

// RangeResult answers a RangeRequest.
type RangeResult struct {
	KVs      []*KeyValue `json:"kvs,omitempty"`
	More     bool        `json:"more,omitempty"`  // the limit cut something off
	Count    int64       `json:"count,omitempty"` // keys in the range, whatever limit and bounds say
	Revision int64       `json:"rev"`             // current revision, not the one that was read
}

// PutRequest writes one key.
type PutRequest struct {
	Key         []byte `json:"k"`
	Value       []byte `json:"v,omitempty"`
	Lease       int64  `json:"l,omitempty"` // 0 detaches the key from its lease
	PrevKV      bool   `json:"prev,omitempty"`
	IgnoreValue bool   `json:"keepValue,omitempty"` // keep the present value
	IgnoreLease bool   `json:"keepLease,omitempty"` // keep the present lease
}

// PutResult answers a PutRequest.
type PutResult struct {
	Revision int64     `json:"rev"`
	Prev     *KeyValue `json:"p,omitempty"` // only if asked for
}

// DeleteRequest deletes one key or a range; Key and RangeEnd as in RangeRequest.
type DeleteRequest struct {
	Key      []byte `json:"k"`
	RangeEnd []byte `json:"e,omitempty"`
	PrevKV   bool   `json:"prev,omitempty"`
}

// DeleteResult answers a DeleteRequest.
type DeleteResult struct {
	Revision int64       `json:"rev"`
	Deleted  int64       `json:"n,omitempty"`
	Prev     []*KeyValue `json:"p,omitempty"` // only if asked for
}

// CompareResult is the relation that the stored value must have to the given one;
// numbers of etcdserverpb.Compare.
type CompareResult int

// Relations.
const (
	Equal CompareResult = iota
	Greater
	Less
	NotEqual
)

// CompareTarget is the field that is compared; numbers of etcdserverpb.Compare.
type CompareTarget int

// Fields to compare.
const (
	CompareVersion CompareTarget = iota
	CompareCreate
	CompareMod
	CompareValue
	CompareLease
)

// Compare is one condition of a transaction. Over a range it must hold for every
// key; over no key at all the numbers compare as 0 and a value compare is false.
type Compare struct {
	Key      []byte        `json:"k"`
	RangeEnd []byte        `json:"e,omitempty"`
	Target   CompareTarget `json:"t,omitempty"`
	Result   CompareResult `json:"r,omitempty"`
	Value    []byte        `json:"v,omitempty"` // for CompareValue
	Number   int64         `json:"n,omitempty"` // for all other targets
}

// Op is one operation of a transaction: exactly one field is set.
type Op struct {
	Range  *RangeRequest  `json:"range,omitempty"`
	Put    *PutRequest    `json:"put,omitempty"`
	Delete *DeleteRequest `json:"del,omitempty"`
	Txn    *TxnRequest    `json:"txn,omitempty"`
}

// TxnRequest is a transaction: if all compares hold the Success operations are run,
// otherwise those of Failure. A single put or delete is a transaction without
// compares. Its JSON form is what the replicated log stores.
type TxnRequest struct {
	Compare []Compare `json:"if,omitempty"`
	Success []Op      `json:"then,omitempty"`
	Failure []Op      `json:"else,omitempty"`
}

// OpResult answers one Op; the same field is set.
type OpResult struct {
	Range  *RangeResult  `json:"range,omitempty"`
	Put    *PutResult    `json:"put,omitempty"`
	Delete *DeleteResult `json:"del,omitempty"`
	Txn    *TxnResult    `json:"txn,omitempty"`
}

// TxnResult answers a TxnRequest.
type TxnResult struct {
	// Revision after the transaction. It is 0 in the result of a nested
	// transaction, where etcd sends an empty header too.
	Revision  int64      `json:"rev,omitempty"`
	Succeeded bool       `json:"ok,omitempty"`
	Responses []OpResult `json:"res,omitempty"`
}

// PutTxn returns the transaction that is a single put.
func PutTxn(r PutRequest) TxnRequest { return TxnRequest{Success: []Op{{Put: &r}}} }

// DeleteTxn returns the transaction that is a single delete.
func DeleteTxn(r DeleteRequest) TxnRequest { return TxnRequest{Success: []Op{{Delete: &r}}} }

// PrefixEnd returns the RangeEnd for all keys that begin with prefix.
func PrefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return fromKey
}
