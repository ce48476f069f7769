package httpapi_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"quorate/witness"
	"quorate/witness/httpapi"
	"quorate/witness/vote"
)

// TestQuorumDevice: a corosync cluster in the views of the API.
func TestQuorumDevice(t *testing.T) {
	d := newDemo(t)
	d.apply(witness.Configure{Config: witness.Config{
		Hosts: []witness.Host{{Name: "h1", Addresses: []string{"10.0.0.1"}}, {Name: "h2", Addresses: []string{"10.0.0.2"}}},
		Clusters: []witness.ClusterSpec{{Name: "files", Kind: witness.KindCorosync, Qnetd: "labcluster", Members: []witness.MemberSpec{
			{Name: "n1", Host: "h1", Node: 1}, {Name: "n2", Host: "h2", Node: 2},
		}}},
	}})
	for i, op := range []witness.QnetdOp{
		{Kind: witness.QnetdInit, Algorithm: vote.FFSplit, Heartbeat: 8000, TieBreaker: vote.TieBreaker{Mode: vote.TieLowest}, Addr: "10.0.0.1:4000", TLS: true, Verified: true},
		{Kind: witness.QnetdOption, KeepActive: true},
		{Kind: witness.QnetdConfig, Nodes: []uint32{1, 2}, Initial: true},
		{Kind: witness.QnetdMembership, Nodes: []uint32{1}, Ring: vote.Ring{Node: 1, Seq: 9}},
	} {
		op.Cluster, op.Node, op.Conn, op.Op = "files", 1, 1, uint64(i)
		d.apply(witness.QnetdCmd{Owner: "w2", Boot: 1, Ops: []witness.QnetdOp{op}})
	}
	get := func(path string, want int, into any) {
		t.Helper()
		res, raw := d.call("GET", path, "")
		if res.StatusCode != want {
			t.Fatalf("GET %s: %d, want %d: %s", path, res.StatusCode, want, raw)
		}
		if err := json.Unmarshal([]byte(raw), into); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"files", "labcluster"} {
		var b httpapi.QnetdBody
		get("/v1/qnetd?cluster="+name, http.StatusOK, &b)
		if len(b.Clusters) != 1 || b.Clients != 1 || b.Active != 1 {
			t.Fatalf("asked for %s: %+v", name, b)
		}
		c := b.Clusters[0]
		n := c.Nodes[0]
		if c.Name != "labcluster" || c.Holder != "n1" || !c.KeepActive || n.Owner != "w2" || n.Vote != "ACK" || n.Ring != "1.9" || n.Address != "::ffff:10.0.0.1:4000" || !n.Verified {
			t.Errorf("%+v", c)
		}
	}
	var none httpapi.QnetdBody
	get("/v1/qnetd?cluster=nosuch", http.StatusOK, &none)
	if len(none.Clusters) != 0 {
		t.Errorf("asked for no such cluster: %+v", none.Clusters)
	}
	var c struct {
		Cluster httpapi.ClusterView `json:"cluster"`
	}
	get("/v1/clusters/files", http.StatusOK, &c)
	if v := c.Cluster; v.State != httpapi.StateOK || v.Protection != httpapi.ProtectionNoCandidate || v.Members[0].Role != httpapi.RolePrimary || v.Members[1].Role != httpapi.RoleAbsent {
		t.Errorf("%+v", v)
	}
	var role httpapi.RoleAnswer
	get("/v1/clusters/files/role/primary/n1", http.StatusOK, &role)
	get("/v1/clusters/files/role/primary/n2", http.StatusServiceUnavailable, &role)
}
