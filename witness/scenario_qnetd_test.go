package witness_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"quorate/witness"
	"quorate/witness/vote"
)

// inCorosync declares corosync clusters: `corosync lab=n1,n2 fencing=proactive`.
// Node ids are the places of the members, hosts are called h-<member>.
func inCorosync(w *world, in input) {
	var cfg witness.Config
	settings := map[string]bool{"fencing": true, "wait_for_all": true, "strict_lms": true, "devices": true}
	n := 0
	for _, a := range in.args {
		name, list, _ := strings.Cut(a, "=")
		if settings[name] {
			continue
		}
		spec := witness.ClusterSpec{
			Name: name, Kind: witness.KindCorosync, Fencing: in.get("fencing", ""), WaitForAll: in.get("wait_for_all", ""), StrictLMS: in.get("strict_lms", ""),
		}
		for i, m := range strings.Split(list, ",") {
			n++
			h := witness.Host{Name: "h-" + m, Addresses: []string{fmt.Sprintf("10.0.0.%d", n)}}
			if in.get("devices", "yes") == "yes" {
				cfg.Devices = append(cfg.Devices, witness.Device{Name: "bmc-" + m, Driver: "redfish"})
				h.Fence = []witness.FenceStep{{Level: 1, Device: "bmc-" + m}}
			}
			cfg.Hosts = append(cfg.Hosts, h)
			spec.Members = append(spec.Members, witness.MemberSpec{Name: m, Host: h.Name, Node: uint32(i + 1)})
		}
		cfg.Clusters = append(cfg.Clusters, spec)
	}
	w.apply(witness.Configure{Config: cfg, By: "anna"})
}

// qdevice is what a scenario keeps of one connection.
type qdevice struct {
	conn, op uint64
	owner    string
}

// op puts one message of a node into the log and says what it is answered.
func (w *world) op(cluster string, node uint32, op witness.QnetdOp) {
	key := fmt.Sprintf("%s/%d", cluster, node)
	q := w.devices[key]
	op.Cluster, op.Node, op.Conn = cluster, node, q.conn
	if op.Kind != witness.QnetdInit && op.Kind != witness.QnetdDown {
		q.op++
		op.Op = q.op
	}
	w.devices[key] = q
	res := w.apply(witness.QnetdCmd{Owner: q.owner, Boot: 1, Ops: []witness.QnetdOp{op}})
	r := res.Qnetd[0]
	text := "reply"
	if r.Code != 0 {
		text += fmt.Sprintf(" error %d", r.Code)
	} else if r.Vote != vote.None {
		text += " " + strings.ToUpper(r.Vote.String())
	}
	if r.Gone {
		text += " gone"
	}
	w.say("%s", strings.TrimSpace(text+" "+r.Why))
}

func ids(text string) []uint32 {
	var out []uint32
	for _, f := range strings.Split(text, ",") {
		if n, err := strconv.ParseUint(f, 10, 32); err == nil {
			out = append(out, uint32(n))
		}
	}
	return out
}

func ringOf(text string) vote.Ring {
	node, seq, _ := strings.Cut(text, ".")
	n, _ := strconv.ParseUint(node, 10, 32)
	s, _ := strconv.ParseUint(seq, 16, 64)
	return vote.Ring{Node: uint32(n), Seq: s}
}

func heuristics(text string) vote.Heuristics {
	return map[string]vote.Heuristics{"pass": vote.Pass, "fail": vote.Fail}[text]
}

