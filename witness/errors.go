package witness

import (
	"errors"
	"fmt"
)

// Code says what kind of failure an [Error] is. Frontends map it to HTTP, gRPC
// and exit codes in one table each.
type Code string

// The codes.
const (
	CodeInvalid   Code = "invalid"   // the input is wrong; nothing changed
	CodeNotFound  Code = "not-found" // what it names does not exist
	CodeConflict  Code = "conflict"  // the state moved on; look again
	CodeRefused   Code = "refused"   // a rule forbids it; Rule names it
	CodeGuarded   Code = "guarded"   // the key belongs to a holder that is not released
	CodeNoQuorum  Code = "no-quorum" // there is no leader, or it cannot be reached
	CodeUnproven  Code = "unproven"  // a fence ended without proof
	CodeKV        Code = "kv"        // an etcd error; Msg is etcd's own text
	CodeExhausted Code = "exhausted" // a limit is reached
	CodeInternal  Code = "internal"  // a fault of ours
)

// Error is a failure that crosses the edge of the program.
type Error struct {
	Code Code   `json:"code"`
	Rule string `json:"rule,omitempty"` // id of the rule that refused
	Msg  string `json:"msg"`
}

// Error returns the message for the operator.
func (e *Error) Error() string {
	if e.Rule != "" {
		return fmt.Sprintf("%s (rule %s)", e.Msg, e.Rule)
	}
	return e.Msg
}

// Is makes errors.Is(err, &Error{Code: c}) compare codes, and lets a key space
// error that travelled through the log match its kv sentinel again.
func (e *Error) Is(target error) bool {
	var t *Error
	if errors.As(target, &t) {
		return t.Code == e.Code && (t.Rule == "" || t.Rule == e.Rule)
	}
	return e.Code == CodeKV && target.Error() == e.Msg
}

// ErrorCode returns the code of err, or CodeInternal.
func ErrorCode(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// ErrNoQuorum says that this witness has no leader to ask.
var ErrNoQuorum = &Error{Code: CodeNoQuorum, Msg: "no leader: fewer than a majority of the witnesses can talk to each other; see `witnessctl status` on each of them"}

func kvError(err error) *Error {
	if err == nil {
		return nil
	}
	return &Error{Code: CodeKV, Msg: err.Error()}
}

func errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

func refusedf(rule, format string, args ...any) *Error {
	return &Error{Code: CodeRefused, Rule: rule, Msg: fmt.Sprintf(format, args...)}
}
