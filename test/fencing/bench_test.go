//go:build integration

package fencing

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/test/snmppdu"
)

// runsVariable says how often each fence is measured on each side; the benchmark runs only if it is set.
const runsVariable = "QUORATE_BENCH_RUNS"

// result is one line of out/bench.jsonl.
type result struct {
	Name  string    `json:"name"`
	Unit  string    `json:"unit"`
	Ours  float64   `json:"ours"`
	Peer  float64   `json:"peer,omitempty"`
	Ratio float64   `json:"ratio,omitempty"`
	Count [2]int    `json:"samples"` // ours, peer
	Note  string    `json:"note"`
	Load  string    `json:"load"` // of the machine, 1, 5 and 15 minutes
	At    time.Time `json:"at"`
}

// publish prints the result and appends it to out/bench.jsonl.
func (r result) publish(t *testing.T) {
	t.Helper()
	r.At = time.Now().UTC()
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	}
	peer, ratio := "-", "-"
	if r.Peer > 0 {
		r.Ratio = r.Ours / r.Peer
		peer, ratio = fmt.Sprintf("%.0f%s", r.Peer, r.Unit), fmt.Sprintf("%.3f", r.Ratio)
	}
	fmt.Printf("%s ours=%.0f%s peer=%s ratio=%s\n", r.Name, r.Ours, r.Unit, peer, ratio)
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root(t), "out"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(root(t), "out", "bench.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

// percentile in milliseconds; 0 of nothing.
func percentile(d []time.Duration, p float64) float64 {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return float64(sorted[min(len(sorted)-1, int(p/100*float64(len(sorted))))]) / float64(time.Millisecond)
}

// TestBenchPDU measures what a fence costs above the outlet's own time: ours and Debian's fence_apc_snmp in turns, on PDUs
// of the same kind, both by SNMPv3. With two outlets the agent is timed for what it says, which is not what it did.
func TestBenchPDU(t *testing.T) {
	runs, err := strconv.Atoi(os.Getenv(runsVariable))
	if err != nil || runs < 1 {
		t.Skipf("set %s to the number of runs", runsVariable)
	}
	// The outlet's time is not a multiple of the interval at which it is read: that would flatter us.
	odd := func(d time.Duration) time.Duration { return d + rand.N(100*time.Millisecond) }
	const delay = 1500 * time.Millisecond
	ours, theirs := startPDU(t, "apc-rpdu", delay), startPDU(t, "apc-rpdu", delay)
	note := "SNMPv3 authPriv on loopback, outlet takes 1.5 to 1.6 s; above the outlet's time; fence_apc_snmp 4.12.1"
	for _, outlets := range []string{"3", "3,5"} {
		var our, peer []time.Duration
		lies := 0
		for range runs {
			outletTime := odd(delay)
			our = append(our, fenceOurs(t, ours, outlets, outletTime))
			took, lied := fenceTheirs(t, theirs, outlets, outletTime)
			peer = append(peer, took)
			if lied {
				lies++
			}
		}
		name := fmt.Sprintf("fence-pdu-%d-outlets", 1+strings.Count(outlets, ","))
		for _, p := range []float64{50, 100} {
			label := map[float64]string{50: "-p50", 100: "-max"}[p]
			result{
				Name: name + label, Unit: "ms", Ours: percentile(our, p), Peer: percentile(peer, p), Count: [2]int{runs, runs},
				Note: fmt.Sprintf("%s; the agent claimed %d successes that were none", note, lies),
			}.publish(t)
		}
	}
	const quick = 300 * time.Millisecond
	var many []time.Duration
	for range 20 * runs {
		many = append(many, fenceOurs(t, ours, "3,5", odd(quick)))
	}
	for _, p := range []float64{50, 99, 100} {
		label := map[float64]string{50: "p50", 99: "p99", 100: "max"}[p]
		result{
			Name: "fence-pdu-overhead-" + label, Unit: "ms", Ours: percentile(many, p), Count: [2]int{len(many), 0},
			Note: "ours alone, two outlets, SNMPv3 authPriv on loopback, outlet takes 0.3 to 0.4 s",
		}.publish(t)
	}
}

// fenceOurs fences once and returns the overhead. The outlets are on again afterwards.
func fenceOurs(t *testing.T, p *pdu, outlets string, delay time.Duration) time.Duration {
	t.Helper()
	prepare(t, p, delay)
	started := time.Now()
	r := fencing.Off(t.Context(), host(device(t, p, "apc-rpdu", outlets, nil)), patient(bound))
	took := time.Since(started)
	for o := range strings.SplitSeq(outlets, ",") {
		if r.Outcome != fencing.Confirmed || p.on(o) {
			t.Fatalf("%s: %s; %s", r.Outcome, r.Reason, p.really(strings.Split(outlets, ",")...))
		}
	}
	return took - delay
}

// fenceTheirs lets the agent fence once, and reports whether its success was none.
func fenceTheirs(t *testing.T, p *pdu, outlets string, delay time.Duration) (overhead time.Duration, lied bool) {
	t.Helper()
	prepare(t, p, delay)
	started := time.Now()
	code, says := agent(t, p, "fence_apc_snmp", append([]string{"-n", outlets, "-o", "off"}, byUser...)...)
	took := time.Since(started)
	if code != 0 {
		t.Fatalf("fence_apc_snmp: exit %d, %s", code, says)
	}
	for o := range strings.SplitSeq(outlets, ",") {
		lied = lied || p.on(o)
	}
	return took - delay, lied
}

// prepare switches all outlets on and sets the time that the next switch takes.
func prepare(t *testing.T, p *pdu, delay time.Duration) {
	t.Helper()
	p.configure(snmppdu.Settings{})
	if r := fencing.On(t.Context(), host(device(t, p, "apc-rpdu", "3,5", nil)), patient(bound)); r.Outcome != fencing.Confirmed {
		t.Fatal(r.Reason)
	}
	p.configure(snmppdu.Settings{Delay: delay})
}
