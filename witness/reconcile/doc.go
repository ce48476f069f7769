// Package reconcile is the one loop that turns agreed state into deeds.
//
// On the leader it asks [witness.Decide] for the next plan and proposes it; on
// every witness it executes the pending actions that are its own and proposes
// how they ended. It holds no opinion and no memory: what is pending stands in
// the state, so a new leader needs no hand-over.
//
// The order of one action is fixed: the plan is committed, then leadership is
// verified (or, for an action assigned to this witness by name, contact with
// the quorum), then the device is touched, then the outcome is committed.
package reconcile
