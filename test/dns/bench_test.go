//go:build integration

package dns

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The benchmark runs only when QUORATE_BENCH_RUNS says how many rounds.
const runsVariable = "QUORATE_BENCH_RUNS"

// figure is one line of out/bench.jsonl: medians over the rounds, and the median of
// the ratios within each round.
type figure struct {
	Name  string    `json:"name"`
	Unit  string    `json:"unit"`
	Ours  float64   `json:"ours"`
	Peer  float64   `json:"peer"`
	Ratio float64   `json:"ratio"`
	Each  []float64 `json:"ratio_each"`
	Note  string    `json:"note"`
	At    time.Time `json:"at"`
}

// sample is what one server did in one cell.
type sample struct {
	cpu, qps, p50, p99 float64 // µs of processor time per query, queries/s, µs, µs
}

// cell is one way to ask.
type cell struct {
	name        string
	outstanding int // 0: dnsperf
	edns        bool
	cookie      bool
}

// TestBenchDNS asks each server in turn in each round: ours, NSD, Knot and gdnsd on
// one core, with the same zone and the same questions. Nothing is asserted but that
// the answers come.
func TestBenchDNS(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv(runsVariable))
	if err != nil || rounds < 1 {
		t.Skipf("set %s to the number of rounds", runsVariable)
	}
	servers := []*server{startOurs(t, 0), startNSD(t), startKnot(t), startGdnsd(t), changing(t)}
	length := time.Second
	for _, c := range []cell{
		{"burst", 64, false, false},
		{"burst-edns", 64, true, false},
		{"burst-cookie", 64, true, true},
		{"one", 1, false, false},
		{"dnsperf", 0, false, false},
	} {
		got := map[string][]sample{}
		for range rounds {
			for _, s := range servers {
				got[s.name] = append(got[s.name], measure(t, s, c, length))
			}
		}
		for _, s := range servers[1:] {
			publish(t, c.name+"-cpu", s.name, "µs/query", got, func(x sample) float64 { return x.cpu })
			publish(t, c.name+"-qps", s.name, "queries/s", got, func(x sample) float64 { return x.qps })
			if c.outstanding > 0 {
				publish(t, c.name+"-p50", s.name, "µs", got, func(x sample) float64 { return x.p50 })
				publish(t, c.name+"-p99", s.name, "µs", got, func(x sample) float64 { return x.p99 })
			}
		}
	}
}

// changing is our server during 100 state changes a second.
func changing(t *testing.T) *server {
	s := startOurs(t, 100)
	s.name = "quorate-changing"
	return s
}

func measure(t *testing.T, s *server, c cell, length time.Duration) sample {
	t.Helper()
	before := s.busy(t)
	var answered int
	var out sample
	if c.outstanding == 0 {
		answered, out.qps = dnsperf(t, s, length)
	} else {
		packets, err := Packets(c.edns, c.cookie)
		if err != nil {
			t.Fatal(err)
		}
		client := Burst{Addr: s.addr, Packets: packets, Outstanding: c.outstanding, CPU: 1}
		type outcome struct {
			res Result
			err error
		}
		done := make(chan outcome)
		go func() {
			res, err := client.Run(length)
			done <- outcome{res, err}
		}()
		o := <-done
		if o.err != nil {
			t.Fatalf("%s: %v", s.name, o.err)
		}
		answered, out.qps = o.res.Answered, float64(o.res.Answered)/o.res.Took.Seconds()
		out.p50, out.p99 = micros(o.res.P50), micros(o.res.P99)
	}
	if answered == 0 {
		t.Fatalf("%s answered nothing", s.name)
	}
	out.cpu = micros(s.busy(t)-before) / float64(answered)
	return out
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

var (
	completed = regexp.MustCompile(`Queries completed:\s+(\d+)`)
	perSecond = regexp.MustCompile(`Queries per second:\s+([0-9.]+)`)
)

// dnsperf sends one query in each system call, 100 outstanding.
func dnsperf(t *testing.T, s *server, length time.Duration) (answered int, qps float64) {
	t.Helper()
	var b strings.Builder
	for _, q := range Mix() {
		fmt.Fprintf(&b, "%s %s\n", q.Name, dns.TypeToString[q.Type])
	}
	data := write(t, t.TempDir(), "queries", b.String())
	out, err := exec.Command("taskset", "-c", "1", "dnsperf", "-s", s.addr.Addr().String(), "-p", strconv.Itoa(int(s.addr.Port())),
		"-d", data, "-l", strconv.Itoa(int(length/time.Second)), "-c", "4", "-T", "1", "-q", "100").CombinedOutput()
	if err != nil {
		t.Fatalf("dnsperf: %v\n%s", err, out)
	}
	match := func(re *regexp.Regexp) float64 {
		found := re.FindSubmatch(out)
		if found == nil {
			t.Fatalf("dnsperf said nothing of %s:\n%s", re, out)
		}
		v, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	return int(match(completed)), match(perSecond)
}

// publish prints one figure of ours beside one peer's and appends it to
// out/bench.jsonl.
func publish(t *testing.T, name, peer, unit string, got map[string][]sample, of func(sample) float64) {
	t.Helper()
	var ours, theirs, ratios []float64
	for i := range got["quorate"] {
		a, b := of(got["quorate"][i]), of(got[peer][i])
		ours, theirs, ratios = append(ours, a), append(theirs, b), append(ratios, a/b)
	}
	f := figure{
		Name: "dns-" + name + "-" + peer, Unit: unit, Ours: median(ours), Peer: median(theirs), Ratio: median(ratios), Each: ratios,
		Note: "one core, loopback, " + strconv.Itoa(len(ours)) + " rounds; ours with counters, rate limit and cookies on", At: time.Now().UTC(),
	}
	fmt.Printf("%s ours=%.2f peer=%.2f ratio=%.3f\n", f.Name, f.Ours, f.Peer, f.Ratio)
	line, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "out", "bench.jsonl")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}
