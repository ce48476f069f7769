package patroni

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"quorate/test/lab"
)

// zone is the DNS zone that the witnesses serve, primaryName the name in it that
// applications connect to.
const (
	zone        = "db.test."
	primaryName = "primary." + scope + "." + zone
)

// Ctl runs witnessctl in the client's host against all witnesses. The error of a
// failed run is a *lab.ExecError.
func (w *Witnesses) Ctl(ctx context.Context, argv ...string) (string, error) {
	var servers []string
	for _, n := range w.Nodes {
		servers = append(servers, "http://"+n.Host.IP()+":8080")
	}
	return w.client.Exec(ctx, lab.Command{
		Argv: append([]string{w.control, "--server", strings.Join(servers, ",")}, argv...),
	})
}

// Policy is what the cases vary of the cluster-wide configuration.
type Policy struct {
	Fast string // off, observe, on
}

// Apply declares the sites, the hosts with their BMCs, the cluster and the zone.
func (w *Witnesses) Apply(ctx context.Context, c *Cluster, bmcs map[string]*BMC, p Policy) error {
	path := filepath.Join(w.lab.LogDir(), "quorate.yaml")
	if err := os.WriteFile(path, []byte(w.manifest(c, bmcs, p)), 0o644); err != nil {
		return err
	}
	_, err := w.Ctl(ctx, "apply", "-f", path, "--by", "the laboratory", "--reason", "set-up")
	return err
}

func (w *Witnesses) manifest(c *Cluster, bmcs map[string]*BMC, p Policy) string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	add("sites: [{name: site1}, {name: site2}, {name: site3}]")
	add("hosts:")
	for i, m := range c.Members {
		add("- {name: %s, site: site%d, addresses: [%s], fence: [{level: 1, device: bmc-%s}]}",
			m.Host.Name(), i+1, m.Host.IP(), m.Host.Name())
	}
	add("devices:")
	for _, m := range c.Members {
		bmc := bmcs[m.Name]
		add("- {name: bmc-%s, driver: redfish, settings: {url: %q, username: %s, password: %s, cert_sha256: %q}}",
			m.Host.Name(), bmc.URL, BMCUser, BMCPassword, bmc.Fingerprint)
	}
	add("clusters:")
	add("- name: %s", scope)
	add("  kind: patroni")
	add("  namespace: %s", namespace)
	add("  scope: %s", scope)
	add("  zone: %s", zone)
	add("  fencing: required")
	add("  fast: %q", p.Fast)
	add("  on_unproven: hold")
	add("  members:")
	for _, m := range c.Members {
		add("  - {name: %s, host: %s}", m.Name, m.Host.Name())
	}
	add("zones:")
	add("- name: %s", zone)
	add("  ttl: 5")
	add("  ns:")
	for i, n := range w.Nodes {
		add("  - {name: ns%d.%s, address: %s}", i+1, zone, n.Host.IP())
	}
	return b.String()
}
