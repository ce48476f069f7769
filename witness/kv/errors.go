package kv

import "errors"

// The text of these errors is part of the protocol: clients (Patroni among them)
// recognise an error by its exact string. Source: etcd api/v3rpc/rpctypes.
var (
	// ErrEmptyKey: a request names no key.
	ErrEmptyKey = errors.New("etcdserver: key is not provided")
	// ErrKeyNotFound: a put with ignore_value or ignore_lease needs an existing key;
	// also the answer to an operation of a transaction that holds no request.
	ErrKeyNotFound = errors.New("etcdserver: key not found")
	// ErrValueProvided: a put has both ignore_value and a value.
	ErrValueProvided = errors.New("etcdserver: value is provided")
	// ErrLeaseProvided: a put has both ignore_lease and a lease.
	ErrLeaseProvided = errors.New("etcdserver: lease is provided")
	// ErrTooManyOps: more compares or operations than [Limits] allows.
	ErrTooManyOps = errors.New("etcdserver: too many operations in txn request")
	// ErrDuplicateKey: one transaction would change one key twice.
	ErrDuplicateKey = errors.New("etcdserver: duplicate key given in txn request")
	// ErrInvalidSort: an unknown sort order or sort target.
	ErrInvalidSort = errors.New("etcdserver: invalid sort option")
	// ErrTooLarge: the request has more bytes than [Limits] allows.
	ErrTooLarge = errors.New("etcdserver: request is too large")
	// ErrNoSpace: the key space has reached its quota (see [Store.Size]).
	ErrNoSpace = errors.New("etcdserver: mvcc: database space exceeded")
	// ErrCompacted: the history of that revision is gone.
	ErrCompacted = errors.New("etcdserver: mvcc: required revision has been compacted")
	// ErrFutureRevision: that revision does not exist yet.
	ErrFutureRevision = errors.New("etcdserver: mvcc: required revision is a future revision")
	// ErrLeaseNotFound: no such lease, or it is dead (see [Store.Kill]).
	ErrLeaseNotFound = errors.New("etcdserver: requested lease not found")
	// ErrLeaseExists: the identifier is already in use.
	ErrLeaseExists = errors.New("etcdserver: lease already exists")
	// ErrLeaseTTLTooLarge: more than [MaxLeaseTTL] seconds.
	ErrLeaseTTLTooLarge = errors.New("etcdserver: too large lease TTL")
)
