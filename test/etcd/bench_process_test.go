//go:build integration

package etcd

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	idleTime   = 30 * time.Second
	leaseCount = 10_000
	// keepStreams send one renewal each keepPause: 1000 a second.
	keepStreams = 20
	keepPause   = 20 * time.Millisecond
)

// field returns a number from a file of /proc that has lines "name: number".
func (s *server) field(t *testing.T, file, name string) int64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.proc.PID, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in /proc/%d/%s", name, s.proc.PID, file)
	return 0
}

// processor is the processor time that the process has used, in seconds.
func (s *server) processor(t *testing.T) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.proc.PID))
	if err != nil {
		t.Fatal(err)
	}
	// proc(5): utime and stime are fields 14 and 15, in hundredths of a second; the
	// second field is in brackets and may hold spaces.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	var ticks float64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return ticks / 100
}

// written is how much the nodes have had written to the disk, in bytes.
func (c *cluster) written() int64 {
	var sum int64
	for _, n := range c.nodes {
		sum += n.field(c.t, "io", "write_bytes")
	}
	return sum
}

// benchIdle looks at both sides with no client for half a minute, at once.
func benchIdle(t *testing.T, sides [2]*cluster) {
	t.Helper()
	var before [2]int64
	for i, c := range sides {
		before[i] = c.written()
	}
	sides[0].sleep(idleTime)
	r := result{Name: "etcd-idle-log-writes", Unit: "B/s", Note: fmt.Sprintf("write_bytes of the three processes over %s without a client, per node", idleTime)}
	r.Ours = float64(sides[0].written()-before[0]) / idleTime.Seconds() / 3
	r.Peer = float64(sides[1].written()-before[1]) / idleTime.Seconds() / 3
	r.publish(t)
	benchMemory(t, sides, "idle")
}

// benchMemory compares the mean resident memory of the three processes: all of it, and
// without the pages of the program file, which the nodes of one machine share and which
// the kernel can drop and read again.
func benchMemory(t *testing.T, sides [2]*cluster, when string) {
	t.Helper()
	for _, m := range [][2]string{{"rss", "VmRSS"}, {"anonymous", "RssAnon"}} {
		var mean [2]float64
		for i, c := range sides {
			for _, n := range c.nodes {
				mean[i] += float64(n.field(t, "status", m[1])) / 1024 / 3
			}
		}
		result{Name: "etcd-" + m[0] + "-" + when, Unit: "MiB", Ours: mean[0], Peer: mean[1], Note: m[1] + ", mean of the three processes"}.publish(t)
	}
}

// benchLeases renews 10,000 leases, a thousand a second, through all nodes, and
// looks whether that writes anything to the log.
func benchLeases(t *testing.T, sides [2]*cluster, runs int) {
	t.Helper()
	var m times
	var leases [2][]clientv3.LeaseID
	for i, c := range sides {
		leases[i] = grantMany(c, leaseCount)
	}
	var entries, bytes [2]float64
	for round := range runs {
		inTurn(sides, round, func(i int, c *cluster) {
			index, written := raftIndex(c), c.written()
			m[i] = append(m[i], renewMany(c, leases[i], round, cell)...)
			entries[i] += float64(raftIndex(c) - index)
			bytes[i] += float64(c.written()-written) / 3 / float64(runs)
		})
	}
	note := fmt.Sprintf("%d leases, %d streams over all nodes, 1000 renewals/s asked for, %d rounds of %s", leaseCount, keepStreams, runs, cell)
	rate := func(i int) float64 { return float64(len(m[i])) / (float64(runs) * cell.Seconds()) }
	result{Name: "etcd-keepalive-rate", Unit: "/s", Ours: rate(0), Peer: rate(1), Note: note}.publish(t)
	m.publish(t, "etcd-keepalive", note, 50, 99)
	result{Name: "etcd-keepalive-log-entries", Unit: "", Ours: entries[0], Peer: entries[1], Note: note}.publish(t)
	result{Name: "etcd-keepalive-written", Unit: "B", Ours: bytes[0], Peer: bytes[1], Note: note + "; bytes written to disk per node and round"}.publish(t)
}

// grantMany grants leases that outlive the benchmark.
func grantMany(c *cluster, count int) []clientv3.LeaseID {
	c.t.Helper()
	ids := make([]clientv3.LeaseID, count)
	clients := c.loaders(32)
	var work sync.WaitGroup
	for i, cli := range clients {
		work.Go(func() {
			for k := i; k < count; k += len(clients) {
				resp, err := cli.Grant(c.t.Context(), 3600)
				if err != nil {
					c.t.Error(err)
					return
				}
				ids[k] = resp.ID
			}
		})
	}
	work.Wait()
	return ids
}

func raftIndex(c *cluster) uint64 {
	c.t.Helper()
	st, err := c.status(c.t.Context(), c.waitLeaderQuietly())
	if err != nil {
		c.t.Fatal(err)
	}
	return st.RaftIndex
}

// waitLeaderQuietly finds the leader without writing anything.
func (c *cluster) waitLeaderQuietly() *server {
	c.t.Helper()
	for range 100 {
		if n, err := c.leader(c.t.Context()); err == nil {
			return n
		}
		c.sleep(100 * time.Millisecond)
	}
	c.t.Fatal(errNoLeader)
	return nil
}

// renewMany renews leases on streams as clientv3 does, and returns how long each
// answer took.
func renewMany(c *cluster, ids []clientv3.LeaseID, round int, d time.Duration) []time.Duration {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	took := make([][]time.Duration, keepStreams)
	var work sync.WaitGroup
	for i := range keepStreams {
		cli := c.dial(c.client, c.nodes[i%3].endpoint())
		defer cli.Close()
		stream, err := pb.NewLeaseClient(cli.ActiveConnection()).LeaseKeepAlive(ctx)
		if err != nil {
			c.t.Fatal(err)
		}
		work.Go(func() {
			tick := time.NewTicker(keepPause)
			defer tick.Stop()
			end := time.Now().Add(d)
			for k := round * 1000; time.Now().Before(end); k++ {
				<-tick.C
				start := time.Now()
				err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(ids[(k*keepStreams+i)%len(ids)])})
				var resp *pb.LeaseKeepAliveResponse
				if err == nil {
					resp, err = stream.Recv()
				}
				if err != nil || resp.TTL <= 0 {
					c.t.Errorf("renewal: %v, TTL %d", err, resp.GetTTL())
					return
				}
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	work.Wait()
	var all []time.Duration
	for _, one := range took {
		all = append(all, one...)
	}
	return all
}
