package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"quorate/witness/qnetd/authority"
)

// qdevice is what the commands on certificates share. They work on a folder of
// this machine and ask no witness.
type qdevice struct {
	*app
	dir string
}

// certificate is one in the output of the commands.
type certificate struct {
	Name     string    `json:"name"` // common name: of a cluster's, the cluster
	File     string    `json:"file"`
	NotAfter time.Time `json:"notAfter"`
	Warning  string    `json:"warning,omitempty"`
	PEM      string    `json:"pem,omitempty"`
	KeyFile  string    `json:"keyFile,omitempty"`
}

func qdeviceCommand(a *app) *cobra.Command {
	q := &qdevice{app: a}
	c := group("qdevice", "Certificates of Pacemaker's quorum device, on this machine",
		"  witnessctl qdevice ca > qnetd-cacert.crt\n  witnessctl qdevice sign qdevice-net-node.crq",
		q.caCommand(), q.serverCommand(), q.signCommand(), q.issueCommand(), q.listCommand())
	for _, sub := range c.Commands() {
		sub.Flags().StringVar(&q.dir, "dir", "quorate-ca", "folder of the authority")
	}
	return c
}

// say warns on the error output.
func (q *qdevice) say(format string, args ...any) {
	fmt.Fprintf(q.err, "witnessctl: "+format+"\n", args...)
}

// open opens the authority and warns about certificates that end.
func (q *qdevice) open() (*authority.Authority, error) {
	ca, err := authority.Open(q.dir)
	if err != nil {
		return nil, err
	}
	list, err := ca.List()
	if err != nil {
		return nil, err
	}
	for _, issued := range list {
		if why := authority.Expiry(issued.Cert, time.Now()); why != "" {
			q.say("%s", why)
		}
	}
	return ca, nil
}

func described(cert *x509.Certificate, file string) certificate {
	return certificate{
		Name: cert.Subject.CommonName, File: file, NotAfter: cert.NotAfter.UTC(), Warning: authority.Expiry(cert, time.Now()),
	}
}

func (q *qdevice) caCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ca", Short: "Print the authority's certificate in PEM; the first call makes the authority",
		Long: `Print the authority's certificate in PEM, to be imported on every cluster node
with "corosync-qdevice-net-certutil -i -c FILE" and given to every witness.

The first call makes the authority, and a certificate for the witnesses, in a
folder that only its owner can enter. The key in it signs new clusters and is
needed for nothing else: keep the folder off the witnesses and off the cluster
nodes, and keep a copy of it.`,
		Example: "  witnessctl qdevice ca > qnetd-cacert.crt\n  witnessctl qdevice ca --dir /srv/quorate-ca",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ca, err := q.open()
			if errors.Is(err, authority.ErrNone) {
				ca, err = q.create()
			}
			if err != nil {
				return err
			}
			out := described(ca.Cert, filepath.Join(q.dir, authority.CertFile))
			out.PEM = string(ca.PEM())
			return q.print(out, func(w io.Writer) { fmt.Fprint(w, out.PEM) })
		},
	}
}

func (q *qdevice) create() (*authority.Authority, error) {
	ca, err := authority.Create(q.dir, time.Now())
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s holds half an authority; nothing in it is replaced. Bring the missing file back, or name another folder with --dir", q.dir)
	}
	if err != nil {
		return nil, err
	}
	if _, err := ca.Server(time.Now()); err != nil {
		return nil, err
	}
	q.say("made an authority in %s, and the certificate of the witnesses, %s and %s", q.dir, authority.ServerCertFile, authority.ServerKeyFile)
	return ca, nil
}

