package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
	"quorate/witness/kv"
	"quorate/witness/manifest"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // transcripts show times
	os.Exit(m.Run())
}

// trio is the real state machine behind the real API at two addresses, with a
// leader that decides, a BMC and a Patroni that do what the test wants.
type trio struct {
	t    *testing.T
	mem  *httpapi.Memory
	urls map[string]string // placeholder → URL

	mu      sync.Mutex
	silent  bool // the BMC does not answer
	asleep  bool // no leader works
	patroni bool // Patroni obeys the failover key
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	tr := &trio{t: t, patroni: true, mem: httpapi.NewMemory(httpapi.NodeInfo{
		Name: "w1", Site: "north", Version: "0.1.0", Role: "leader", Leader: "w1", Term: 3, Quorum: true,
		Members: []httpapi.NodeMember{
			{Name: "w1", Peer: "10.1.0.1:7400", API: "http://10.1.0.1:8080", Alive: true, Voter: true},
			{Name: "w2", Peer: "10.1.0.2:7400", Alive: true, Voter: true},
			{Name: "w3", Peer: "10.1.0.3:7400", Alive: true, Voter: true},
		},
	})}
	opts := httpapi.Options{
		Backend: tr.mem, Drivers: map[string]bool{"redfish": true}, Membership: members{},
		FenceTest: func(_ context.Context, host string) (httpapi.FenceTest, error) {
			if host == "db9" {
				return httpapi.FenceTest{}, &witness.Error{Code: witness.CodeNotFound, Msg: `there is no host "db9"`}
			}
			d := httpapi.DeviceTest{Device: "bmc1", Level: 1, Ready: true, State: "on", Faults: []string{}, Warnings: []string{"its certificate expires in 9 days"}, Took: 0.12}
			if tr.mem.State().NobodyCan(host) {
				d.Ready, d.State, d.Faults = false, "unknown", []string{"401: rejects user quorate"}
			}
			return httpapi.FenceTest{Host: host, State: d.State, Devices: []httpapi.DeviceTest{d}}, nil
		},
		Zone: func(zone string) (string, error) { return "$ORIGIN " + zone + ".\n", nil },
	}
	up := httptest.NewServer(httpapi.New(opts))
	opts.Backend = cutOff{tr.mem}
	alone := httptest.NewServer(httpapi.New(opts))
	down := httptest.NewServer(nil)
	down.Close()
	t.Cleanup(func() { up.Close(); alone.Close() })
	tr.urls = map[string]string{"UP": up.URL, "ALONE": alone.URL, "DOWN": down.URL}
	tr.fill()
	return tr
}

// cutOff is the same witness without its quorum.
type cutOff struct{ *httpapi.Memory }

func (c cutOff) Node() httpapi.NodeInfo {
	n := c.Memory.Node()
	n.Name, n.Role, n.Leader, n.Quorum, n.Contact = "w3", "candidate", "", false, 42*time.Second
	return n
}

func (c cutOff) Barrier(context.Context) error { return witness.ErrNoQuorum }

// members accepts any change but of w9.
type members struct{}

func (members) AddMember(_ context.Context, name, _ string) error       { return notW9(name) }
func (members) RemoveMember(_ context.Context, name string) error       { return notW9(name) }
func (members) TransferLeadership(_ context.Context, name string) error { return notW9(name) }
func notW9(name string) error {
	if name == "w9" {
		return &witness.Error{Code: witness.CodeNotFound, Msg: `no witness is called "w9"`}
	}
	return nil
}

