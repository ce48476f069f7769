//go:build integration

package qdevice

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quorate/witness/qnetd/wire"
)

// startAgent starts witness-agent for cluster c1 and returns its address.
func startAgent(t *testing.T, tr *trio, lease string) (*exec.Cmd, string) {
	t.Helper()
	listen := free(t)
	var log bytes.Buffer
	agent := exec.Command(filepath.Join(tr.dir, "witness-agent"), "qdevice-proxy", "--lease", lease, "--listen", listen,
		"--witness", strings.Join(tr.devices(), ","),
		"--ca", filepath.Join(tr.dir, "ca/ca.crt"), "--cert", filepath.Join(tr.dir, "c1.crt"), "--key", filepath.Join(tr.dir, "c1.key"))
	agent.Stdout, agent.Stderr = &log, &log
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
		if t.Failed() {
			t.Logf("witness-agent said:\n%s", log.String())
		}
	})
	return agent, listen
}

// TestProxyStops is the winner of a standing split behind a proxy that is killed,
// or stops in the middle of its work: its node must have cast a NACK before the
// other side is told ACK.
func TestProxyStops(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			tr := newTrio(t, 1)
			config := tr.identity("c1")
			agent, listen := startAgent(t, tr, "2s")
			until(t, "the witnesses take devices", tr.all)
			one, two := New("c1", 1, []uint32{1, 2}, listen), New("c1", 2, []uint32{1, 2}, tr.devices()...)
			two.TLS = config
			one.Heartbeat, two.Heartbeat = 4*time.Second, 4*time.Second
			casts := make(chan Cast, 1000)
			one.OnCast = func(c Cast) { casts <- c }
			running(t, one, two)
			until(t, "both nodes have the vote", func() bool { return one.Cast().Vote == wire.ACK && two.Cast().Vote == wire.ACK })
			two.Member(wire.RingID{NodeID: 2, Seq: 13}, 2)
			one.Member(wire.RingID{NodeID: 1, Seq: 13}, 1)
			until(t, "node 1 alone has the vote", func() bool { return one.Cast().Vote == wire.ACK && two.Cast().Vote == wire.NACK })
			for len(casts) > 0 {
				<-casts
			}
			if err := agent.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			until(t, "node 2 has the vote", func() bool { return two.Cast().Vote == wire.ACK })
			given := two.Cast().At
			select {
			case c := <-casts:
				if c.Vote != wire.NACK || c.At.After(given) {
					t.Errorf("node 1 casts %v %v after node 2 was told ACK", c.Vote, c.At.Sub(given))
				}
				t.Logf("node 1 casts %v after %v, node 2 ACK after %v", c.Vote, c.At.Sub(start).Round(time.Millisecond), given.Sub(start).Round(time.Millisecond))
			default:
				t.Error("node 2 has the vote, and node 1 has not given it up")
			}
			if signal != syscall.SIGSTOP {
				return
			}
			if err := agent.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			until(t, "node 1 is connected again", func() bool { return one.Sessions() == 2 && one.Cast().Vote == wire.NACK })
			if got := two.Cast().Vote; got != wire.ACK {
				t.Errorf("node 2, which has the vote, casts %v", got)
			}
		})
	}
}

// TestProxy is a lone survivor behind witness-agent: its peer is gone, it has
// the vote, and the witness that it talks to dies, again and again, of every
// witness and in both ways. It must not cast anything but ACK for a moment. The
// lease is longer than the default, for machines that are slow to elect a leader.
func TestProxy(t *testing.T) {
	tr := newTrio(t, 1)
	tr.identity("c1")
	agent, listen := startAgent(t, tr, "20s")
	survivor := New("c1", 2, []uint32{1, 2}, listen)
	survivor.Member(wire.RingID{NodeID: 2, Seq: 13}, 2)
	casts := make(chan Cast, 1000)
	survivor.OnCast = func(c Cast) { casts <- c }
	running(t, survivor)
	until(t, "the survivor has the vote", func() bool { return survivor.Cast().Vote == wire.ACK })
	for len(casts) > 0 {
		<-casts
	}

	for round := range 6 {
		var lost *process
		until(t, "a witness has the session", func() bool { lost = tr.holder(agent); return lost != nil })
		leads := lost == tr.leader()
		if round%2 == 0 {
			tr.kill(lost)
		} else {
			tr.pause(lost, true)
		}
		start := time.Now()
		until(t, "another witness has the session", func() bool {
			now := tr.holder(agent)
			return now != nil && now != lost
		})
		t.Logf("round %d: the lost witness led: %t; moved after %v", round, leads, time.Since(start).Round(time.Millisecond))
		time.Sleep(time.Second) // for what a wrong move would bring about
		if round%2 == 0 {
			tr.start(lost)
		} else {
			tr.pause(lost, false)
		}
		until(t, "three witnesses work", func() bool { return tr.leader() != nil && tr.all() })
		for len(casts) > 0 {
			c := <-casts
			t.Errorf("round %d: the survivor cast %v: %s", round, c.Vote, c.Why)
		}
		if survivor.Sessions() != 1 {
			t.Fatalf("round %d: qdevice has noticed: %d sessions", round, survivor.Sessions())
		}
	}

	// With no witness left the proxy is not one.
	for _, p := range tr.witnesses {
		tr.kill(p)
	}
	until(t, "the vote ends with the lease", func() bool { return survivor.Cast().Vote == wire.NACK })
	for _, p := range tr.witnesses {
		tr.start(p)
	}
	until(t, "the survivor has the vote again", func() bool { return survivor.Cast().Vote == wire.ACK })
}