func (q *qdevice) serverCommand() *cobra.Command {
	return &cobra.Command{
		Use: "server", Short: "Make a new key and certificate for the witnesses",
		Long: `Make a new key and certificate for the witnesses, and write them into the
folder. All witnesses may use the same pair, or each its own. The old pair stays
valid until its end: replace it on one witness after the other.`,
		Example: "  witnessctl qdevice server --dir /srv/quorate-ca",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ca, err := q.open()
			if err != nil {
				return err
			}
			cert, err := ca.Server(time.Now())
			if err != nil {
				return err
			}
			out := described(cert, filepath.Join(q.dir, authority.ServerCertFile))
			out.KeyFile = filepath.Join(q.dir, authority.ServerKeyFile)
			return q.print(out, func(w io.Writer) { fmt.Fprintf(w, "%s\n%s\n", out.File, out.KeyFile) })
		},
	}
}

func (q *qdevice) signCommand() *cobra.Command {
	var cluster, out string
	var again bool
	c := &cobra.Command{
		Use: "sign REQUEST", Short: "Sign a cluster's certificate request",
		Long: `Sign a request that "corosync-qdevice-net-certutil -r -n CLUSTER" has made on
one of the cluster's nodes (qdevice-net-node.crq). The certificate is in DER, for
"corosync-qdevice-net-certutil -M -c FILE" on the same node.

The name in the certificate is what the witnesses know the cluster by. Whoever
has its key can vote as any node of that cluster, and of no other.`,
		Example: "  witnessctl qdevice sign qdevice-net-node.crq\n  witnessctl qdevice sign qdevice-net-node.crq --cluster hacluster --out cluster.crt",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			raw, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			request, err := authority.ParseRequest(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			name := request.Subject.CommonName
			if cluster != "" && cluster != name {
				return fmt.Errorf("%s asks for the cluster %q, not for %q; nothing is signed", args[0], name, cluster)
			}
			ca, err := q.open()
			if err != nil {
				return err
			}
			cert, err := ca.Sign(request, again, time.Now())
			if err != nil {
				return err
			}
			if out == "" {
				out = "cluster-" + name + ".crt"
			}
			if err := os.WriteFile(out, cert.Raw, 0o644); err != nil {
				return err
			}
			return q.print(described(cert, out), func(w io.Writer) {
				fmt.Fprintf(w, "%s: cluster %s, until %s\n", out, name, cert.NotAfter.Format(time.DateOnly))
			})
		},
	}
	c.Flags().StringVar(&cluster, "cluster", "", "refuse the request unless it is for this cluster")
	c.Flags().StringVar(&out, "out", "", "file to write (by default cluster-NAME.crt in the current folder)")
	c.Flags().BoolVar(&again, "replace", false, "the cluster has a new key: sign although its name was issued to another one")
	return c
}

func (q *qdevice) issueCommand() *cobra.Command {
	var again bool
	c := &cobra.Command{
		Use: "issue CLUSTER", Short: "Make a key and certificate for witness-agent qdevice-proxy",
		Long: `Make a key and a certificate for a cluster whose nodes reach the witnesses
through "witness-agent qdevice-proxy", which wants PEM and no NSS database. Both
files go to all nodes of the cluster; the key to nobody else.`,
		Example: "  witnessctl qdevice issue hacluster",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ca, err := q.open()
			if err != nil {
				return err
			}
			cert, err := issue(ca, args[0], again)
			if err != nil {
				return err
			}
			out := described(cert, args[0]+".crt")
			out.KeyFile = args[0] + ".key"
			return q.print(out, func(w io.Writer) { fmt.Fprintf(w, "%s\n%s\n", out.File, out.KeyFile) })
		},
	}
	c.Flags().BoolVar(&again, "replace", false, "the cluster has a key already, and this one replaces it")
	return c
}

func (q *qdevice) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the certificates that were issued, and when they end",
		Example: "  witnessctl qdevice list\n  witnessctl qdevice list -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ca, err := q.open()
			if err != nil {
				return err
			}
			list, err := ca.List()
			if err != nil {
				return err
			}
			out := make([]certificate, len(list))
			for i, issued := range list {
				out[i] = described(issued.Cert, issued.File)
			}
			return q.print(out, func(w io.Writer) {
				t := &table{head: []string{"Name", "Ends", "File"}}
				for _, c := range out {
					t.add(c.Name, c.NotAfter.Format(time.DateOnly), c.File)
				}
				t.write(w)
			})
		},
	}
}
