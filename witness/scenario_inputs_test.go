package witness_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"quorate/witness"
	"quorate/witness/kv"
)

// input is one line of a scenario: positional words, name=value words, and the
// lines after it that begin with "|".
type input struct {
	args []string
	body string
}

func (in input) at(i int) string {
	n := 0
	for _, a := range in.args {
		if strings.Contains(a, "=") {
			continue
		}
		if n == i {
			return a
		}
		n++
	}
	return ""
}

func (in input) get(name, def string) string {
	for _, a := range in.args {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v
		}
	}
	return def
}

func (in input) num(w *world, name string, def int64) int64 {
	v := in.get(name, "")
	if v == "" {
		return def
	}
	return w.number(v)
}

func (w *world) number(v string) int64 {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		w.t.Fatalf("%q is not a number", v)
	}
	return n
}

func (w *world) duration(v string) time.Duration {
	d, err := time.ParseDuration(v)
	if err != nil {
		w.t.Fatalf("%q is not a duration", v)
	}
	return d
}

// inputs are what a line of a scenario can begin with.
var inputs = map[string]func(*world, input){
	"config":   inConfig,
	"validate": inValidate,
	"wait": func(w *world, in input) {
		d := w.duration(in.at(0))
		w.stamp.Time += d
		w.stamp.Wall += d.Milliseconds()
	},
	"term":  func(w *world, in input) { w.term = uint64(w.number(in.at(0))) },
	"alive": func(w *world, in input) { w.alive = strings.Split(in.at(0), ",") },
	"lease": func(w *world, in input) {
		w.apply(witness.LeaseGrant{ID: w.number(in.at(0)), TTL: in.num(w, "ttl", 30)})
	},
	"revoke":   func(w *world, in input) { w.apply(witness.LeaseRevoke{ID: w.number(in.at(0))}) },
	"expire":   inExpire,
	"create":   inCreate,
	"put":      inPut,
	"giveup":   inGiveUp,
	"delete":   func(w *world, in input) { w.txn(kv.DeleteTxn(kv.DeleteRequest{Key: []byte(in.at(0))})) },
	"member":   inMember,
	"settings": inSettings,
	"optime":   inOptime,
	"observe":  inObserve,
	"request":  inRequest,
	"approve":  inApprove,
	"risks":    inRisks,
	"nodekey":  func(w *world, in input) { w.apply(witness.NodeKey{Node: in.at(0), Public: in.at(1)}) },
	"datakey":  inDataKey,
	"sealkey":  inSealKey,
	"reseal":   inReseal,
	"keys":     inKeys,
	"preview":  inPreview,
	"ready":    inReady,
	"decide":   inDecide,
	"propose":  func(w *world, _ input) { w.propose(w.saved) },
	"explain":  inExplain,
	"finished": inFinished,
	"plan":     inPlan,
	"run":      inRun,
	"corosync": inCorosync,
	"qdevice":  inQdevice,
	"qconnect": inQconnect,
	"qexpire":  inQexpire,
	"qalert":   inQalert,
	"votes":    inVotes,
	"restore":  func(w *world, _ input) { w.s = restored(w.t, w.s) },
}

func (w *world) txn(req kv.TxnRequest) { w.apply(witness.Txn{Req: req}) }

