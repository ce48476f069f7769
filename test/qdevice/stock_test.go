//go:build integration

package qdevice

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/witness/qnetd/authority"
	"quorate/witness/qnetd/client"
	"quorate/witness/qnetd/wire"
)

const bound = time.Minute

// stock starts Debian's corosync-qnetd on loopback and returns its address.
func stock(t *testing.T, security, nssdb string) string {
	t.Helper()
	address, _ := stockServer(t, security, nssdb)
	return address
}

// stockServer is the same, and returns its process id too.
func stockServer(t *testing.T, security, nssdb string) (string, int) {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	_ = l.Close()
	var log bytes.Buffer
	cmd := exec.Command("corosync-qnetd", "-4", "-f", "-l", "127.0.0.1", "-p", port, "-s", security,
		"-S", fmt.Sprintf("lock_file=%s/pid,local_socket_file=%s/sock,nss_db_dir=%s", dir, dir, nssdb))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("corosync-qnetd said:\n%s", log.String())
		}
	})
	until(t, "corosync-qnetd listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return address, cmd.Process.Pid
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(bound); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, bound)
		}
	}
}

// split runs a two-node cluster against a server: both see each other, then
// not, and the side with the lowest node gets the vote.
func split(t *testing.T, address string, config *tls.Config) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var nodes []*Device
	ended := make(chan error, 2)
	for id := uint32(1); id <= 2; id++ {
		d := New("labcluster", id, []uint32{1, 2}, address)
		d.TLS = config
		nodes = append(nodes, d)
		go func() { ended <- d.Run(ctx) }()
	}
	defer func() {
		cancel()
		for range nodes {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()
	until(t, "both nodes have the vote", func() bool { return nodes[0].Cast().Vote == wire.ACK && nodes[1].Cast().Vote == wire.ACK })
	nodes[1].Member(wire.RingID{NodeID: 2, Seq: 13}, 2)
	nodes[0].Member(wire.RingID{NodeID: 1, Seq: 13}, 1)
	until(t, "node 1 alone has the vote", func() bool { return nodes[0].Cast().Vote == wire.ACK && nodes[1].Cast().Vote == wire.NACK })
	nodes[0].Heuristics(wire.HeuristicsFail)
	nodes[1].Heuristics(wire.HeuristicsPass)
	until(t, "the vote follows the heuristics", func() bool { return nodes[0].Cast().Vote == wire.NACK && nodes[1].Cast().Vote == wire.ACK })
}

// TestStockPlain shows that the devices of this package are taken for real ones
// by the real server.
func TestStockPlain(t *testing.T) {
	split(t, stock(t, "off", t.TempDir()), nil)
}

// TestStockTLS shows that NSS accepts our certificates, the server's and a
// cluster's, and that our client accepts NSS.
func TestStockTLS(t *testing.T) {
	dir := t.TempDir()
	ca, err := authority.Create(filepath.Join(dir, "ca"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Server(time.Now()); err != nil {
		t.Fatal(err)
	}
	nssdb := filepath.Join(dir, "nssdb")
	run(t, fmt.Sprintf(`cd %s && mkdir nssdb && echo -n >pw && cp pw nssdb/pwdfile.txt
certutil -N -d nssdb -f pw
certutil -A -d nssdb -f pw -t CT,c,c -n "QNet CA" -i ca/ca.crt
openssl pkcs12 -export -passout pass: -name "QNetd Cert" -in ca/server.crt -inkey ca/server.key -out server.p12
pk12util -d nssdb -k pw -W "" -i server.p12`, dir))
	keyPEM, request, err := authority.NewKey("labcluster")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(request, false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	config := clientConfig(t, ca.Cert, cert, keyPEM)
	address := stock(t, "req", nssdb)
	split(t, address, config)

	// Another cluster's certificate is no good for this one.
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	d := New("othercluster", 1, []uint32{1, 2}, address)
	d.TLS = config
	if _, err := d.once(ctx, 1); err == nil || d.Sessions() != 0 {
		t.Errorf("with the certificate of another cluster: %v, %d sessions", err, d.Sessions())
	}
}

func clientConfig(t *testing.T, ca, cert *x509.Certificate, keyPEM []byte) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(pemOf(cert), keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return client.TLSConfig(pool, pair, func(s string) { t.Error(s) })
}

// TestNodeTools takes a cluster's certificate through the tool that nodes have,
// as docs/pacemaker.md tells a user to: import our authority, make a request,
// sign it here, import it, carry it to another node.
func TestNodeTools(t *testing.T) {
	dir := t.TempDir()
	ctl := filepath.Join(dir, "witnessctl")
	run(t, "cd ../.. && go build -o "+ctl+" ./cmd/witnessctl")
	for _, node := range []string{"n1", "n2"} {
		if err := os.MkdirAll(filepath.Join(dir, node, "qdevice/net"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	on := func(node, script string) string {
		return run(t, fmt.Sprintf("cd %s && unshare -m --propagation private sh -ec 'mount --bind %s/%s /etc/corosync; %s'", dir, dir, node, script))
	}
	const tool, db = "corosync-qdevice-net-certutil", "/etc/corosync/qdevice/net/nssdb"
	run(t, fmt.Sprintf("cd %s && ./witnessctl qdevice ca > qnetd-cacert.crt", dir))
	on("n1", tool+" -i -c qnetd-cacert.crt; "+tool+" -r -n labcluster; cp "+db+"/qdevice-net-node.crq .")
	out := run(t, fmt.Sprintf("cd %s && ./witnessctl qdevice sign qdevice-net-node.crq --cluster labcluster", dir))
	if !strings.HasPrefix(out, "cluster-labcluster.crt: cluster labcluster, until ") {
		t.Errorf("sign prints %q", out)
	}
	on("n1", tool+" -M -c cluster-labcluster.crt; cp "+db+"/qdevice-net-node.p12 .")
	on("n2", tool+" -i -c qnetd-cacert.crt; "+tool+" -m -c qdevice-net-node.p12")
	for _, node := range []string{"n1", "n2"} {
		valid := on(node, `certutil -V -u C -n "Cluster Cert" -d `+db+" && certutil -K -f "+db+"/pwdfile.txt -d "+db)
		if !strings.Contains(valid, "certificate is valid") || !strings.Contains(valid, "Cluster Cert") {
			t.Errorf("%s: %s", node, valid)
		}
	}
	// The key that the nodes have is the one that a proxy would use.
	run(t, fmt.Sprintf("cd %s && openssl pkcs12 -in qdevice-net-node.p12 -passin pass: -clcerts -nodes -out both.pem", dir))
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "both.pem"), filepath.Join(dir, "both.pem")); err != nil {
		t.Error(err)
	}
}

func run(t *testing.T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*bound)
	defer cancel()
	out, err := exec.CommandContext(ctx, "bash", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}

func pemOf(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// TestStockAuthority goes on with the authority of a corosync-qnetd, as
// docs/pacemaker.md tells a user to: its key and certificate as PEM.
func TestStockAuthority(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "etc/qnetd"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, fmt.Sprintf(`cd %s && mkdir quorate-ca && unshare -m --propagation private sh -ec 'mount --bind %s/etc /etc/corosync
corosync-qnetd-certutil -i
cd /etc/corosync/qnetd/nssdb
pk12util -o ca.p12 -d . -k pwdfile.txt -W "" -n "QNet CA"'
openssl pkcs12 -in etc/qnetd/nssdb/ca.p12 -passin pass: -nodes -nocerts -out quorate-ca/ca.key
openssl pkcs12 -in etc/qnetd/nssdb/ca.p12 -passin pass: -nokeys -out quorate-ca/ca.crt
chmod 600 quorate-ca/ca.key`, dir, dir))
	ca, err := authority.Open(filepath.Join(dir, "quorate-ca"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Server(time.Now()); err != nil {
		t.Fatal(err)
	}
	// The nodes have the stock authority in their databases: NSS must take what
	// it signs now for a server's.
	out := run(t, fmt.Sprintf(`cd %s/etc/qnetd/nssdb && certutil -A -d . -f pwdfile.txt -n ours -t ,, -i ../../../quorate-ca/server.crt
certutil -V -u V -n ours -d . -f pwdfile.txt`, dir))
	if !strings.Contains(out, "certificate is valid") {
		t.Error(out)
	}
}
