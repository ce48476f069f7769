// Package httpapi is the JSON API of a witness under /v1, with health,
// metrics, an event stream and the role checks of load balancers.
//
// Every witness serves all of it. Reads come from the local state and say how
// old that is; consistent=1 makes one linearizable. Writes go to the leader
// through [Backend]. Without contact to a quorum a witness refuses writes and
// goes on answering reads, so a load balancer that asks it does not take down
// a healthy primary.
//
// The OpenAPI document at /openapi.json is generated from the types here.
package httpapi
