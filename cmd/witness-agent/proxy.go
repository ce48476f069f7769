package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"quorate/witness/qnetd/authority"
	"quorate/witness/qnetd/client"
	"quorate/witness/qnetd/proxy"
)

// proxyOptions are the flags of qdevice-proxy.
type proxyOptions struct {
	listen        string
	witnesses     []string
	lease         time.Duration
	ca, cert, key string
	plaintext     bool
	cluster       string
	output        string
}

func proxyCommand() *cobra.Command {
	o := &proxyOptions{}
	c := &cobra.Command{
		Use: "qdevice-proxy", Short: "Keep corosync-qdevice connected while witnesses come and go",
		Long: `Stand between the corosync-qdevice of this node and the witnesses, and keep its
connection when a witness is lost, for as long as --lease. A node that is alone
with the vote of the quorum device then does not lose quorum for it.

In corosync.conf, point the device at the proxy, and leave TLS to it:

  quorum { device { net { host: 127.0.0.1  tls: off } } }

The proxy votes for nobody: it passes on what the witnesses decide. When none has
confirmed the session within the lease, it closes the connection of qdevice.
Connections from users other than root are refused.

The certificate's common name is the cluster_name of corosync.conf; make one with
"witnessctl qdevice issue CLUSTER". It is read anew for every connection.

` + exitHelp,
		Example: "  witness-agent qdevice-proxy --witness 10.0.1.11:5403,10.0.2.11:5403,10.0.3.11:5403 --ca ca.crt --cert hacluster.crt --key hacluster.key\n" +
			"  witness-agent qdevice-proxy --witness 10.0.1.11:5403 --plaintext --cluster hacluster -o json",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	flags := c.Flags()
	flags.StringVar(&o.listen, "listen", "127.0.0.1:5403", "loopback address and port for corosync-qdevice")
	flags.StringSliceVar(&o.witnesses, "witness", nil, "host:port of each witness")
	flags.DurationVar(&o.lease, "lease", proxy.DefaultLease, "how long qdevice's connection is kept without a witness")
	flags.StringVar(&o.ca, "ca", "", "certificate of the authority of the witnesses, PEM")
	flags.StringVar(&o.cert, "cert", "", "certificate of the cluster, PEM")
	flags.StringVar(&o.key, "key", "", "its key, PEM")
	flags.BoolVar(&o.plaintext, "plaintext", false, "go without TLS: whoever can write on the network can take the vote")
	flags.StringVar(&o.cluster, "cluster", "", "cluster_name of corosync.conf, with --plaintext")
	flags.StringVarP(&o.output, "output", "o", "text", "log as text or json")
	return c
}

func (o *proxyOptions) run(c *cobra.Command) error {
	var handler slog.Handler
	switch o.output {
	case "text":
		handler = slog.NewTextHandler(c.ErrOrStderr(), nil)
	case "json":
		handler = slog.NewJSONHandler(c.ErrOrStderr(), nil)
	default:
		return fmt.Errorf("--output %q: choose text or json", o.output)
	}
	log := slog.New(handler)
	p := &proxy.Proxy{Listen: o.listen, Witnesses: o.witnesses, Cluster: o.cluster, Lease: o.lease, Log: log}
	err := o.identify(p)
	if err = errors.Join(err, p.Open()); err != nil {
		return err
	}
	log.Info("waiting for corosync-qdevice", "listen", p.Addr(), "cluster", p.Cluster, "witnesses", p.Witnesses, "lease", p.Lease)
	g, ctx := errgroup.WithContext(c.Context())
	g.Go(func() error { return p.Run(ctx) })
	g.Go(func() error { o.watchExpiry(ctx, log); return nil })
	return g.Wait()
}

// identify makes the TLS of the proxy, and takes the cluster's name from it.
func (o *proxyOptions) identify(p *proxy.Proxy) error {
	named := o.ca != "" || o.cert != "" || o.key != ""
	switch {
	case o.plaintext && named:
		return errors.New("--plaintext and certificates exclude each other")
	case o.plaintext:
		return nil
	case o.ca == "" || o.cert == "" || o.key == "":
		return errors.New("name --ca, --cert and --key; `witnessctl qdevice issue CLUSTER` makes the last two")
	}
	ca, caErr := authority.ReadCert(o.ca)
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err = errors.Join(caErr, err); err != nil {
		return err
	}
	name := pair.Leaf.Subject.CommonName
	if o.cluster != "" && o.cluster != name {
		return fmt.Errorf("the certificate in %s is of cluster %q, not of %q", o.cert, name, o.cluster)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{
		Roots: pool, CurrentTime: pair.Leaf.NotAfter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return fmt.Errorf("the certificate in %s is not signed by the authority in %s: the witnesses would refuse it: %w", o.cert, o.ca, err)
	}
	p.Cluster = name
	p.TLS = client.TLSConfig(pool, pair, func(s string) { p.Log.Warn(s) })
	p.TLS.Certificates = nil
	p.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		now, err := tls.LoadX509KeyPair(o.cert, o.key)
		return &now, err
	}
	return nil
}

// watchExpiry warns once a day of a certificate that ends.
func (o *proxyOptions) watchExpiry(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(24 * time.Hour)
	defer tick.Stop()
	for o.cert != "" {
		cert, err := authority.ReadCert(o.cert)
		switch {
		case err != nil:
			log.Warn("the certificate cannot be read any more", "err", err)
		default:
			if why := authority.Expiry(cert, time.Now()); why != "" {
				log.Warn(why, "file", o.cert)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
