// Package raftlog keeps Raft's log, term and vote on disk.
//
// The log is a hashicorp/raft-wal: segments of a few MiB, one sync for each
// append. Term and vote are in a raft-boltdb beside it. Both are in one
// directory, "raft" in the data directory of a witness, which appears there in
// one step, so that log and vote exist together or not at all:
//
//	raft/stable.db                       term, vote, and the floor (see Store)
//	raft/wal-meta.db                     raft-wal's list of segments
//	raft/00000000000000000001-….wal      entries
//
// raft-wal assumes that what was synced once stays as it was: it takes a
// damaged end of its last segment for a torn write, and reads entries without a
// checksum. This package assumes less. Every entry carries a checksum, and the
// index up to which the log was synced when the entry was written; see record.go.
//
// A directory of an earlier version, with log and vote in one raft-boltdb
// ("raft.db"), is taken over when it is opened: the new directory is built and
// synced beside it, renamed into place, and only then raft.db is removed.
package raftlog
