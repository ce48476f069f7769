package pacemaker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"quorate/test/lab"
	"quorate/witness/qnetd/authority"
)

// NewAuthority makes the authority of the quorum device, and certificates for
// the witnesses, with witnessctl.
func NewAuthority(ctx context.Context, l *lab.Lab, client *lab.Host, control string) (string, error) {
	dir := filepath.Join(l.DataDir(), "authority")
	_, err := client.Exec(ctx, lab.Command{Argv: []string{control, "qdevice", "ca", "--dir", dir}})
	return dir, err
}

// Certify gives the nodes a certificate of the cluster by Debian's own tools;
// only the signature comes from us.
func (c *Cluster) Certify(ctx context.Context, folder, control string) error {
	const tool = "corosync-qdevice-net-certutil"
	const db = "/etc-corosync/qdevice/net/nssdb/"
	for _, n := range c.Nodes {
		ca, err := os.ReadFile(filepath.Join(folder, authority.CertFile))
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.dir+"/etc-corosync/qnetd-cacert.crt", ca, 0o644); err != nil {
			return err
		}
		if _, err := n.sh(ctx, tool+" -i -c /etc/corosync/qnetd-cacert.crt"); err != nil {
			return err
		}
	}
	first := c.Nodes[0]
	_, err := first.sh(ctx, fmt.Sprintf(`set -e
cd /etc/corosync
%[1]s -r -n %[2]s
%[3]s qdevice sign qdevice/net/nssdb/qdevice-net-node.crq --dir %[4]s --cluster %[2]s --out cluster.crt
%[1]s -M -c cluster.crt`, tool, clusterName, control, folder))
	if err != nil {
		return err
	}
	shared, err := os.ReadFile(first.dir + db + "qdevice-net-node.p12")
	if err != nil {
		return err
	}
	for _, n := range c.Nodes[1:] {
		if err := os.WriteFile(n.dir+db+"qdevice-net-node.p12", shared, 0o600); err != nil {
			return err
		}
		if _, err := n.sh(ctx, tool+" -m -c /etc/corosync/qdevice/net/nssdb/qdevice-net-node.p12"); err != nil {
			return err
		}
	}
	return nil
}
