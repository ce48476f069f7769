package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"quorate/witness"
	"quorate/witness/httpapi"
)

// The exit codes. They are stable: scripts depend on them.
const (
	ExitOK       = 0
	ExitError    = 1 // anything else: wrong usage, bad input, no witness answers
	ExitRefused  = 2 // a rule forbids it
	ExitApproval = 3 // it waits for somebody's approval
	ExitNoQuorum = 4 // the witnesses have no majority
	ExitUnproven = 5 // a power-off ended, or went on for too long, without proof
)

const exitHelp = `Exit codes:
  0  done
  1  another error: wrong usage, bad input, no witness answers
  2  refused by a rule; the message names it and the command that explains it
  3  waiting for approval: a second person has to agree
  4  no quorum: the witnesses have no majority, and nothing is decided
  5  unproven: whether the host is off is not known`

var exitCodes = map[witness.Code]int{
	witness.CodeRefused:  ExitRefused,
	witness.CodeGuarded:  ExitRefused,
	witness.CodeNoQuorum: ExitNoQuorum,
	witness.CodeUnproven: ExitUnproven,
}

// exitError ends the program with a code and, unless it is nil, an error.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// exit reports an error and returns the exit code for it.
func (a *app) exit(err error) int {
	if err == nil {
		return ExitOK
	}
	code := ExitError
	var exit *exitError
	var api *httpapi.Error
	switch {
	case errors.As(err, &api):
		if c, ok := exitCodes[api.Code]; ok {
			code = c
		}
		var done *reported
		if a.format != formatTable && !errors.As(err, &done) {
			_ = a.structured(api) // the sentence on the error output says the same
		}
		a.reportAPI(api)
	case errors.As(err, &exit):
		code = exit.code
		fmt.Fprintln(a.err, "witnessctl:", err)
	default:
		fmt.Fprintln(a.err, "witnessctl:", err)
	}
	return code
}

// reportAPI words a failure that a witness answered.
func (a *app) reportAPI(e *httpapi.Error) {
	if len(e.Faults) > 0 {
		fmt.Fprintln(a.err, e.Faults.Error())
		fmt.Fprintf(a.err, "witnessctl: %s, nothing is applied\n", count(len(e.Faults), "fault"))
		return
	}
	switch {
	case e.Rule != "":
		fmt.Fprintf(a.err, "witnessctl: refused by rule %s: %s\n", e.Rule, e.Message)
	case e.Code == witness.CodeUnproven:
		fmt.Fprintf(a.err, "witnessctl: unproven: %s\n", e.Message)
	default:
		fmt.Fprintf(a.err, "witnessctl: %s\n", e.Message)
	}
	if e.Explain != "" {
		fmt.Fprintf(a.err, "  why: %s\n", e.Explain)
	}
}

// decodeError reads the body of an answer that is no success.
func decodeError(status int, raw []byte) error {
	var e httpapi.Error
	if json.Unmarshal(raw, &e) != nil || e.Code == "" {
		return fmt.Errorf("the answer is no witness's: status %d, %.200q; is --server right?", status, raw)
	}
	return &e
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
