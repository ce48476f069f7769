//go:build integration

package redfish_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"quorate/fencing"
	"quorate/fencing/redfish"
	"quorate/fencing/simulated"
)

// runsVariable says how often each measurement is repeated; without it the benchmark is skipped.
const runsVariable = "QUORATE_BENCH_RUNS"

// result is one line of out/bench.jsonl.
type result struct {
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

// publish prints the result and appends it to out/bench.jsonl.
func (r result) publish(t *testing.T) {
	t.Helper()
	r.At = time.Now().UTC()
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	}
	ratio := "-"
	if r.Peer > 0 {
		r.Ratio = r.Ours / r.Peer
		ratio = fmt.Sprintf("%.3f", r.Ratio)
	}
	fmt.Printf("%s ours=%.1f%s peer=%.1f%s ratio=%s\n", r.Name, r.Ours, r.Unit, r.Peer, r.Unit, ratio)
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join("..", "..", "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(out, "bench.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

func benchRuns(t *testing.T) int {
	t.Helper()
	runs, err := strconv.Atoi(os.Getenv(runsVariable))
	if err != nil || runs < 1 {
		t.Skipf("set %s to the number of runs, or call make bench", runsVariable)
	}
	return runs
}

// percentile of the durations, in milliseconds.
func percentile(list []time.Duration, p int) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return float64(sorted[min(len(sorted)-1, len(sorted)*p/100)].Microseconds()) / 1000
}

// TestBenchOverhead measures what a fence costs above the machine's own time, ours and fence_redfish's, in turns.
func TestBenchOverhead(t *testing.T) {
	// The machine's own time varies, or the readings would always fall on the same moment after it.
	device := func() time.Duration { return 450*time.Millisecond + rand.N(100*time.Millisecond) }
	var ours, peer []time.Duration
	for range benchRuns(t) {
		for range 20 {
			own := device()
			bmc := startBMC(t, simulated.Config{Delay: own})
			s := fenceByUs(t, adversary{any: true}, bmc)
			if !s.off || s.is != simulated.Off {
				t.Fatalf("%+v", s)
			}
			ours = append(ours, s.took-own)
		}
		own := device()
		bmc := startBMC(t, simulated.Config{Delay: own})
		s := fenceByAgent(t, adversary{}, bmc)
		if !s.off || s.is != simulated.Off {
			t.Fatalf("%+v", s)
		}
		peer = append(peer, s.took-own)
	}
	for _, p := range []int{50, 99} {
		result{
			Name: fmt.Sprintf("fence-overhead-p%d", p), Unit: "ms", Ours: percentile(ours, p), Peer: percentile(peer, p), Count: [2]int{len(ours), len(peer)},
			Note: "above 450 to 550 ms of the machine's own time; Redfish over TLS on loopback; peer fence_redfish; target 150 ms at p99",
		}.publish(t)
	}
}

// TestBenchNextLevel measures how long a BMC that is silent after TLS holds up the next level.
func TestBenchNextLevel(t *testing.T) {
	var ours []time.Duration
	for range benchRuns(t) {
		bad, good := startBMC(t, simulated.Config{}), startBMC(t, simulated.Config{})
		if err := bad.SetFault(simulated.StallTLS); err != nil {
			t.Fatal(err)
		}
		r := fencing.Off(t.Context(), host(open(t, config(bad)), open(t, config(good))), fencing.Timing{})
		if r.Outcome != fencing.Confirmed || r.Evidence.Level != 2 {
			t.Fatalf("%s: %s", r.Outcome, r.Reason)
		}
		ours = append(ours, r.Evidence.Devices[1].Started.Sub(r.Evidence.Started))
	}
	result{
		Name: "fence-next-level-max", Unit: "ms", Ours: percentile(ours, 100), Count: [2]int{len(ours), 0},
		Note: "until the second level starts, the first BMC being silent after TLS; target 5 s; fence_redfish never returns (killed after 20 s)",
	}.publish(t)
}

// TestBenchMany measures 50 hosts fenced at once by one process, against one alone.
func TestBenchMany(t *testing.T) {
	const hosts, device = 50, 1500 * time.Millisecond
	var one, all []time.Duration
	for range benchRuns(t) {
		one = append(one, fenceMany(t, 1, device))
		all = append(all, fenceMany(t, hosts, device))
	}
	result{
		Name: "fence-50-hosts", Unit: "ms", Ours: percentile(all, 50), Peer: percentile(one, 50), Count: [2]int{len(all), len(one)},
		Note: "50 hosts at once against one (peer), 1.5 s of the machines' own time; BMCs and witness on the same processors; target ratio 1.5",
	}.publish(t)
}

func fenceMany(t *testing.T, n int, device time.Duration) time.Duration {
	t.Helper()
	devices := make([]*redfish.Device, n)
	for i := range devices {
		devices[i] = open(t, config(startBMC(t, simulated.Config{Delay: device})))
	}
	var wg sync.WaitGroup
	started := time.Now()
	for _, d := range devices {
		wg.Go(func() {
			if r := fencing.Off(context.Background(), host(d), fencing.Timing{}); r.Outcome != fencing.Confirmed {
				t.Errorf("%s: %s", r.Outcome, r.Reason)
			}
		})
	}
	wg.Wait()
	return time.Since(started)
}
