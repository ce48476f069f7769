package witness

import "encoding/json"

// Cluster is what the witnesses know of one managed cluster. It is immutable.
type Cluster struct {
	Spec    *ClusterSpec `json:"-"` // from the configuration; never nil
	Name    string       `json:"name"`
	Version uint64       `json:"version"` // index of the last change that a decision depends on
	Epoch   uint64       `json:"epoch"`   // rises by one with every grant; the fencing token

	Holder      string `json:"holder,omitempty"`       // member that holds the leader key; "" = vacant
	HolderHost  string `json:"holder_host,omitempty"`  // the host it runs on
	HolderLease int64  `json:"holder_lease,omitempty"` // lease of the leader key
	HolderSince Time   `json:"holder_since,omitempty"`

	Last    string   `json:"last,omitempty"`    // the holder before, while vacant
	Guard   *Guard   `json:"guard,omitempty"`   // the holder's lease is dead, its key is kept
	Release *Release `json:"release,omitempty"` // how the last epoch ended

	Members  []Member       `json:"members,omitempty"` // by name, as Patroni's own keys say
	Settings PatroniSetting `json:"settings"`
	Optime   int64          `json:"optime,omitempty"`  // the leader's WAL position in bytes
	Switch   string         `json:"switch,omitempty"`  // the failover key while Patroni works on it
	Overdue  *Signal        `json:"overdue,omitempty"` // the holder's renewal is late
	Would    uint64         `json:"would,omitempty"`   // entry that recorded "observe: would have fenced"
	Runs     []*Run         `json:"runs,omitempty"`    // newest last
	Quorum   *Quorum        `json:"quorum,omitempty"`  // of a corosync cluster
}

// Member is what a Patroni member says of itself in its key.
type Member struct {
	Name     string `json:"name"`
	Host     string `json:"host,omitempty"`
	Role     string `json:"role"`
	State    string `json:"state"`
	APIURL   string `json:"api_url,omitempty"`
	ConnURL  string `json:"conn_url,omitempty"`
	Position int64  `json:"position,omitempty"` // WAL bytes
	Timeline int64  `json:"timeline,omitempty"`
	Version  string `json:"version,omitempty"`
	NoFail   bool   `json:"nofailover,omitempty"`
	Lease    int64  `json:"lease,omitempty"`
}

// Healthy says whether a member can serve reads or take over.
func (m *Member) Healthy() bool {
	switch m.State {
	case "running", "streaming", "in archive recovery":
		return true
	}
	return false
}

// PatroniSetting is what matters to us of Patroni's dynamic configuration.
// Times are in seconds, MaxLag in bytes.
type PatroniSetting struct {
	TTL      int64 `json:"ttl,omitempty"`
	LoopWait int64 `json:"loop_wait,omitempty"`
	MaxLag   int64 `json:"maximum_lag_on_failover,omitempty"`
	Pause    bool  `json:"pause,omitempty"`
	Failsafe bool  `json:"failsafe_mode,omitempty"`
}

// Guard is the time between the death of a holder's lease and its release: the
// leader key stays, renewals are refused, nobody else can be granted.
type Guard struct {
	Since    Time   `json:"since"`
	Index    uint64 `json:"index"`
	Cause    string `json:"cause"`              // how the lease died: lease-expired, lease-revoked, fast, operator
	Host     string `json:"host"`               // what must be proven off
	Action   string `json:"action,omitempty"`   // the pending fence
	Attempts int    `json:"attempts"`           // fences that ended without proof
	RetryAt  Time   `json:"retry_at,omitempty"` // not before
	Held     string `json:"held,omitempty"`     // rule that holds it, as last recorded
	LastWhy  string `json:"last_why,omitempty"` // why the last fence proved nothing
}

const causeExpired = "lease-expired"

