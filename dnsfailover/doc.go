// Package dnsfailover is the authoritative DNS server of a witness. Its answers
// are a view of the replicated state: nothing is decided here, and nothing is
// stored here.
//
// The way of an answer:
//
//	Build     state, as small plain structs  →  *View     pure, the same on every node
//	compile   *View                          →  *index    pure, once per view
//	resolve   *index, age, question          →  answer    pure, no locks
//	respond   query bytes                    →  reply bytes (header rules, EDNS, truncation)
//	Server    sockets, metrics, swapping the index when the [Source] changes
//
// One query reads the index pointer once, so that an answer never mixes two
// views.
//
// The package imports nothing else of Quorate: the witness hands it a [Source].
package dnsfailover
