//go:build integration

package etcd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"quorate/test/lab"
)

// runsVariable says how often each measurement is made on each side; the
// benchmark runs only if it is set.
const runsVariable = "QUORATE_BENCH_RUNS"

// partsVariable selects parts of the benchmark, separated by commas: idle, load, watch,
// leases, failover. Without it all of them run.
const partsVariable = "QUORATE_BENCH_PARTS"

const (
	valueSize = 256
	benchKeys = 1000
	cell      = 2 * time.Second // of one kind of load on one side
)

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
	fmt.Printf("%s ours=%.2f%s peer=%.2f%s ratio=%s\n", r.Name, r.Ours, r.Unit, r.Peer, r.Unit, ratio)
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

// times are the measurements of one kind on both sides: ours, peer.
type times [2][]time.Duration

// publish prints the given percentiles in milliseconds.
func (m *times) publish(t *testing.T, name, note string, percentiles ...float64) {
	t.Helper()
	for _, p := range percentiles {
		label := fmt.Sprintf("%s-p%g", name, p)
		if p == 100 {
			label = name + "-max"
		}
		result{
			Name: label, Unit: "ms", Ours: percentile(m[0], p), Peer: percentile(m[1], p),
			Count: [2]int{len(m[0]), len(m[1])}, Note: note,
		}.publish(t)
	}
}

// percentile in milliseconds; 0 of nothing.
func percentile(d []time.Duration, p float64) float64 {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	i := min(len(sorted)-1, int(p/100*float64(len(sorted))))
	return float64(sorted[i]) / float64(time.Millisecond)
}

// etcdServers starts three real etcd with the given further arguments.
func etcdServers(t *testing.T, l *lab.Lab, prefix string, octet int, extra ...string) *cluster {
	t.Helper()
	return newCluster(t, l, prefix, octet, func(c *cluster, i int) []string {
		var initial []string
		for _, n := range c.nodes {
			initial = append(initial, n.name+"=http://"+n.host.IP()+":2380")
		}
		n := c.nodes[i]
		peer := "http://" + n.host.IP() + ":2380"
		return append([]string{
			"/usr/bin/etcd", "--name", n.name, "--data-dir", filepath.Join(l.DataDir(), n.name),
			"--listen-client-urls", n.endpoint(), "--advertise-client-urls", n.endpoint(),
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", strings.Join(initial, ","),
		}, extra...)
	})
}

// TestBench measures three witnesses beside three real etcd servers: one
// machine, one disk, the same client code, in turns.
func TestBench(t *testing.T) {
	runs, err := strconv.Atoi(os.Getenv(runsVariable))
	if err != nil || runs < 1 {
		t.Skipf("set %s to the number of runs", runsVariable)
	}
	l := newLab(t)
	sides := [2]*cluster{witnesses(t, l), etcdServers(t, l, "e", 30)}
	sides[0].sleep(5 * time.Second)
	selected := os.Getenv(partsVariable)
	for _, part := range []struct {
		name string
		run  func()
	}{
		{"idle", func() { benchIdle(t, sides) }},
		{"load", func() { benchLoad(t, sides, runs) }},
		{"watch", func() { benchWatch(t, sides, runs) }},
		{"leases", func() { benchLeases(t, sides, runs); benchMemory(t, sides, "loaded") }},
		{"failover", func() { benchFailover(t, l, sides, 3*runs) }},
	} {
		if selected == "" || slices.Contains(strings.Split(selected, ","), part.name) {
			part.run()
		}
	}
}

// inTurn runs f for both sides, the first one first every other time.
func inTurn(sides [2]*cluster, round int, f func(i int, c *cluster)) {
	for k := range 2 {
		i := (k + round) % 2
		f(i, sides[i])
	}
}

// loaders are clients of one side, each with a connection of its own to the leader.
func (c *cluster) loaders(count int) []*clientv3.Client {
	c.t.Helper()
	leader := c.waitLeader()
	var all []*clientv3.Client
	for range count {
		all = append(all, c.dial(c.client, leader.endpoint()))
	}
	return all
}

