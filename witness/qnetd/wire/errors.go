package wire

import (
	"errors"
	"fmt"
	"strings"
)

// ErrorCode is the protocol's reply error code.
type ErrorCode uint16

// Reply error codes.
const (
	NoError                         ErrorCode = 0
	UnsupportedNeededMessage        ErrorCode = 1
	UnsupportedNeededOption         ErrorCode = 2
	TLSIsRequired                   ErrorCode = 3
	UnsupportedMessage              ErrorCode = 4
	MessageTooLong                  ErrorCode = 5
	PreinitRequired                 ErrorCode = 6
	DoesntContainRequiredOption     ErrorCode = 7
	UnexpectedMessage               ErrorCode = 8
	ErrorDecodingMessage            ErrorCode = 9
	InternalError                   ErrorCode = 10
	InitRequired                    ErrorCode = 11
	UnsupportedAlgorithm            ErrorCode = 12
	InvalidHeartbeatInterval        ErrorCode = 13
	UnsupportedAlgorithmMessage     ErrorCode = 14
	TieBreakerDiffersFromOtherNodes ErrorCode = 15
	AlgorithmDiffersFromOtherNodes  ErrorCode = 16
	DuplicateNodeID                 ErrorCode = 17
	InvalidConfigNodeList           ErrorCode = 18
	InvalidMembershipNodeList       ErrorCode = 19
)

var codeNames = []string{
	"NO_ERROR", "UNSUPPORTED_NEEDED_MESSAGE", "UNSUPPORTED_NEEDED_OPTION", "TLS_REQUIRED", "UNSUPPORTED_MESSAGE", "MESSAGE_TOO_LONG",
	"PREINIT_REQUIRED", "DOESNT_CONTAIN_REQUIRED_OPTION", "UNEXPECTED_MESSAGE", "ERROR_DECODING_MSG", "INTERNAL_ERROR", "INIT_REQUIRED",
	"UNSUPPORTED_DECISION_ALGORITHM", "INVALID_HEARTBEAT_INTERVAL", "UNSUPPORTED_DECISION_ALGORITHM_MESSAGE",
	"TIE_BREAKER_DIFFERS_FROM_OTHER_NODES", "ALGORITHM_DIFFERS_FROM_OTHER_NODES", "DUPLICATE_NODE_ID", "INVALID_CONFIG_NODE_LIST",
	"INVALID_MEMBERSHIP_NODE_LIST",
}

// String is the protocol's own name of the code.
func (c ErrorCode) String() string { return nameOf("error", codeNames, int(c)) }

// DecodeError is a message that is not well formed.
type DecodeError struct {
	Type   Type
	Option Option // the one at fault, if Known
	Known  bool
	Why    string
}

func (e *DecodeError) Error() string {
	if e.Known {
		return fmt.Sprintf("%v does not decode: option %v %s", e.Type, e.Option, e.Why)
	}
	return fmt.Sprintf("%v does not decode: %s", e.Type, e.Why)
}

// MissingError is a well-formed message without options that its receiver needs.
type MissingError struct {
	Type    Type
	Options []Option // all that are missing
	Seq     uint32   // of the message, if it has one
	HasSeq  bool
}

func (e *MissingError) Error() string {
	names := make([]string, len(e.Options))
	for i, o := range e.Options {
		names[i] = o.String()
	}
	return fmt.Sprintf("%v lacks %s", e.Type, strings.Join(names, ", "))
}

// UnsupportedError is a message of an unknown type.
type UnsupportedError struct{ Type Type }

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("message type %d is not one of this protocol", uint16(e.Type))
}

// TooLongError is a message longer than the reader's limit.
type TooLongError struct {
	Type   Type
	Length uint64 // header included
	Limit  int
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("%v of %d bytes is longer than the limit of %d", e.Type, e.Length, e.Limit)
}

// CodeOf is the code that the real server answers to a message that failed so;
// false means that the error is one of the connection, and there is nothing to
// answer.
func CodeOf(err error) (ErrorCode, bool) {
	var (
		decode      *DecodeError
		missing     *MissingError
		unsupported *UnsupportedError
		long        *TooLongError
	)
	switch {
	case errors.As(err, &decode):
		return ErrorDecodingMessage, true
	case errors.As(err, &missing):
		return DoesntContainRequiredOption, true
	case errors.As(err, &unsupported):
		return UnsupportedMessage, true
	case errors.As(err, &long):
		return MessageTooLong, true
	}
	return NoError, false
}
