package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"quorate/witness"
	"quorate/witness/httpapi"
	"quorate/witness/report"
)

// Options of a demo.
type Options struct {
	Out   io.Writer
	Stay  bool // do not kill anything; run until ctx ends
	Start func(ctx context.Context, n Node) error
}

// demo is one run of it.
type demo struct {
	opts  Options
	nodes []Node
	hosts []*host
	api   *api
	began time.Time
	cli   *client
}

// Run shows the demo. It returns nil only if the outcome is right.
func Run(ctx context.Context, opts Options) error {
	dir, err := os.MkdirTemp("", "quorate-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d := &demo{opts: opts, began: time.Now()}
	if d.nodes, err = planNodes(dir); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	err = d.scene(gctx, g)
	cancel()
	for _, h := range d.hosts {
		h.cut()
	}
	return errors.Join(err, g.Wait())
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.opts.Out, "%6.2fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// scene sets everything up and plays.
func (d *demo) scene(ctx context.Context, g *errgroup.Group) error {
	d.api = &api{}
	var etcd, dnsServers []string
	for _, n := range d.nodes {
		d.api.servers = append(d.api.servers, n.HTTP)
		etcd = append(etcd, "http://"+n.Etcd)
		dnsServers = append(dnsServers, n.DNS)
		g.Go(func() error { return d.opts.Start(ctx, n) })
	}
	if err := d.until(ctx, 30*time.Second, "the witnesses elect a leader", d.ready); err != nil {
		return err
	}
	d.say("three witnesses agree on a leader")
	if err := d.boot(ctx, g, etcd); err != nil {
		return err
	}
	d.cli = &client{name: "primary.demo." + zone, servers: dnsServers}
	for _, h := range d.hosts {
		d.cli.members = append(d.cli.members, h.member)
	}
	g.Go(func() error { return d.cli.run(ctx) })
	if err := d.until(ctx, 30*time.Second, "a client writes through DNS", func(context.Context) error { return d.writing("") }); err != nil {
		return err
	}
	if d.opts.Stay {
		return d.stay(ctx)
	}
	return d.killPrimary(ctx)
}

// boot declares the cluster and switches its hosts on.
func (d *demo) boot(ctx context.Context, g *errgroup.Group, etcd []string) error {
	rows := &atomic.Int64{}
	for i := 1; i <= 3; i++ {
		m := &member{name: fmt.Sprintf("pg%d", i), addr: fmt.Sprintf("127.77.0.2%d", i), endpoints: etcd, rows: rows}
		h, err := newHost(ctx, fmt.Sprintf("db%d", i), m)
		if err != nil {
			return err
		}
		d.hosts = append(d.hosts, h)
		g.Go(func() error { return h.bmc.Run(ctx) })
	}
	err := d.until(ctx, 15*time.Second, "the configuration is applied", func(ctx context.Context) error {
		return d.api.do(ctx, "PUT", "/v1/config?by=demo", config(d.hosts, d.nodes), nil)
	})
	if err != nil {
		return err
	}
	for _, h := range d.hosts {
		h.boot()
	}
	return d.until(ctx, 30*time.Second, "one primary and two replicas report", func(ctx context.Context) error {
		c, err := d.cluster(ctx)
		if err != nil {
			return err
		}
		for _, h := range d.hosts {
			if err := h.fault(); err != nil {
				return err
			}
		}
		ready := 0
		for _, m := range c.Members {
			if m.Ready {
				ready++
			}
		}
		if c.Holder == "" || ready != len(d.hosts) {
			return fmt.Errorf("holder %q, %d members ready", c.Holder, ready)
		}
		return nil
	})
}

func (d *demo) ready(ctx context.Context) error {
	for _, n := range d.nodes {
		if err := d.api.ask(ctx, "http://"+n.HTTP, "GET", "/readyz", nil, nil); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) cluster(ctx context.Context) (*httpapi.ClusterView, error) {
	var doc struct {
		Cluster httpapi.ClusterView `json:"cluster"`
	}
	if err := d.api.do(ctx, "GET", "/v1/clusters/demo", nil, &doc); err != nil {
		return nil, err
	}
	return &doc.Cluster, nil
}

// failover returns the newest failover that is over, or nil.
func (d *demo) failover(ctx context.Context) (*witness.Run, error) {
	var doc struct {
		Runs []*witness.Run `json:"runs"`
	}
	if err := d.api.do(ctx, "GET", "/v1/clusters/demo/history", nil, &doc); err != nil {
		return nil, err
	}
	for i := len(doc.Runs) - 1; i >= 0; i-- {
		if doc.Runs[i].Kind == witness.RunFailover && doc.Runs[i].State == witness.RunCompleted {
			return doc.Runs[i], nil
		}
	}
	return nil, errors.New("the history has no completed failover")
}

// writing says whether rows are accepted by somebody other than not.
func (d *demo) writing(not string) error {
	by, rows, _, _ := d.cli.seen()
	if rows == 0 || by == not {
		return fmt.Errorf("%d rows, the last one on %q", rows, by)
	}
	return nil
}

// until waits for a condition.
func (d *demo) until(ctx context.Context, limit time.Duration, what string, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s in vain until %s: %w", limit, what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// killPrimary is the play: the power of the primary's host fails.
func (d *demo) killPrimary(ctx context.Context) error {
	before, err := d.cluster(ctx)
	if err != nil {
		return err
	}
	var victim *host
	for _, h := range d.hosts {
		if h.member.name == before.Holder {
			victim = h
		}
	}
	if victim == nil {
		return fmt.Errorf("holder %q is no member of the demo", before.Holder)
	}
	d.say("%s on %s holds demo with epoch %d; a client writes every 20 ms to primary.demo.%s", before.Holder, victim.name, before.Epoch, zone)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(3 * time.Second):
	}
	d.say("everything on %s dies; its lease has up to %d s left; its BMC still says On", victim.name, ttl)
	victim.cut()
	if err := d.until(ctx, 60*time.Second, "another member accepts writes", func(context.Context) error { return d.writing(before.Holder) }); err != nil {
		return err
	}
	d.say("the client writes again")
	return d.verdict(ctx, before, victim)
}

// verdict prints the timeline and says whether the outcome is right.
func (d *demo) verdict(ctx context.Context, before *httpapi.ClusterView, victim *host) error {
	after, err := d.cluster(ctx)
	if err != nil {
		return err
	}
	run, err := d.failover(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.opts.Out)
	if err := report.Timeline(d.opts.Out, run, report.Options{Cluster: "demo"}); err != nil {
		return err
	}
	fmt.Fprintln(d.opts.Out)
	addr := ""
	for _, h := range d.hosts {
		if h.member.name == after.Holder {
			addr = h.member.addr
		}
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, n := range d.nodes {
		// A follower learns of an entry with the next heartbeat, so ask until it has.
		err := d.until(ctx, 10*time.Second, "DNS on "+n.Name+" names the holder", func(ctx context.Context) error {
			got, err := lookup(ctx, n.DNS, d.cli.name)
			if err == nil && got != addr {
				err = fmt.Errorf("it says %q, the holder %s is %s", got, after.Holder, addr)
			}
			return err
		})
		if err != nil {
			faults = append(faults, err)
			continue
		}
		fmt.Fprintf(d.opts.Out, "DNS on %s: %s is %s\n", n.Name, d.cli.name, addr)
	}
	_, rows, outages, double := d.cli.seen()
	for _, o := range outages {
		fmt.Fprintf(d.opts.Out, "write outage: %s, from %s to %s (%d rows in all)\n", o.to.Sub(o.from).Round(10*time.Millisecond), o.old, o.new, rows)
	}
	switch {
	case after.Epoch != before.Epoch+1:
		fault("the epoch went from %d to %d", before.Epoch, after.Epoch)
	case after.Holder == before.Holder:
		fault("%s still holds the cluster", after.Holder)
	}
	if after.Release == nil || after.Release.Grade != witness.GradeObserved {
		fault("epoch %d did not end with an observed power-off: %+v", before.Epoch, after.Release)
	}
	if state := victim.bmc.Power("1"); state != "Off" {
		fault("the BMC of %s reads %s", victim.name, state)
	}
	if !inOrder(run, "suspected", "decided", "proven-off", "released", "granted") {
		fault("the phases are out of order: %+v", run.Phases)
	}
	if double != "" {
		fault("two members accepted writes at once: %s", double)
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("the outcome is WRONG: %w", err)
	}
	fmt.Fprintf(d.opts.Out, "\nRight: %s was proven off before %s was granted epoch %d, and no two members ever accepted writes at once.\n",
		victim.name, after.Holder, after.Epoch)
	return nil
}

// inOrder says whether the phases of a run contain names in this order.
func inOrder(run *witness.Run, names ...string) bool {
	i := 0
	for _, p := range run.Phases {
		if i < len(names) && p.Name == names[i] {
			i++
		}
	}
	return i == len(names)
}

// stay leaves everything running and says what to try.
func (d *demo) stay(ctx context.Context) error {
	d.say("running; stop it with Ctrl-C. In another terminal:")
	server := "http://" + d.nodes[0].HTTP
	host, port := splitAddr(d.nodes[0].DNS)
	fmt.Fprintf(d.opts.Out, `
  export QUORATE_SERVER=%s
  bin/witnessctl status
  bin/witnessctl cluster list
  bin/witnessctl cluster explain demo
  bin/witnessctl switchover demo --by me --reason "trying it"
  bin/witnessctl fence off db2 --by me --reason "trying it"      # a replica's host; refused for the primary's
  bin/witnessctl fence on db2 --by me --reason "back again"
  bin/witnessctl events
  bin/witnessctl dns show %s
  dig @%s -p %s primary.demo.%s
  curl -s %s/v1/clusters/demo/role/primary

`, server, zone, host, port, zone, server)
	<-ctx.Done()
	return nil
}
