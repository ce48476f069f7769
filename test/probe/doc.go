// Package probe watches a PostgreSQL cluster through a failover, as its clients
// see it and as its hosts cannot hide it:
//
//   - Writes inserts numbered rows all the time on the primary that it is told
//     of, by DNS or by a list of hosts; its gaps are the write outages, and at
//     the end it counts the acknowledged rows that are gone.
//   - Writers asks every host by itself whether it accepts a write, over a way
//     that works when the host is cut off; Conflicts finds instants at which two
//     of them did.
//   - Names polls DNS servers and records when each changed its answer.
package probe