func (w *world) keys() []string {
	res, err := w.s.KV.Range(kv.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, e := range res.KVs {
		out = append(out, string(e.Key))
	}
	return out
}

// inConfig declares clusters in short form: `config pg=pg1@h1,pg2@h2 fast=on`.
// Settings go for all clusters of the line.
func inConfig(w *world, in input) {
	var cfg witness.Config
	settings := map[string]bool{"fast": true, "fencing": true, "on_unproven": true, "release_after": true, "devices": true, "by": true, "unlock": true, "approval": true, "fence_limit": true, "levels": true, "password": true}
	for _, a := range in.args {
		name, list, _ := strings.Cut(a, "=")
		if settings[name] {
			continue
		}
		spec := witness.ClusterSpec{
			Name: name, Kind: witness.KindPatroni, Fast: in.get("fast", ""), Fencing: in.get("fencing", ""), OnUnproven: in.get("on_unproven", ""),
			Approval: in.get("approval", ""), FenceLimit: int(in.num(w, "fence_limit", 0)),
		}
		if u := in.get("unlock", ""); u != "" {
			for _, g := range strings.Split(u, ",") {
				spec.Unlock = append(spec.Unlock, witness.Grade(g))
			}
		}
		if d := in.get("release_after", ""); d != "" {
			spec.ReleaseAfter = witness.Duration(w.duration(d))
		}
		for _, m := range strings.Split(list, ",") {
			member, host, _ := strings.Cut(m, "@")
			spec.Members = append(spec.Members, witness.MemberSpec{Name: member, Host: host})
			n := len(cfg.Hosts) + 1
			h := witness.Host{Name: host, Addresses: []string{fmt.Sprintf("10.0.0.%d", n)}}
			if in.get("devices", "yes") == "yes" {
				dev := witness.Device{Name: "bmc-" + host, Driver: "redfish"}
				if p := in.get("password", ""); p != "" {
					dev.Settings = map[string]string{"password": p}
				}
				cfg.Devices = append(cfg.Devices, dev)
				h.Fence = []witness.FenceStep{{Level: 1, Device: "bmc-" + host}}
				if in.get("levels", "1") == "2" {
					for _, feed := range []string{"a", "b"} {
						cfg.Devices = append(cfg.Devices, witness.Device{Name: "pdu-" + feed + "-" + host, Driver: "pdu"})
						h.Fence = append(h.Fence, witness.FenceStep{Level: 2, Device: "pdu-" + feed + "-" + host})
					}
				}
			}
			cfg.Hosts = append(cfg.Hosts, h)
		}
		cfg.Clusters = append(cfg.Clusters, spec)
	}
	w.apply(witness.Configure{Config: cfg, By: in.get("by", "anna")})
}

func inValidate(w *world, in input) {
	var cfg witness.Config
	if err := json.Unmarshal([]byte(in.body), &cfg); err != nil {
		w.t.Fatal(err)
	}
	for _, f := range cfg.Validate(map[string]bool{"redfish": true, "pdu": true}) {
		w.say("%s", f)
	}
}

// inDataKey: `datakey 1 w1:box w2:box`.
func inDataKey(w *world, in input) {
	k := witness.DataKey{Version: uint64(w.number(in.at(0))), By: "anna"}
	for _, a := range in.args[1:] {
		name, box, _ := strings.Cut(a, ":")
		k.Boxes = append(k.Boxes, witness.SealedBox{Node: name, Box: box})
	}
	w.apply(k)
}

// inSealKey: `sealkey 1 w3 public box`.
func inSealKey(w *world, in input) {
	w.apply(witness.SealKey{Version: uint64(w.number(in.at(0))), Node: in.at(1), Public: in.at(2), Box: in.at(3)})
}

// inReseal: `reseal device setting value`, on the present configuration unless
// base says another.
func inReseal(w *world, in input) {
	w.apply(witness.Reseal{
		Base: uint64(in.num(w, "base", int64(w.s.ConfigVersion))), Settings: []witness.ResealedItem{{Device: in.at(0), Setting: in.at(1), Value: in.at(2)}},
	})
}

// inKeys shows the data keys and who has them, and the secrets.
func inKeys(w *world, _ input) {
	for _, k := range w.s.DataKeys() {
		var names []string
		for _, b := range k.Boxes {
			names = append(names, b.Node)
		}
		w.say("key %d: %s", k.Version, strings.Join(names, " "))
	}
	for _, d := range w.s.Config.Devices {
		if p := d.Settings["password"]; p != "" {
			w.say("%s: %s", d.Name, p)
		}
	}
}

// inRisks shows the warnings about a configuration.
func inRisks(w *world, in input) {
	var cfg witness.Config
	if err := json.Unmarshal([]byte(in.body), &cfg); err != nil {
		w.t.Fatal(err)
	}
	for _, f := range cfg.Warnings() {
		w.say("%s", f)
	}
}

func inExpire(w *world, in input) {
	var ids []int64
	for _, id := range strings.Split(in.at(0), ",") {
		ids = append(ids, w.number(id))
	}
	cmd := witness.LeaseExpire{IDs: ids, Term: uint64(in.num(w, "term", int64(w.term)))}
	if epoch := in.num(w, "epoch", 0); epoch != 0 {
		cmd.Epochs = []uint64{uint64(epoch)}
	}
	w.apply(cmd)
}

// inCreate is how a Patroni member takes the leader key: only if it is absent.
func inCreate(w *world, in input) {
	key := []byte(in.at(0))
	w.txn(kv.TxnRequest{
		Compare: []kv.Compare{{Key: key, Target: kv.CompareCreate}},
		Success: []kv.Op{{Put: &kv.PutRequest{Key: key, Value: []byte(in.at(1)), Lease: in.num(w, "lease", 0)}}},
	})
}

func inPut(w *world, in input) {
	p := kv.PutRequest{Key: []byte(in.at(0)), Value: []byte(in.at(1)), IgnoreLease: in.get("lease", "") == "keep"}
	if !p.IgnoreLease {
		p.Lease = in.num(w, "lease", 0)
	}
	w.txn(kv.PutTxn(p))
}

// inGiveUp is how Patroni gives the leader key up: compare, then delete.
func inGiveUp(w *world, in input) {
	key := []byte(in.at(0))
	cmp := kv.Compare{Key: key, Target: kv.CompareValue, Value: []byte(in.at(1))}
	if cur := w.s.KV.Get(in.at(0)); in.at(1) == "" && cur != nil {
		cmp = kv.Compare{Key: key, Target: kv.CompareMod, Number: cur.ModRevision}
	}
	del := []kv.Op{{Delete: &kv.DeleteRequest{Key: key}}}
	req := kv.TxnRequest{Compare: []kv.Compare{cmp}, Success: del}
	if in.get("else", "") == "yes" {
		req.Success, req.Failure = nil, del
	}
	w.txn(req)
}

func inMember(w *world, in input) {
	value := fmt.Sprintf(`{"role":%q,"state":%q,"xlog_location":%s,"timeline":1}`, in.get("role", "replica"), in.get("state", "running"), in.get("pos", "1000"))
	w.txn(kv.PutTxn(kv.PutRequest{Key: []byte("/service/" + in.at(0) + "/members/" + in.at(1)), Value: []byte(value), Lease: in.num(w, "lease", 0)}))
}

func inSettings(w *world, in input) {
	value := fmt.Sprintf(`{"ttl":30,"loop_wait":10,"maximum_lag_on_failover":%s,"pause":%s,"failsafe_mode":%s}`, in.get("maxlag", "1048576"), in.get("pause", "false"), in.get("failsafe", "false"))
	w.txn(kv.PutTxn(kv.PutRequest{Key: []byte("/service/" + in.at(0) + "/config"), Value: []byte(value)}))
}

func inOptime(w *world, in input) {
	w.txn(kv.PutTxn(kv.PutRequest{Key: []byte("/service/" + in.at(0) + "/status"), Value: []byte(`{"optime":` + in.at(1) + `}`)}))
}

// inObserve: `observe w1 reach h1 down`.
func inObserve(w *world, in input) {
	o := witness.Observation{Kind: in.at(1), Host: in.at(2), Down: in.at(3) == "down", Detail: in.get("detail", "timeout"), Device: in.get("device", "")}
	if o.Kind == witness.SignalRenewal {
		o.Cluster, o.Host = o.Host, ""
	}
	w.apply(witness.Observe{Witness: in.at(0), Items: []witness.Observation{o}})
}

func inRequest(w *world, in input) { w.apply(witness.RequestCmd{Request: w.request(in)}) }

func (w *world) request(in input) witness.Request {
	r := witness.Request{
		Kind: in.at(0), To: in.get("to", ""), By: in.get("by", "anna"), Reason: in.get("reason", "planned work"), Key: in.get("key", ""),
		Requester: in.get("requester", ""), Timeout: w.duration(in.get("timeout", "0s")),
	}
	if o := in.get("override", ""); o != "" {
		r.Override = strings.Split(o, ",")
	}
	if r.Kind == witness.RequestSwitchover {
		r.Cluster = in.at(1)
	} else {
		r.Host = in.at(1)
	}
	return r
}

// inApprove is the word of a second person on the request that waits for it.
func inApprove(w *world, in input) {
	id := uint64(0)
	for n, r := range w.s.Requests() {
		if r.Status == witness.StatusApproval || id == 0 {
			id = n
		}
	}
	w.apply(witness.Approve{Request: id, By: in.get("by", "bert"), Reason: in.get("reason", "looked at it"), Deny: in.get("deny", "") == "yes"})
}

// inPreview is a dry run: it shows the rules and changes nothing.
func inPreview(w *world, in input) {
	before := w.s.Hash()
	ver, err := witness.Preview(w.view(), w.request(in))
	if err != nil {
		w.say("error %s: %s", err.Code, err.Error())
		return
	}
	for _, f := range ver.Findings {
		w.say("  %-4s %s: %s", f.Verdict, f.Rule, f.Text)
	}
	w.say("[%s] %s", ver.Decisive, ver.Sentence)
	if w.s.Hash() != before {
		w.t.Error("a preview changes the state")
	}
}

// inReady shows who could power a host off, and how long that usually takes.
func inReady(w *world, in input) {
	for _, name := range w.voters {
		ready, level := w.s.Readiness(in.at(0), name)
		w.say("%s: %s, level %d", name, ready, level)
	}
	w.say("takes %s", w.s.Host(in.at(0)).Baseline())
}

func (w *world) view() witness.View {
	return witness.View{State: w.s, Now: w.stamp.Time, Voters: w.voters, Alive: w.alive}
}

// inDecide shows what the leader decides now and puts it into the log; with
// `decide hold` it is kept back for a later `propose`.
func inDecide(w *world, in input) {
	p := witness.Decide(w.view())
	if p == nil {
		w.say("decides nothing")
		return
	}
	w.say("decides [%s] %s", p.Rule, p.Why)
	for _, a := range p.Actions {
		w.say("  action %s", strings.TrimSpace(fmt.Sprintf("%s %s%s %s", a.Kind, a.Host, a.To, a.Executor)))
	}
	if in.at(0) == "hold" {
		w.saved = p
		return
	}
	w.propose(p)
}

func (w *world) propose(p *witness.Plan) { w.apply(witness.PlanCmd{Plan: *p}) }

func inExplain(w *world, in input) {
	ver := witness.Judge(w.view(), in.at(0))
	for _, f := range ver.Findings {
		w.say("  %-4s %s: %s", f.Verdict, f.Rule, f.Text)
	}
	w.say("[%s] %s", ver.Decisive, ver.Sentence)
}

// inFinished reports how the pending action on a host ended.
func inFinished(w *world, in input) {
	id := in.get("action", "")
	for _, a := range w.s.PendingActions() {
		if a.Host == in.at(0) && id == "" {
			id = a.ID
		}
	}
	if id == "" {
		for i, a := range slices.Collect(w.actions()) {
			if a.Host == in.at(0) && i >= 0 {
				id = a.ID
			}
		}
	}
	w.apply(witness.Finished{
		Action: id, Executor: in.get("by", "w1"), Outcome: witness.Outcome(in.at(1)), Grade: witness.Grade(in.at(2)), Reason: in.get("reason", "the BMC says so"),
	})
}

func (w *world) actions() func(func(*witness.Action) bool) {
	return func(yield func(*witness.Action) bool) {
		for _, a := range w.s.Actions() {
			if !yield(a) {
				return
			}
		}
	}
}

// inPlan puts a hand-made plan into the log, given as JSON; an epoch or parent
// that is left out is filled in.
func inPlan(w *world, in input) {
	var p witness.Plan
	if err := json.Unmarshal([]byte(in.body), &p); err != nil {
		w.t.Fatal(err)
	}
	if c := w.s.Cluster(p.Cluster); c != nil && p.Parent == 0 {
		p.Parent, p.Epoch = c.Version, c.Epoch
	}
	w.propose(&p)
}

// inRun tells the story of the last run of a cluster.
func inRun(w *world, in input) {
	c := w.s.Cluster(in.at(0))
	if len(c.Runs) == 0 {
		w.say("no run yet")
		return
	}
	r := c.Runs[len(c.Runs)-1]
	w.say("%s from %q to %q, epoch %d to %d, %s", r.Kind, r.From, r.To, r.Epoch, r.NewEpoch, r.State)
	for _, p := range r.Phases {
		w.say("  %6s %s", p.At, p.Name)
	}
}
