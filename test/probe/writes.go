package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// connectTimeout and statementTimeout are what a careful client sets.
	connectTimeout   = time.Second
	statementTimeout = time.Second
)

// Schema makes the tables that the probes write to.
const Schema = `
CREATE TABLE IF NOT EXISTS probe_writes  (run bigint, id bigint, at timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (run, id));
CREATE TABLE IF NOT EXISTS probe_writers (host text, at timestamptz DEFAULT clock_timestamp());`

// Writes is the write probe.
type Writes struct {
	// Find locates the primary at each new connection.
	Find Finder
	// Dial opens the connections to PostgreSQL.
	Dial Dial
	// Port is PostgreSQL's TCP port.
	Port string
	// Interval is the time between two writes, e.g. 20 ms.
	Interval time.Duration
	// Log receives one JSON line per change of node and per error; may be nil.
	Log io.Writer

	run  int64
	conn *pgx.Conn
	node string
	last string // last error that was logged

	mu     sync.Mutex
	acked  []Ack
	failed []time.Time
}

// Ack is one acknowledged row.
type Ack struct {
	ID   int64
	Node string
	At   time.Time // when the acknowledgement arrived
}

// Run writes until the context is cancelled, which is not an error.
func (w *Writes) Run(ctx context.Context) error {
	w.run = time.Now().UnixNano()
	tick := time.NewTicker(w.Interval)
	defer tick.Stop()
	defer w.drop()
	for id := int64(1); ; id++ {
		if err := w.write(ctx, id); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			w.mu.Lock()
			w.failed = append(w.failed, time.Now())
			w.mu.Unlock()
			w.logError(err)
			w.drop()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// write inserts one row, connecting first if need be. A row whose
// acknowledgement did not arrive may exist; its number is not used again.
func (w *Writes) write(ctx context.Context, id int64) error {
	if w.conn == nil {
		conn, node, err := w.connect(ctx)
		if err != nil {
			return err
		}
		w.conn, w.node = conn, node
	}
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	if _, err := w.conn.Exec(ctx, "INSERT INTO probe_writes (run, id) VALUES ($1, $2)", w.run, id); err != nil {
		return err
	}
	ack := Ack{ID: id, Node: w.node, At: time.Now()}
	w.mu.Lock()
	changed := len(w.acked) == 0 || w.acked[len(w.acked)-1].Node != ack.Node
	w.acked = append(w.acked, ack)
	w.mu.Unlock()
	if changed {
		w.line(map[string]any{"at": ack.At, "event": "node", "node": ack.Node, "id": id})
	}
	w.last = ""
	return nil
}

// connect returns a connection to the first found host that is not in recovery.
func (w *Writes) connect(ctx context.Context) (*pgx.Conn, string, error) {
	nodes, err := w.Find.Find(ctx)
	if err != nil {
		return nil, "", err
	}
	var errs []error
	for _, node := range nodes {
		conn, err := connectPrimary(ctx, w.Dial, node, w.Port)
		if err == nil {
			return conn, node, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", node, err))
	}
	return nil, "", errors.Join(errs...)
}

// errRecovery is a host that runs and is not the primary.
var errRecovery = errors.New("in recovery")

func connectPrimary(ctx context.Context, dial Dial, node, port string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := connectNode(ctx, dial, node, port)
	if err != nil {
		return nil, err
	}
	if err := checkPrimary(ctx, conn); err != nil {
		return nil, errors.Join(err, closeNow(conn))
	}
	return conn, nil
}

// connectNode connects to a host's PostgreSQL whatever its role. A node that is
// a path is the directory of a Unix socket.
func connectNode(ctx context.Context, dial Dial, node, port string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("host=" + node + " port=" + port +
		" user=postgres dbname=postgres sslmode=disable application_name=probe statement_timeout=1000")
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // no cache to invalidate, one round trip
	if dial != nil {
		config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, network, address)
		}
	}
	return pgx.ConnectConfig(ctx, config)
}

// checkPrimary returns errRecovery from a standby.
func checkPrimary(ctx context.Context, conn *pgx.Conn) error {
	var recovery bool
	if err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&recovery); err != nil {
		return err
	}
	if recovery {
		return errRecovery
	}
	return nil
}

// closeNow closes without waiting for a server that may be gone.
func closeNow(conn *pgx.Conn) error {
	return conn.PgConn().Conn().Close()
}

func (w *Writes) drop() {
	if w.conn != nil {
		_ = closeNow(w.conn) // the reason for dropping it was reported
		w.conn = nil
	}
}

// logError writes each error once until it changes.
func (w *Writes) logError(err error) {
	if text := err.Error(); text != w.last {
		w.last = text
		w.line(map[string]any{"at": time.Now(), "event": "error", "node": w.node, "error": text})
	}
}

func (w *Writes) line(v any) {
	if w.Log == nil {
		return
	}
	b, err := json.Marshal(v)
	if err == nil {
		_, _ = w.Log.Write(append(b, '\n')) // a lost line of the log is no fault of the cluster
	}
}

// Acked returns the rows acknowledged so far, oldest first.
func (w *Writes) Acked() []Ack {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acked)
}

// FailedBetween says whether an attempt failed in a span of time: it helps to tell a
// cluster that refuses from one that is slow.
func (w *Writes) FailedBetween(from, to time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.failed, func(at time.Time) bool { return !at.Before(from) && !at.After(to) })
}

// Lost asks the present primary for the rows of this run and returns the numbers
// of the acknowledged ones that it does not have. To be called after Run.
func (w *Writes) Lost(ctx context.Context) ([]int64, error) {
	conn, _, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = closeNow(conn) }()
	rows, err := conn.Query(ctx, "SELECT id FROM probe_writes WHERE run = $1", w.run)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	return missing(w.Acked(), ids), nil
}

func missing(acked []Ack, present []int64) []int64 {
	has := make(map[int64]bool, len(present))
	for _, id := range present {
		has[id] = true
	}
	var lost []int64
	for _, a := range acked {
		if !has[a.ID] {
			lost = append(lost, a.ID)
		}
	}
	return lost
}