// inQdevice is one thing that a qdevice says: `qdevice lab 1 VERB ...`.
//
//	init [algorithm=lms] [owner=w2] [tie=2|7] [addr=..] [verified=yes] [hold=yes]
//	config 1,2        members 1.9 1,2 [heuristics=pass]     quorate yes [leaving=2]
//	heuristics fail   keep-active yes                       answer [SEQ]
//	down closed
func inQdevice(w *world, in input) {
	cluster, node, verb := in.at(0), uint32(w.number(in.at(1))), in.at(2)
	op := witness.QnetdOp{Heuristics: heuristics(in.get("heuristics", ""))}
	switch verb {
	case "init":
		w.conns++
		if w.devices == nil {
			w.devices = map[string]qdevice{}
		}
		w.devices[fmt.Sprintf("%s/%d", cluster, node)] = qdevice{conn: w.conns, owner: in.get("owner", "w1")}
		alg := map[string]vote.Algorithm{"ffsplit": vote.FFSplit, "lms": vote.LMS, "2nodelms": vote.TwoNodeLMS, "test": vote.Test}[in.get("algorithm", "ffsplit")]
		op.Kind, op.Algorithm, op.Heartbeat, op.TieBreaker = witness.QnetdInit, alg, 8000, vote.TieBreaker{Mode: vote.TieLowest}
		if tie := in.get("tie", ""); tie != "" {
			op.TieBreaker = vote.TieBreaker{Mode: vote.TieNode, Node: uint32(w.number(tie))}
		}
		op.Ring = ringOf(in.get("ring", fmt.Sprintf("%d.1", node)))
		op.Addr = in.get("addr", fmt.Sprintf("10.0.0.%d", node)) + ":4000"
		op.Verified, op.Hold = in.get("verified", "") == "yes", in.get("hold", "") == "yes"
	case "config":
		op.Kind, op.Nodes, op.Initial = witness.QnetdConfig, ids(in.at(3)), in.get("initial", "") == "yes"
	case "members":
		op.Kind, op.Ring, op.Nodes = witness.QnetdMembership, ringOf(in.at(3)), ids(in.at(4))
	case "quorate":
		op.Kind, op.Quorate, op.Leaving = witness.QnetdQuorum, in.at(3) == "yes", ids(in.get("leaving", ""))
	case "heuristics":
		op.Kind, op.Heuristics = witness.QnetdHeuristics, heuristics(in.at(3))
	case "keep-active":
		op.Kind, op.KeepActive = witness.QnetdOption, in.at(3) == "yes"
	case "answer":
		op.Kind = witness.QnetdAnswered
		if n := w.s.Cluster(cluster).Quorum.Node(node); n.Session != nil {
			op.Seq = n.Session.VoteSeq
		}
		if seq := in.at(3); seq != "" {
			op.Seq = uint32(w.number(seq))
		}
	case "again": // its INIT, once more
		op.Kind, op.Algorithm, op.Heartbeat, op.TieBreaker = witness.QnetdInit, w.s.Cluster(cluster).Quorum.Algorithm, 8000, w.s.Cluster(cluster).Quorum.TieBreaker
		op.Ring, op.Addr = ringOf(fmt.Sprintf("%d.1", node)), fmt.Sprintf("10.0.0.%d:4000", node)
	case "timer":
		op.Kind = witness.QnetdTimer
	case "down":
		op.Kind, op.Cause = witness.QnetdDown, in.at(3)
	default:
		w.t.Fatalf("a qdevice cannot %q", verb)
	}
	w.op(cluster, node, op)
}

// inQexpire is what the leader says of a session, or of an ended one, whose time
// is over: `qexpire lab 1 [term=2]`.
func inQexpire(w *world, in input) {
	ref := witness.QnetdRef{Cluster: in.at(0), Node: uint32(w.number(in.at(1)))}
	if n := w.s.Cluster(ref.Cluster).Quorum.Node(ref.Node); n != nil && n.Session != nil {
		ref.Index = n.Session.Index
	} else if n != nil && n.Gone != nil {
		ref.Index = n.Gone.Index
	}
	w.apply(witness.QnetdExpire{Items: []witness.QnetdRef{ref}, Term: uint64(in.num(w, "term", int64(w.term)))})
}

// inVotes shows where the vote of a cluster is.
func inVotes(w *world, in input) {
	c := w.s.Cluster(in.at(0))
	q := c.Quorum
	w.say("%s, epoch %d, %s, phase %q", c.Name, c.Epoch, orNobody(c.Holder), q.Phase)
	for i := range q.Nodes {
		n := &q.Nodes[i]
		text := c.Spec.NodeName(n.ID)
		if s := n.Session; s != nil {
			text += fmt.Sprintf(" at %s in %s: told %s %d", s.Owner, s.Ring, s.Vote, s.VoteSeq)
			if s.Vote == vote.NACK && s.Answered {
				text += " (answered)"
			}
		} else {
			text += " not connected"
		}
		if n.May {
			text += ", may count an ACK"
		}
		if g := n.Gone; g != nil {
			text += fmt.Sprintf(", gone: %s, sticky %t, void after %s", g.Cause, g.Sticky, g.Void())
		}
		if n.Lost > 0 {
			text += fmt.Sprintf(", lost with epoch %d", n.Lost)
		}
		w.say("  %s", text)
	}
}

func orNobody(holder string) string {
	if holder == "" {
		return "nobody has the vote"
	}
	return holder + " has the vote"
}

// inQalert is what the leader says of clusters without a full vote.
func inQalert(w *world, in input) {
	w.apply(witness.QnetdAlert{Items: []witness.QnetdVoting{{Cluster: in.at(0), Why: strings.Join(in.args[1:], " ")}}})
}

// inQconnect connects nodes with all they say at first: `qconnect lab 1,2 1.9`.
func inQconnect(w *world, in input) {
	nodes := ids(in.at(1))
	all := fmt.Sprint(len(w.s.Cluster(in.at(0)).Spec.Members))
	config := "1"
	for i := 2; strconv.Itoa(i) <= all && i < 10; i++ {
		config += "," + strconv.Itoa(i)
	}
	options := slices.DeleteFunc(slices.Clone(in.args), func(a string) bool { return !strings.Contains(a, "=") })
	for _, n := range nodes {
		for _, line := range [][]string{{"init"}, {"config", config, "initial=yes"}, {"members", in.at(2), in.at(1)}} {
			inQdevice(w, input{args: append(append([]string{in.at(0), fmt.Sprint(n)}, line...), options...)})
		}
	}
}
