//go:build integration

package etcdapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"quorate/witness/kv"
)

// patroni is Patroni's own code for etcd in a process of its own.
type patroni struct {
	*testing.T
	in  io.Writer
	out *bufio.Scanner
}

type outcome struct {
	Result     any     `json:"result"`
	Raised     string  `json:"raised"`
	IsDCSError bool    `json:"is_dcs_error"`
	Seconds    float64 `json:"seconds"`
}

func startPatroni(t *testing.T, name, hosts string, retryTimeout int, login ...string) *patroni {
	t.Helper()
	if _, err := os.Stat("/usr/lib/python3/dist-packages/patroni"); err != nil {
		t.Skip("Patroni is not installed (Debian: patroni python3-etcd)")
	}
	cmd := exec.Command("/usr/bin/python3", append([]string{"testdata/patroni_dcs.py", name, hosts, fmt.Sprint(retryTimeout)}, login...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p := &patroni{t, in, bufio.NewScanner(out)}
	p.read()
	return p
}

func (p *patroni) read() (o outcome) {
	p.Helper()
	if !p.out.Scan() {
		p.Fatalf("Patroni's process has ended: %v", p.out.Err())
	}
	if err := json.Unmarshal(p.out.Bytes(), &o); err != nil {
		p.Fatalf("%v: %s", err, p.out.Bytes())
	}
	return o
}

func (p *patroni) do(command string) outcome {
	p.Helper()
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		p.Fatal(err)
	}
	o := p.read()
	p.Logf("%s: %+v", command, o)
	return o
}

func (p *patroni) want(command string, result any) {
	p.Helper()
	if o := p.do(command); o.Result != result || o.Raised != "" {
		p.Fatalf("%s: %+v, want %v", command, o, result)
	}
}

// wantLeader waits until Patroni's cache, which follows a watch, shows the leader.
func (p *patroni) wantLeader(name string) {
	p.Helper()
	eventually(p.T, "Patroni sees "+name, func() bool { return p.do("leader").Result == name })
}

const leaderKey = "/service/demo/leader"

func leaderLease(s *server) int64 {
	if k := s.b.Store().Get(leaderKey); k != nil {
		return k.Lease
	}
	return 0
}

func TestPatroniTakesAndRenewsLeadership(t *testing.T) {
	s := start(t)
	p := startPatroni(t, "pg1", s.addr, 10)
	p.want("acquire", true)
	p.wantLeader("pg1")
	rev := s.b.Store().Get(leaderKey).ModRevision
	p.want("update", true)
	p.want("touch", true)
	if s.b.Store().Get(leaderKey).ModRevision != rev {
		t.Fatal("a renewal has rewritten the leader key")
	}
	other := startPatroni(t, "pg2", s.addr, 10)
	other.want("acquire", nil) // no `succeeded` in the reply
}

// The lease of a guarded holder has ended, its keys wait for the fence: the holder
// must take that for a lost leadership, at once and without touching the key.
func TestPatroniGivesUpOnADeadLease(t *testing.T) {
	s := start(t)
	p := startPatroni(t, "pg1", s.addr, 10)
	p.want("acquire", true)
	p.wantLeader("pg1")
	before := s.b.Store().Get(leaderKey)
	s.b.kill(t, before.Lease)
	// The member key comes first in Patroni's loop. It must not lose its lease over that.
	lease := p.do("lease").Result
	p.want("touch", false)
	p.want("lease", lease)
	if o := p.do("update"); o.Result != false || o.Raised != "" || o.Seconds > 5 {
		t.Fatalf("update_leader: %+v, want false without retries", o)
	}
	if now := s.b.Store().Get(leaderKey); now != before {
		t.Fatalf("the leader key has changed: %+v", now)
	}
}

// A holder that comes back while nobody is powering it off, because the fence
// device is silent or the hold was not its fault, must be able to go on: it takes a
// new lease and puts its own leader key.
func TestPatroniComesBackToAHeldCluster(t *testing.T) {
	s := start(t)
	p := startPatroni(t, "pg1", s.addr, 10)
	p.want("acquire", true)
	p.wantLeader("pg1")
	before := s.b.Store().Get(leaderKey)
	s.b.kill(t, before.Lease)
	p.want("update", false) // a power-off is under way
	s.b.returning.Store(true)
	p.want("update", true)
	if now := s.b.Store().Get(leaderKey); string(now.Value) != "pg1" || now.Lease == before.Lease {
		t.Fatalf("the leader key is %+v, want pg1 with a new lease", now)
	}
	p.want("touch", true)
}

// A Patroni that was restarted on a host that is being fenced has a new lease and
// puts `leader` without a compare. The refusal must reach it as a failure of the DCS.
// NotFound is the negative control: it is swallowed, and Patroni believes that it leads.
func TestPatroniAndTheRefusedPut(t *testing.T) {
	for _, c := range []struct {
		refusal error // nil = what the API chooses for ErrGuarded
		lost    bool
	}{{nil, true}, {kv.ErrLeaseNotFound, false}} {
		s := start(t)
		p := startPatroni(t, "pg1", s.addr, 3)
		p.want("acquire", true)
		p.wantLeader("pg1")
		lease := leaderLease(s)

		again := startPatroni(t, "pg1", s.addr, 3)
		again.wantLeader("pg1")
		key := leaderKey
		s.b.refusal = c.refusal
		s.b.guarded.Store(&key)
		o := again.do("update")
		if lost := o.Raised != "" && o.IsDCSError; lost != c.lost {
			t.Fatalf("refused with %v: update_leader: %+v", c.refusal, o)
		}
		if !c.lost && o.Result != true {
			t.Fatalf("negative control: %+v", o)
		}
		if leaderLease(s) != lease {
			t.Fatal("the put was not refused")
		}
	}
}

// A broken connection makes 3.0.2 go to the next node within its budget.
func TestPatroniLeavesALeaderlessNode(t *testing.T) {
	s1, s2 := start(t), start(t)
	p := startPatroni(t, "pg1", s1.addr+","+s2.addr, 10)
	p.want("touch", true)
	first, second := s1, s2
	if s1.b.Store().Len() == 0 {
		first, second = s2, s1
	}
	first.b.leaderless.Store(true)
	// The first try fails after the node's limit, and the old lease is unknown to the
	// other store: two failures, then all is well again.
	eventually(t, "Patroni writes to the other node", func() bool { return p.do("touch").Result == true })
	if second.b.Store().Len() == 0 {
		t.Fatal("nothing was written to the other node")
	}
}

// Patroni finds out by itself that it needs a token, and fetches another when the
// token is not good any more, without losing its leadership.
func TestPatroniWithPassword(t *testing.T) {
	access := guarded(t)
	access.TokenTTL = time.Nanosecond // every token is stale within a second
	s := start(t, withAccess(access))
	p := startPatroni(t, "pg1", s.addr, 10, "patroni", "secret")
	p.want("acquire", true)
	p.wantLeader("pg1")
	token := p.do("token").Result
	rev := s.b.Store().Get(leaderKey).ModRevision
	for range 3 {
		time.Sleep(2 * time.Second)
		p.want("update", true)
		p.want("touch", true)
	}
	if p.do("token").Result == token {
		t.Error("the token is still the first")
	}
	if s.b.Store().Get(leaderKey).ModRevision != rev {
		t.Error("a stale token has cost the lease")
	}
	if o := startPatroni(t, "pg1", s.addr, 10, "other", "secret2").do("acquire"); o.Result == true {
		t.Errorf("the user of another cluster: %+v", o)
	}
}