func (tr *trio) fill() {
	tr.t.Helper()
	raw, err := os.ReadFile("testdata/demo.yaml")
	if err != nil {
		tr.t.Fatal(err)
	}
	cfg, faults := manifest.Load("demo.yaml", raw, nil)
	if cfg == nil {
		tr.t.Fatal(faults)
	}
	tr.apply(witness.Bootstrap{ClusterID: 0xabcdef})
	tr.apply(witness.Configure{Config: *cfg, By: "anna"})
	tr.put("config", `{"ttl":20,"loop_wait":5,"maximum_lag_on_failover":1048576}`, 0)
	for i, m := range []string{"pg1", "pg2", "pg3"} {
		lease := int64(i + 1)
		tr.apply(witness.LeaseGrant{ID: lease, TTL: 20})
		role, state := "replica", "streaming"
		if i == 0 {
			role, state = "master", "running"
			tr.grant(m, lease)
			tr.put("status", `{"optime":5000000}`, 0)
		}
		tr.put("members/"+m, fmt.Sprintf(`{"role":%q,"state":%q,"xlog_location":%d,"timeline":1,"version":"3.0.2"}`, role, state, 5000000-40000*i), lease)
	}
	tr.mem.Advance(90 * time.Second)
	tr.apply(witness.Touch{})
}

func (tr *trio) apply(cmd witness.Command) {
	tr.t.Helper()
	if _, err := tr.mem.Propose(context.Background(), cmd); err != nil {
		tr.t.Errorf("apply %T: %v", cmd, err)
	}
}

func (tr *trio) put(key, value string, lease int64) {
	tr.t.Helper()
	tr.apply(witness.Txn{Req: kv.PutTxn(kv.PutRequest{Key: []byte("/service/demo/" + key), Value: []byte(value), Lease: lease})})
}

// grant lets a member take the leader key, as Patroni does.
func (tr *trio) grant(member string, lease int64) {
	tr.t.Helper()
	key := []byte("/service/demo/leader")
	tr.apply(witness.Txn{Req: kv.TxnRequest{
		Compare: []kv.Compare{{Key: key, Target: kv.CompareCreate, Result: kv.Equal}},
		Success: []kv.Op{{Put: &kv.PutRequest{Key: key, Value: []byte(member), Lease: lease}}},
	}})
}

// work does what the leader, the BMC and Patroni do until nothing is left.
func (tr *trio) work() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.asleep {
		return
	}
	err := tr.mem.Settle(context.Background(), func(act *witness.Action) witness.Finished {
		tr.mem.Advance(1500 * time.Millisecond)
		f := witness.Finished{Action: act.ID, Executor: "w1", Outcome: witness.Confirmed, Grade: witness.GradeObserved, Reason: "the BMC says so, twice"}
		if act.Kind == witness.ActionFenceOn {
			f.Grade = ""
		}
		if tr.silent {
			f.Outcome, f.Grade, f.Reason = witness.Unknown, witness.GradeUnknown, "the BMC does not answer"
		}
		return f
	})
	if err != nil {
		tr.t.Error(err)
	}
	kvp := tr.mem.State().KV.Get("/service/demo/failover")
	if kvp == nil {
		return
	}
	var order struct{ Leader, Member string }
	if err := json.Unmarshal(kvp.Value, &order); err != nil {
		tr.t.Error(err)
		return
	}
	tr.mem.Advance(2 * time.Second)
	if tr.patroni {
		leader := []byte("/service/demo/leader")
		tr.apply(witness.Txn{Req: kv.TxnRequest{
			Compare: []kv.Compare{{Key: leader, Target: kv.CompareValue, Result: kv.Equal, Value: []byte(order.Leader)}},
			Success: []kv.Op{{Delete: &kv.DeleteRequest{Key: leader}}},
		}})
		tr.grant(order.Member, int64(order.Member[2]-'0'))
	}
	tr.apply(witness.Txn{Req: kv.DeleteTxn(kv.DeleteRequest{Key: []byte("/service/demo/failover")})})
}

// while runs f with everybody at work beside it.
func (tr *trio) while(f func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			changed := tr.mem.Changed()
			tr.work()
			select {
			case <-changed:
			case <-stop:
				return
			}
		}
	}()
	f()
	close(stop)
	<-done
}
