package pacemaker

import (
	"fmt"
	"strings"
	"time"
)

// clusterName is the name of the laboratory's cluster: with TLS it is also the
// name in the nodes' certificate.
const clusterName = "labcluster"

// Algorithms of corosync-qnetd, by the names of corosync.conf.
const (
	ffsplit  = "ffsplit"
	lms      = "lms"
	twoNodes = "2nodelms"
)

// Settings are the parts of corosync.conf that the cases vary.
type Settings struct {
	// Nodes is how many nodes the cluster has, 2 to 5.
	Nodes int
	// Algorithm is ffsplit (the default), lms or 2nodelms.
	Algorithm string
	// Addresses are those of the quorum device, by which every node finds it.
	Addresses []string
	// TLS is off (the default), on or required.
	TLS string
	// Timeout is quorum.device.timeout, from which corosync derives all the
	// times of the device. Zero leaves the default of 10 s.
	Timeout time.Duration
	// Heuristics makes a node's vote depend on the file healthFile.
	Heuristics bool
	// Agents is a folder of fence agents laid over the nodes' /usr/sbin, or "".
	Agents string
}

// deviceName is the host name of the quorum device on the nodes.
const deviceName = "witness"

// healthFile exists on a node whose heuristics pass.
const healthFile = "/run/healthy"

func (s Settings) corosync(nodes []*Node) string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	add("totem {\n  version: 2\n  cluster_name: %s\n  transport: knet", clusterName)
	// Without the coefficient the token is the same for any number of nodes.
	add("  crypto_cipher: none\n  crypto_hash: none\n  token: 1000\n  token_coefficient: 0\n}")
	add("nodelist {")
	for _, n := range nodes {
		add("  node {\n    ring0_addr: %s\n    name: %s\n    nodeid: %d\n  }", n.Host.IP(), n.Name, n.ID)
	}
	add("}\nquorum {\n  provider: corosync_votequorum")
	if len(s.Addresses) == 0 { // as pcs and crmsh set two nodes up
		add("  two_node: 1\n}")
		b.WriteString(rest())
		return b.String()
	}
	add("  device {\n    model: net")
	if s.Algorithm != lms { // which counts the nodes itself
		add("    votes: 1")
	}
	if s.Timeout > 0 {
		add("    timeout: %d", s.Timeout.Milliseconds())
	}
	if s.Heuristics {
		add("    heuristics {\n      mode: on\n      interval: 2000\n      timeout: 1000\n      sync_timeout: 3000")
		add("      exec_flag: /usr/bin/test -e %s\n    }", healthFile)
	}
	add("    net {\n      host: %s\n      algorithm: %s\n      tls: %s\n      tie_breaker: lowest\n    }\n  }\n}",
		deviceName, s.Algorithm, s.TLS)
	b.WriteString(rest())
	return b.String()
}

// rest is the part of the file that has nothing to do with quorum.
func rest() string {
	// While votequorum waits for the device corosync spins, by default with the
	// highest real-time priority: on one machine that would starve the device
	// which it waits for.
	return `logging {
  to_logfile: yes
  logfile: /var/log/corosync/corosync.log
  to_syslog: no
  debug: off
  timestamp: hires
}
system {
  move_to_root_cgroup: no
  sched_rr: no
  priority: 0
}
`
}
