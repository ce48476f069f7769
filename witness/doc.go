// Package witness is the domain of Quorate: what the witnesses agree on, how
// one log entry changes it, and which decision follows from it.
//
// The package is pure. It imports the standard library and witness/kv only; it
// has no clock, no goroutine, no randomness and no I/O. Three functions carry
// it:
//
//   - [State.Apply] turns one committed log entry into the next state and the
//     events that it caused. Every witness runs it and gets the same result.
//   - [Decide] looks at a state and returns the next [Plan], or none, together
//     with the rules that it evaluated. Only the leader runs it; its plan is
//     itself a log entry, so the log holds every decision and its reason.
//   - [Check] refuses, inside Apply, a plan that would break a safety rule, so
//     that a wrong or stale decision cannot take effect.
//
// A State is an immutable value: Apply never changes its receiver, and two
// states share all that the entry between them did not touch.
package witness
