// Package probe looks at hosts from this witness and reports edges.
//
// Two kinds of sign of life are watched. Reach: can this witness open a TCP
// connection to any service of the host's member, as Patroni's own keys name
// them? Session: does the host keep its own connections to this witness? The
// second does not depend on the first, and together with the leader's watch of
// renewals they are what fast fencing asks to agree.
//
// Only edges are proposed, and a "down" is asserted again while it lasts. What
// has been reported is read back from the replicated state, so the reporter
// has no memory that could differ from what the others believe.
package probe
