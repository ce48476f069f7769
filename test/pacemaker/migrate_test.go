//go:build integration

package pacemaker

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"quorate/test/lab"
)

// TestThereAndBack is docs/pacemaker.md: a working two-node cluster gets the
// quorum device while it runs, and loses it again, without losing quorum.
func TestThereAndBack(t *testing.T) {
	c, w := device(t, variant{Settings: Settings{Nodes: 2, Timeout: short}, idle: true})
	with := c.Settings
	without := with
	without.Addresses = nil
	c.write(t, without)
	for _, n := range c.Nodes {
		if err := n.StartCorosync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.waitVotes(t, 2, 2, "")
	since := time.Now()

	c.write(t, with)
	mustRun(t, c.Nodes[0], "corosync-cfgtool -R")
	for _, n := range c.Nodes {
		if err := n.StartDevice(); err != nil {
			t.Fatal(err)
		}
	}
	c.waitVotes(t, 3, 3, "A,V,NMW")
	if _, err := w.Ctl(t.Context(), "qnetd", "status", "--verbose"); err != nil {
		t.Error(err)
	}

	for _, n := range c.Nodes {
		n.qdevice.Kill()
		<-n.qdevice.Done()
	}
	c.write(t, without)
	mustRun(t, c.Nodes[0], "corosync-cfgtool -R")
	c.waitVotes(t, 2, 2, "")
	c.neverInquorate(t, since, c.Nodes...)
	c.neverTwoSides(t)
}

// write replaces corosync.conf on every node.
func (c *Cluster) write(t *testing.T, s Settings) {
	t.Helper()
	for _, n := range c.Nodes {
		if err := os.WriteFile(n.dir+"/etc-corosync/corosync.conf", []byte(s.corosync(c.Nodes)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// waitVotes waits until every node counts so many votes; device is its flags.
func (c *Cluster) waitVotes(t *testing.T, expected, total int, device string) {
	t.Helper()
	err := lab.Until(t.Context(), bound, fmt.Sprintf("%d of %d votes", total, expected), func(ctx context.Context) error {
		for _, n := range c.Nodes {
			q, err := n.Quorum(ctx)
			if err != nil {
				return err
			}
			if !q.Quorate || q.Expected != expected || q.Total != total || device != "" && q.Device != device {
				return fmt.Errorf("%s: %+v", n.Name, q)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