// Release says how an epoch ended.
type Release struct {
	Epoch  uint64 `json:"epoch"`
	Member string `json:"member"`
	Grade  Grade  `json:"grade"`
	Index  uint64 `json:"index"`
	At     Time   `json:"at"`
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Grade says how a holder is known to be gone.
type Grade string

// The grades. All but GradeUnknown may end an epoch; which of the others do is
// policy.
const (
	GradeUnknown   Grade = "unknown"
	GradeClean     Grade = "clean"               // the holder gave the key up itself
	GradeObserved  Grade = "observed-off"        // its power state was read back as off
	GradeFeeds     Grade = "feeds-off"           // all its power feeds were read back as off
	GradeSelf      Grade = "self-fenced"         // by time: its watchdog must have reset it
	GradePerson    Grade = "confirmed-by-person" // a named person said so
	GradeUnguarded Grade = "unguarded"           // fencing: none, as in etcd
	GradeWithdrawn Grade = "withdrawn"           // a corosync vote: every loser has answered its NACK or is surely gone
)

// proves says whether a fence result of this grade is a proof.
func (g Grade) proves() bool { return g == GradeObserved || g == GradeFeeds }

// HostState is what the witnesses know of one host.
type HostState struct {
	Name     string   `json:"name"`
	Fenced   bool     `json:"fenced,omitempty"`    // proven or confirmed off, and not seen on since
	FencedAt Time     `json:"fenced_at,omitempty"` // cluster time of the proof
	ProofIdx uint64   `json:"proof,omitempty"`     // entry of the proof
	Grade    Grade    `json:"grade,omitempty"`
	Signals  []Signal `json:"signals,omitempty"` // by kind and witness
	Offs     []Time   `json:"offs,omitempty"`    // when power-offs of it began, the latest ones

	Paths []FencePath `json:"paths,omitempty"` // by device and witness
	Took  []Time      `json:"took,omitempty"`  // how long the latest proven power-offs took
}

// Signal is what one witness last reported of one kind of sign of life.
type Signal struct {
	Kind    string `json:"kind"`
	Witness string `json:"witness"`
	Down    bool   `json:"down"`
	Since   Time   `json:"since"` // of the edge
	Index   uint64 `json:"index"` // of the entry that recorded the edge
	At      Time   `json:"at"`    // last asserted
	Term    uint64 `json:"term"`  // of the entry that last asserted it
	Detail  string `json:"detail,omitempty"`
}

// The kinds of signal.
const (
	SignalReach   = "reach"   // a witness cannot connect to any service of the host
	SignalSession = "session" // the host's own connections to this witness are gone
	SignalRenewal = "renewal" // the leader misses the renewal of the holder's lease
)

// Observation is one edge, or the re-assertion of a "down".
type Observation struct {
	Host    string `json:"host,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	Kind    string `json:"kind"`
	Down    bool   `json:"down"`
	Device  string `json:"device,omitempty"` // of SignalFence
	Detail  string `json:"detail,omitempty"`
}

// Outcome is how an action ended.
type Outcome string

// The outcomes. Only Confirmed unlocks anything.
const (
	Pending   Outcome = "pending"
	Confirmed Outcome = "confirmed" // done and read back independently
	Refused   Outcome = "refused"   // the device or a rule said no
	Unknown   Outcome = "unknown"   // a time-out, a lie, a vanished device
)

// The kinds of action.
const (
	ActionFenceOff   = "fence-off"
	ActionFenceOn    = "fence-on"
	ActionRelease    = "release"    // effect in the log only
	ActionSwitchover = "switchover" // effect in the log only
)

// Action is one intended deed. Its id is the index of the entry that made it
// and its place in the plan.
type Action struct {
	ID       string          `json:"id"`
	Index    uint64          `json:"index"` // of that entry
	Kind     string          `json:"kind"`
	Host     string          `json:"host,omitempty"`
	Cluster  string          `json:"cluster,omitempty"`
	Epoch    uint64          `json:"epoch,omitempty"`
	Executor string          `json:"executor,omitempty"` // a witness; "" = whoever leads
	Request  uint64          `json:"request,omitempty"`
	Outcome  Outcome         `json:"outcome"`
	Grade    Grade           `json:"grade,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Evidence json.RawMessage `json:"evidence,omitempty"`
	Planned  Time            `json:"planned"`
	Ended    Time            `json:"ended,omitempty"`
	By       string          `json:"by,omitempty"`    // the witness that did it
	Rule     string          `json:"rule,omitempty"`  // that led to it
	Why      string          `json:"why,omitempty"`   // as the plan said
	Limit    Time            `json:"limit,omitempty"` // how long it may take, if the order said so
}

// Plan is a decision: what shall happen, why, and on which state it rests.
type Plan struct {
	ID      uint64     `json:"id,omitempty"` // index of its entry
	Cluster string     `json:"cluster"`
	Parent  uint64     `json:"parent"` // Cluster.Version that it was made for
	Epoch   uint64     `json:"epoch"`
	Rule    string     `json:"rule"` // the rule that led to it
	Why     string     `json:"why"`
	Rules   []Finding  `json:"rules,omitempty"` // all rules that were evaluated
	Actions []PlanItem `json:"actions,omitempty"`
	Request uint64     `json:"request,omitempty"`
	Refuse  bool       `json:"refuse,omitempty"` // the request is refused by Rule
	Await   bool       `json:"await,omitempty"`  // the request waits for a second person
	Format  int        `json:"v,omitempty"`      // see planFormat
	Join    string     `json:"join,omitempty"`   // pending action that already does what the request asks
}

// PlanItem is one action of a plan.
type PlanItem struct {
	Kind     string `json:"kind"`
	Host     string `json:"host,omitempty"`
	Member   string `json:"member,omitempty"`
	To       string `json:"to,omitempty"`
	Executor string `json:"executor,omitempty"`
	Condemn  bool   `json:"condemn,omitempty"`  // the holder's lease dies with this entry
	Replaces string `json:"replaces,omitempty"` // pending action that this one takes over
}

// Request is what a person or a program asked for.
type Request struct {
	ID       uint64   `json:"id,omitempty"`
	Kind     string   `json:"kind"`
	Host     string   `json:"host,omitempty"`
	Cluster  string   `json:"cluster,omitempty"`
	To       string   `json:"to,omitempty"`
	By       string   `json:"by"`
	Reason   string   `json:"reason"`
	Key      string   `json:"key,omitempty"` // idempotency key
	Override []string `json:"override,omitempty"`
	Status   string   `json:"status,omitempty"`
	Rule     string   `json:"rule,omitempty"`
	Msg      string   `json:"msg,omitempty"`
	Action   string   `json:"action,omitempty"`
	At       Time     `json:"at,omitempty"`
	Wall     int64    `json:"wall,omitempty"`
	Ended    Time     `json:"ended,omitempty"`

	Requester string     `json:"requester,omitempty"` // host or member on whose behalf a program asks
	Timeout   Time       `json:"timeout,omitempty"`   // cluster time after which it is given up; 0 = never
	Expires   Time       `json:"expires,omitempty"`   // of the wait for a second person
	Approvals []Approval `json:"approvals,omitempty"`
	Off       string     `json:"off,omitempty"` // of a reboot: the action that proved the host off
}

// The kinds of request, and their states.
const (
	RequestFenceOff   = "fence-off"
	RequestFenceOn    = "fence-on"
	RequestConfirmOff = "confirm-off"
	RequestSwitchover = "switchover"
	RequestReboot     = "reboot"

	StatusPending  = "pending"
	StatusApproval = "approval" // it waits for a second person
	StatusRunning  = "running"
	StatusDone     = "done"
	StatusRefused  = "refused"
	StatusFailed   = "failed"
)

// Overrides says whether the request names a rule to override.
func (r *Request) Overrides(rule string) bool {
	for _, o := range r.Override {
		if o == rule {
			return true
		}
	}
	return false
}

// Run is the story of one failover or switchover.
type Run struct {
	ID       uint64  `json:"id"` // index of its first entry
	Kind     string  `json:"kind"`
	From     string  `json:"from,omitempty"`
	To       string  `json:"to,omitempty"`
	Epoch    uint64  `json:"epoch"`               // before
	NewEpoch uint64  `json:"new_epoch,omitempty"` // after
	State    string  `json:"state"`
	By       string  `json:"by,omitempty"`
	Reason   string  `json:"reason,omitempty"`
	Request  uint64  `json:"request,omitempty"`
	Phases   []Phase `json:"phases"`
}

// The kinds and states of a run.
const (
	RunFailover   = "failover"
	RunSwitchover = "switchover"
	RunHandover   = "handover" // the holder gave up and somebody else took over

	RunRunning   = "running"
	RunCompleted = "completed"
	RunHeld      = "held"
	RunFailed    = "failed"
)

// Phase is one step of a run.
type Phase struct {
	Name  string `json:"name"`
	At    Time   `json:"at"`
	Wall  int64  `json:"wall"`
	Index uint64 `json:"index"`
	Text  string `json:"text"`
}

// Event is one thing that happened, for logs, metrics, notifications and people.
type Event struct {
	Seq     uint64 `json:"seq"`
	Index   uint64 `json:"index"`
	At      Time   `json:"at"`
	Wall    int64  `json:"wall"`
	Kind    string `json:"kind"`
	Level   string `json:"level"` // info, warn, alert
	Cluster string `json:"cluster,omitempty"`
	Host    string `json:"host,omitempty"`
	Epoch   uint64 `json:"epoch,omitempty"`
	Rule    string `json:"rule,omitempty"`
	Request uint64 `json:"request,omitempty"` // that it is about
	Action  string `json:"action,omitempty"`  // that it is about
	Text    string `json:"text"`
}

// The levels of an event.
const (
	LevelInfo  = "info"
	LevelWarn  = "warn"
	LevelAlert = "alert"
)

// MemberNamed returns the member called name, or nil.
func (c *Cluster) MemberNamed(name string) *Member {
	for i := range c.Members {
		if c.Members[i].Name == name {
			return &c.Members[i]
		}
	}
	return nil
}

// Lag returns how many bytes of WAL a member is behind the leader's last known
// position; never negative.
func (c *Cluster) Lag(m *Member) int64 { return max(0, c.Optime-m.Position) }

// Current returns the run that is not over, or nil.
func (c *Cluster) Current() *Run {
	if n := len(c.Runs); n > 0 && (c.Runs[n-1].State == RunRunning || c.Runs[n-1].State == RunHeld) {
		return c.Runs[n-1]
	}
	return nil
}