// closedLoop lets every client do one operation after the other for a while and
// returns how long each took. An operation that fails ends the benchmark.
func closedLoop(c *cluster, clients []*clientv3.Client, d time.Duration, op func(ctx context.Context, cli *clientv3.Client, client, n int) error) []time.Duration {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	took := make([][]time.Duration, len(clients))
	var work sync.WaitGroup
	end := time.Now().Add(d)
	for i, cli := range clients {
		work.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				start := time.Now()
				if err := op(ctx, cli, i, n); err != nil {
					c.t.Errorf("client %d: %v", i, err)
					return
				}
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	work.Wait()
	return slices.Concat(took...)
}

func benchKey(client, n int) string { return fmt.Sprintf("/bench/%04d", (client*131+n*7)%benchKeys) }

func putOne(ctx context.Context, cli *clientv3.Client, client, n int) error {
	_, err := cli.Put(ctx, benchKey(client, n), value)
	return err
}

func getOne(ctx context.Context, cli *clientv3.Client, client, n int) error {
	_, err := cli.Get(ctx, benchKey(client, n))
	return err
}

// value is what is put.
var value = strings.Repeat("v", valueSize)

// benchLoad measures puts and linearizable gets of 1, 16 and 64 clients at the
// leader, and of 16 clients at the followers.
func benchLoad(t *testing.T, sides [2]*cluster, runs int) {
	t.Helper()
	var clients, far [2][]*clientv3.Client
	for i, c := range sides {
		clients[i] = c.loaders(64)
		for _, n := range c.followers(c.waitLeader()) {
			for range 8 {
				far[i] = append(far[i], c.dial(c.client, n.endpoint()))
			}
		}
		closedLoop(c, clients[i], time.Second, putOne) // warm connections, all keys exist
	}
	counts := []int{1, 16, 64}
	puts, gets := map[int]*times{1: {}, 16: {}, 64: {}}, map[int]*times{1: {}, 16: {}, 64: {}}
	var farPuts, farGets times
	var spent [2]float64 // processor seconds of the leader for gets of 64 clients
	for round := range runs {
		for _, n := range counts {
			inTurn(sides, round, func(i int, c *cluster) {
				puts[n][i] = append(puts[n][i], closedLoop(c, clients[i][:n], cell, putOne)...)
			})
			inTurn(sides, round, func(i int, c *cluster) {
				leader := c.waitLeaderQuietly()
				before := leader.processor(t)
				gets[n][i] = append(gets[n][i], closedLoop(c, clients[i][:n], cell, getOne)...)
				if n == 64 {
					spent[i] += leader.processor(t) - before
				}
			})
		}
		inTurn(sides, round, func(i int, c *cluster) { farPuts[i] = append(farPuts[i], closedLoop(c, far[i], cell, putOne)...) })
		inTurn(sides, round, func(i int, c *cluster) { farGets[i] = append(farGets[i], closedLoop(c, far[i], cell, getOne)...) })
		for i, c := range sides {
			compact(c, clients[i][0])
		}
	}
	note := fmt.Sprintf("closed loop, %d B, %d keys, at the leader, %d rounds of %s", valueSize, benchKeys, runs, cell)
	for _, n := range counts {
		puts[n].publish(t, fmt.Sprintf("etcd-put-%d", n), note, 50, 99)
	}
	farPuts.publish(t, "etcd-put-16-followers", note, 50, 99)
	for _, n := range counts {
		gets[n].publish(t, fmt.Sprintf("etcd-get-%d", n), note+", linearizable", 50, 99)
	}
	farGets.publish(t, "etcd-get-16-followers", note+", linearizable", 50, 99)
	perGet := func(i int) float64 { return spent[i] * 1e6 / float64(len(gets[64][i])) }
	result{Name: "etcd-get-64-processor", Unit: "us", Ours: perGet(0), Peer: perGet(1), Note: note + ", linearizable: processor time of the leader's process for each get"}.publish(t)
}

// compact forgets the history, which would otherwise meet a witness's quota.
func compact(c *cluster, cli *clientv3.Client) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	resp, err := cli.Get(ctx, "/bench/0000")
	if err == nil {
		_, err = cli.Compact(ctx, resp.Header.Revision)
	}
	if err != nil {
		c.t.Error(err)
	}
}

// benchWatch measures how long an event takes from the call of its put to a
// watcher, on all three nodes, while four clients put.
func benchWatch(t *testing.T, sides [2]*cluster, runs int) {
	t.Helper()
	var m times
	base := time.Now()
	for round := range runs {
		inTurn(sides, round, func(i int, c *cluster) {
			ctx, cancel := context.WithCancel(t.Context())
			var work sync.WaitGroup
			var each [3][]time.Duration
			for k, n := range c.nodes {
				events := c.dial(c.client, n.endpoint()).Watch(clientv3.WithRequireLeader(ctx), "/watch/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
				<-events
				work.Go(func() {
					for resp := range events {
						now := time.Since(base)
						for _, e := range resp.Events {
							at, _ := strconv.ParseInt(string(e.Kv.Value), 10, 64) // the puts below
							each[k] = append(each[k], now-time.Duration(at))
						}
					}
				})
			}
			put := 0
			for _, took := range [][]time.Duration{closedLoop(c, c.loaders(4), cell, func(ctx context.Context, cli *clientv3.Client, client, n int) error {
				_, err := cli.Put(ctx, fmt.Sprintf("/watch/%d", client), strconv.FormatInt(int64(time.Since(base)), 10))
				return err
			})} {
				put += len(took)
			}
			c.sleep(time.Second) // for what is under way
			cancel()
			work.Wait()
			for k := range each {
				if len(each[k]) != put {
					t.Errorf("%s: a watcher got %d events of %d", c.nodes[k].name, len(each[k]), put)
				}
				m[i] = append(m[i], each[k]...)
			}
		})
	}
	m.publish(t, "etcd-watch-delivery", "from the call of the put to the event, 4 clients putting in a closed loop, a watcher on each node", 50, 99)
}
