package etcdapi

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quorate/witness/kv"
)

// toStatus is the one table from errors of the state to what etcd sends.
func toStatus(err error) error {
	for _, e := range [...]struct{ from, to error }{
		{kv.ErrEmptyKey, rpctypes.ErrGRPCEmptyKey},
		{kv.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
		{kv.ErrValueProvided, rpctypes.ErrGRPCValueProvided},
		{kv.ErrLeaseProvided, rpctypes.ErrGRPCLeaseProvided},
		{kv.ErrTooManyOps, rpctypes.ErrGRPCTooManyOps},
		{kv.ErrDuplicateKey, rpctypes.ErrGRPCDuplicateKey},
		{kv.ErrInvalidSort, rpctypes.ErrGRPCInvalidSortOption},
		{kv.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
		{kv.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
		{kv.ErrCompacted, rpctypes.ErrGRPCCompacted},
		{kv.ErrFutureRevision, rpctypes.ErrGRPCFutureRev},
		{kv.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
		{kv.ErrLeaseExists, rpctypes.ErrGRPCLeaseExist},
		{kv.ErrLeaseTTLTooLarge, rpctypes.ErrGRPCLeaseTTLTooLarge},
		{ErrNoLeader, rpctypes.ErrGRPCNoLeader},
		{context.DeadlineExceeded, rpctypes.ErrGRPCTimeout},
		{context.Canceled, rpctypes.ErrGRPCCanceled},
	} {
		if errors.Is(err, e.from) {
			return e.to
		}
	}
	if errors.Is(err, ErrGuarded) {
		return guardStatus(err)
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unknown, err.Error())
}

// guardStatus is the refusal of a change to a guarded leader key.
//
// The code decides what Patroni 3.0.2 does in its leader update, which puts `leader`
// without a compare when its lease has changed. Codes that it does not repeat
// (NotFound, PermissionDenied, InvalidArgument) raise an exception that is swallowed
// right there, and the update counts as a success: the node would go on as leader.
// FailedPrecondition is one of the three codes that it repeats until retry_timeout;
// the exception of the last attempt is not swallowed, and the node demotes itself.
func guardStatus(err error) error {
	return status.Error(codes.FailedPrecondition, "quorate: "+err.Error())
}
