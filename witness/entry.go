package witness

import (
	"encoding/json"
	"time"

	"quorate/witness/kv"
)

// Time is cluster time: how long the witness cluster has been led, summed over
// all leaders. The leader stamps it on every entry: the clock of the state at
// its election plus its own monotonic time since then. It stands still while
// there is no leader and never follows a wall clock, so a stepped clock can
// neither expire a lease nor fence a machine.
type Time = time.Duration

// Entry is one committed log entry as every witness applies it.
type Entry struct {
	Index uint64 // position in the Raft log
	Term  uint64 // Raft term in which it was proposed
	Stamp Stamp
	Cmd   Command
}

// Stamp is what the leader adds to a command when it proposes it.
type Stamp struct {
	Time Time  `json:"t"` // cluster time
	Wall int64 `json:"w"` // Unix milliseconds; for people, never compared
}

// Command is what an entry asks for. The set is closed: see the kinds table.
type Command interface{ kind() string }

type (
	// Bootstrap names the witness cluster; it is the first entry of a log.
	Bootstrap struct {
		ClusterID uint64 `json:"id"`
	}
	// Txn changes the key space through the etcd API.
	Txn struct {
		Req kv.TxnRequest `json:"req"`
	}
	// LeaseGrant creates a lease. TTL is in seconds.
	LeaseGrant struct {
		ID  int64 `json:"id"`
		TTL int64 `json:"ttl"`
	}
	// LeaseRevoke ends a lease at a client's wish.
	LeaseRevoke struct {
		ID int64 `json:"id"`
	}
	// LeaseExpire ends leases whose deadline has passed on the leader. It is
	// void when Term is not the term of its entry: only the leader that
	// watched the deadline may expire a lease. Epochs, in the order of IDs, say
	// which incarnation of each lease was watched (kv.Lease.Epoch); a lease
	// that was ended and granted anew under the same id is another one.
	LeaseExpire struct {
		IDs    []int64  `json:"ids"`
		Term   uint64   `json:"term"`
		Epochs []uint64 `json:"epochs,omitempty"`
	}
	// LeaseCheckpoint records how long leases have left that were not renewed for
	// a while, so that a change of leader does not give them their full time
	// again. What it says is void when Term is not the term of its entry, except
	// that marks may be taken back in any term. See docs/consensus.md.
	LeaseCheckpoint struct {
		Rests []LeaseRest `json:"rests"`
		Term  uint64      `json:"term"`
	}
	// Compact drops key history below Rev.
	Compact struct {
		Rev int64 `json:"rev"`
	}
	// Configure replaces the declared configuration. Base is the version that
	// the author saw; zero means "whatever is there".
	Configure struct {
		Config Config `json:"config"`
		Base   uint64 `json:"base,omitempty"`
		By     string `json:"by,omitempty"`
	}
	// Observe reports edges that a witness saw.
	Observe struct {
		Witness string        `json:"from"`
		Items   []Observation `json:"items"`
	}
	// RequestCmd asks for something on behalf of a person or a program.
	RequestCmd struct {
		Request Request `json:"request"`
	}
	// PlanCmd is a decision together with the intent to carry it out.
	PlanCmd struct {
		Plan Plan `json:"plan"`
	}
	// Finished reports how an action ended.
	Finished struct {
		Action   string          `json:"action"`
		Executor string          `json:"executor"`
		Outcome  Outcome         `json:"outcome"`
		Grade    Grade           `json:"grade,omitempty"`
		Reason   string          `json:"reason"`
		Evidence json.RawMessage `json:"evidence,omitempty"`
	}
	// RefreshDNS changes no answer, but lets all witnesses sign their zones anew, with
	// a new serial, before the present signatures end.
	RefreshDNS struct{}
	// Touch records that a node asks for nothing but the current position;
	// the leader proposes one after an election so that its term is visible.
	Touch struct{}
)

func (Bootstrap) kind() string       { return "bootstrap" }
func (Txn) kind() string             { return "txn" }
func (LeaseGrant) kind() string      { return "lease-grant" }
func (LeaseRevoke) kind() string     { return "lease-revoke" }
func (LeaseExpire) kind() string     { return "lease-expire" }
func (LeaseCheckpoint) kind() string { return "lease-checkpoint" }
func (Compact) kind() string         { return "compact" }
func (Configure) kind() string       { return "configure" }
func (Observe) kind() string         { return "observe" }
func (RequestCmd) kind() string      { return "request" }
func (PlanCmd) kind() string         { return "plan" }
func (Finished) kind() string        { return "finished" }
func (RefreshDNS) kind() string      { return "refresh-dns" }
func (Touch) kind() string           { return "touch" }

// kinds decodes each kind of command.
var kinds = map[string]func([]byte) (Command, error){
	"bootstrap":        decodeAs[Bootstrap],
	"txn":              decodeAs[Txn],
	"lease-grant":      decodeAs[LeaseGrant],
	"lease-revoke":     decodeAs[LeaseRevoke],
	"lease-expire":     decodeAs[LeaseExpire],
	"lease-checkpoint": decodeAs[LeaseCheckpoint],
	"compact":          decodeAs[Compact],
	"configure":        decodeAs[Configure],
	"observe":          decodeAs[Observe],
	"request":          decodeAs[RequestCmd],
	"plan":             decodeAs[PlanCmd],
	"finished":         decodeAs[Finished],
	"approve":          decodeAs[Approve],
	"node-key":         decodeAs[NodeKey],
	"data-key":         decodeAs[DataKey],
	"seal-key":         decodeAs[SealKey],
	"reseal":           decodeAs[Reseal],
	"refresh-dns":      decodeAs[RefreshDNS],
	"touch":            decodeAs[Touch],
}

func decodeAs[C Command](raw []byte) (Command, error) {
	var c C
	err := json.Unmarshal(raw, &c)
	return c, err
}

// Kind returns the name under which a command stands in the log.
func Kind(c Command) string { return c.kind() }

// Result is what applying an entry answers to whoever proposed it. It travels
// from the leader to a forwarding follower, so it is plain data.
type Result struct {
	Index    uint64        `json:"index"`
	Revision int64         `json:"rev,omitempty"` // key space revision after it
	Txn      *kv.TxnResult `json:"txn,omitempty"`
	ID       uint64        `json:"id,omitempty"` // of the request or plan that it made
	Err      *Error        `json:"err,omitempty"`
}
