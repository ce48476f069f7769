package probe

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Target is one database host, reached by its Unix socket: the socket is a file,
// so no cut network hides a primary that still accepts writes.
type Target struct {
	Name string
	// SocketDir is the directory of PostgreSQL's Unix socket.
	SocketDir string
	Port      string
}

// Accept is one write that a host accepted. It was committed at some instant
// between Start and End.
type Accept struct {
	Host       string
	Start, End time.Time
	// Run numbers the host's uninterrupted series of accepted writes.
	Run int
	// Timeline is PostgreSQL's timeline that the write went to.
	Timeline int64
}

// Writers is the probe for two writers at once.
type Writers struct {
	Targets []Target
	// Interval is the time between two attempts on one host, e.g. 20 ms.
	Interval time.Duration

	mu       sync.Mutex
	accepted []Accept
}

// Run tries to write on every host, each in a goroutine of its own, until the
// context is cancelled, which is not an error.
func (w *Writers) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, target := range w.Targets {
		group.Go(func() { w.watch(ctx, target) })
	}
	group.Wait()
	return nil
}

// Accepted returns the writes accepted so far in the order of their end.
func (w *Writers) Accepted() []Accept {
	w.mu.Lock()
	defer w.mu.Unlock()
	accepted := slices.Clone(w.accepted)
	slices.SortFunc(accepted, func(a, b Accept) int { return a.End.Compare(b.End) })
	return accepted
}

func (w *Writers) watch(ctx context.Context, target Target) {
	var conn *pgx.Conn
	drop := func() {
		if conn != nil {
			_ = closeNow(conn) // its failure was the reason
			conn = nil
		}
	}
	defer drop()
	tick := time.NewTicker(w.Interval)
	defer tick.Stop()
	run, accepting := 0, false
	for ctx.Err() == nil {
		accept, err := attempt(ctx, &conn, target, accepting)
		if err == nil {
			if !accepting {
				run, accepting = run+1, true
			}
			accept.Run = run
			w.mu.Lock()
			w.accepted = append(w.accepted, accept)
			w.mu.Unlock()
		} else {
			accepting = false
			if !errors.Is(err, errRecovery) {
				drop()
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// attempt writes one row, connecting first if need be. Unless the host has just
// accepted a write it is asked first whether it is in recovery, so that its log
// is not filled with refused writes.
func attempt(ctx context.Context, conn **pgx.Conn, target Target, accepting bool) (Accept, error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	if *conn == nil {
		c, err := connectNode(ctx, nil, target.SocketDir, target.Port)
		if err != nil {
			return Accept{}, err
		}
		*conn = c
	}
	if !accepting {
		if err := checkPrimary(ctx, *conn); err != nil {
			return Accept{}, err
		}
	}
	accept := Accept{Host: target.Name, Start: time.Now()}
	err := (*conn).QueryRow(ctx, `INSERT INTO probe_writers (host) VALUES ($1)
		RETURNING ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint`,
		target.Name).Scan(&accept.Timeline)
	accept.End = time.Now()
	return accept, err
}
