package etcdapi

import (
	"cmp"
	"net/http"
	"time"
)

// DefaultQuota is the size in bytes above which the key space takes no more puts.
const DefaultQuota = 64 << 20

// Limits bound what clients can make a node hold in memory. A zero field takes its
// default.
type Limits struct {
	// Conns bounds the open connections, ConnsPerHost those of one client address.
	// More are closed as soon as they are accepted. Defaults 4096 and 1024.
	Conns, ConnsPerHost int
	// Watches bounds the watches of all streams, WatchesPerStream those of one.
	// More are refused. Defaults 20,000 and 4096.
	Watches, WatchesPerStream int
	// Patience is how long a client may leave data untaken before its stream, or
	// its connection with HTTP/1, is broken; default 30 s. A client that vanished is
	// noticed sooner, by TCP.
	Patience time.Duration
	// BodyTime is how long the body of a request may take to arrive; default 5 s.
	BodyTime time.Duration
	// QuotaBytes bounds the key space with its history, see kv.Store.Size. Above it
	// only requests are served that do not make it larger; default 64 MiB.
	QuotaBytes int64
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Conns: cmp.Or(l.Conns, 4096), ConnsPerHost: cmp.Or(l.ConnsPerHost, 1024),
		Watches: cmp.Or(l.Watches, 20_000), WatchesPerStream: cmp.Or(l.WatchesPerStream, 4096),
		Patience: cmp.Or(l.Patience, 30*time.Second), BodyTime: cmp.Or(l.BodyTime, 5*time.Second),
		QuotaBytes: cmp.Or(l.QuotaBytes, DefaultQuota),
	}
}

// streamsPerConn bounds the requests that run at once on one HTTP/2 connection.
const streamsPerConn = 2048

// patientWriter breaks a response that the client does not take. While it waits, the
// writer holds one message and the state that it was made from.
type patientWriter struct {
	http.ResponseWriter
	patience time.Duration
	expired  *time.Timer
}

// newPatientWriter starts nothing; each write arms the timer for its own duration.
func newPatientWriter(w http.ResponseWriter, patience time.Duration) *patientWriter {
	rc := http.NewResponseController(w)
	t := time.AfterFunc(patience, func() {
		// A deadline in the past ends the write that is stuck, and with it the handler.
		_ = rc.SetWriteDeadline(time.Unix(1, 0))
	})
	t.Stop()
	return &patientWriter{w, patience, t}
}

func (p *patientWriter) Write(b []byte) (int, error) {
	p.expired.Reset(p.patience)
	defer p.expired.Stop()
	return p.ResponseWriter.Write(b)
}

// Flush implements http.Flusher, which the gRPC server and the gateway ask for.
func (p *patientWriter) Flush() {
	p.expired.Reset(p.patience)
	defer p.expired.Stop()
	_ = http.NewResponseController(p.ResponseWriter).Flush() // a write error shows at the next write
}

// Unwrap is for http.ResponseController.
func (p *patientWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }
