//go:build integration

package qdevice

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"quorate/witness/qnetd/authority"
	"quorate/witness/qnetd/wire"
)

// The size of the benchmark.
const (
	benchClusters = 1000 // of two nodes
	benchSplit    = 200  // of them, at once
)

// figure is one line of out/bench.jsonl.
type figure struct {
	Name  string    `json:"name"`
	Unit  string    `json:"unit"`
	Ours  float64   `json:"ours"`
	Peer  float64   `json:"peer"`
	Ratio float64   `json:"ratio,omitempty"`
	Count [2]int    `json:"samples"` // ours, peer
	Note  string    `json:"note"`
	Load  string    `json:"load"` // of the machine, 1, 5 and 15 minutes
	At    time.Time `json:"at"`
}

// publish prints a figure and appends it to out/bench.jsonl.
func (f figure) publish(t *testing.T) {
	t.Helper()
	f.At = time.Now().UTC()
	if raw, err := os.ReadFile("/proc/loadavg"); err == nil {
		f.Load = strings.Join(strings.Fields(string(raw))[:3], " ")
	}
	ratio := "-"
	if f.Peer > 0 {
		f.Ratio = f.Ours / f.Peer
		ratio = fmt.Sprintf("%.3f", f.Ratio)
	}
	fmt.Printf("%s ours=%.2f%s peer=%.2f%s ratio=%s\n", f.Name, f.Ours, f.Unit, f.Peer, f.Unit, ratio)
	line, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("../../out", 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile("../../out/bench.jsonl", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

// TestBenchScale keeps 2,000 devices of 1,000 clusters, all with TLS, on three
// witnesses, and then on one stock corosync-qnetd. Clusters are split at once
// with nothing between the lists of both sides, and the time is taken until the
// last of them has its decision on both sides.
func TestBenchScale(t *testing.T) {
	runs, err := strconv.Atoi(os.Getenv("QUORATE_BENCH_RUNS"))
	if err != nil || runs < 1 {
		t.Skip("a benchmark; set QUORATE_BENCH_RUNS")
	}
	raiseFileLimit(t)
	tr := newTrio(t, benchClusters)
	identities := make([]*tls.Config, benchClusters)
	for c := range identities {
		identities[c] = tr.identity(fmt.Sprintf("c%d", c+1))
	}
	nssdb := filepath.Join(tr.dir, "nssdb")
	run(t, fmt.Sprintf(`cd %s && mkdir nssdb && echo -n >pw && cp pw nssdb/pwdfile.txt
certutil -N -d nssdb -f pw
certutil -A -d nssdb -f pw -t CT,c,c -n "QNet CA" -i ca/%s
openssl pkcs12 -export -passout pass: -name "QNetd Cert" -in ca/%s -inkey ca/%s -out server.p12
pk12util -d nssdb -k pw -W "" -i server.p12`, tr.dir, authority.CertFile, authority.ServerCertFile, authority.ServerKeyFile))
	until(t, "the witnesses take devices", tr.all)

	ours := load(t, tr.devices(), identities, runs, func() (largest float64) {
		for _, p := range tr.witnesses {
			largest = max(largest, p.rss(t))
		}
		return largest
	})
	if ours == nil {
		t.FailNow()
	}
	for _, p := range tr.witnesses {
		tr.kill(p)
	}
	address, pid := stockServer(t, "req", nssdb)
	peer := &process{pid: pid}
	peers := load(t, []string{address}, identities, runs, func() float64 { return peer.rss(t) })
	if peers == nil {
		peers = &sample{} // what it does under this load is the peer's business
	}
	figure{
		Name: "qdevice-split-200", Unit: "s", Ours: ours.split(), Peer: peers.split(), Count: [2]int{len(ours.splits), len(peers.splits)},
		Note: "1,000 two-node clusters with TLS; 200 split at once, until the last has its decision on both sides; median",
	}.publish(t)
	figure{
		Name: "qdevice-memory", Unit: "MiB", Ours: ours.memory, Peer: peers.memory, Count: [2]int{1, min(1, len(peers.splits))},
		Note: "resident memory with 2,000 clients, after the splits; the largest of three witnesses, and one corosync-qnetd",
	}.publish(t)
}

// sample is what was measured on one side.
type sample struct {
	memory float64 // MiB
	splits []time.Duration
}

// split is the median in seconds, 0 without one.
func (s sample) split() float64 {
	if len(s.splits) == 0 {
		return 0
	}
	slices.Sort(s.splits)
	return s.splits[len(s.splits)/2].Seconds()
}

var digits = regexp.MustCompile(`[0-9]+`)

// load puts the devices of all clusters on servers and splits some of them,
// runs times. It returns nil, and logs why, if that does not come about.
func load(t *testing.T, servers []string, identities []*tls.Config, runs int, memory func() float64) *sample {
	var clusters [][2]*Device
	var all []*Device
	for c, identity := range identities {
		var pair [2]*Device
		for n := range pair {
			first := (c + n) % len(servers)
			order := append(slices.Clone(servers[first:]), servers[:first]...)
			pair[n] = New(fmt.Sprintf("c%d", c+1), uint32(n+1), []uint32{1, 2}, order...)
			pair[n].TLS = identity
			all = append(all, pair[n])
		}
		clusters = append(clusters, pair)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	votes := func(some [][2]*Device, one, two wire.Vote) func() bool {
		return func() bool {
			return !slices.ContainsFunc(some, func(c [2]*Device) bool { return c[0].Cast().Vote != one || c[1].Cast().Vote != two })
		}
	}
	failed := func(what string) *sample {
		without := map[string]int{}
		for _, d := range all {
			if c := d.Cast(); c.Vote != wire.ACK {
				without[digits.ReplaceAllString(fmt.Sprintf("%v, %s", c.Vote, c.Why), "N")]++
			}
		}
		t.Logf("%s: not within %v; without an ACK are %v", what, patience, without)
		return nil
	}
	start := time.Now()
	// Some at a time: a corosync-qnetd on which all fall at once serves nobody for
	// minutes, since the clients give up and come again.
	for some := range slices.Chunk(all, 50) {
		for _, d := range some {
			work.Go(func() {
				if err := d.Run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		if !within(func() bool { return !slices.ContainsFunc(some, func(d *Device) bool { return d.Sessions() == 0 }) }) {
			return failed("the next devices connect")
		}
	}
	if !within(votes(clusters, wire.ACK, wire.ACK)) {
		return failed("every node has the vote")
	}
	t.Logf("%d devices have connected and have the vote after %v; %.1f MiB", len(all), time.Since(start).Round(time.Millisecond), memory())
	out := &sample{}
	for i := range runs {
		some, seq, start := clusters[:benchSplit], uint64(100+10*i), time.Now()
		for _, c := range some {
			c[1].Member(wire.RingID{NodeID: 2, Seq: seq}, 2)
			c[0].Member(wire.RingID{NodeID: 1, Seq: seq}, 1)
		}
		if !within(votes(some, wire.ACK, wire.NACK)) {
			return failed("all have their decision")
		}
		var last time.Time
		for _, c := range some {
			for _, d := range c {
				if at := d.Cast().At; at.After(last) {
					last = at
				}
			}
		}
		out.splits = append(out.splits, last.Sub(start))
		t.Logf("split %d: %v", i+1, last.Sub(start).Round(time.Millisecond))
		for _, c := range some {
			c[1].Member(wire.RingID{NodeID: 1, Seq: seq + 5}, 1, 2)
			c[0].Member(wire.RingID{NodeID: 1, Seq: seq + 5}, 1, 2)
		}
		if !within(votes(clusters, wire.ACK, wire.ACK)) {
			return failed("every node has the vote again")
		}
	}
	sessions := 0
	for _, d := range all {
		sessions += d.Sessions()
	}
	out.memory = memory()
	t.Logf("%d sessions for %d devices; %.1f MiB", sessions, len(all), out.memory)
	return out
}

// patience is how long thousands may take.
const patience = 2 * time.Minute

func within(done func() bool) bool {
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
