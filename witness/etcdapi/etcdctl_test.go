//go:build integration

package etcdapi_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quorate/witness/etcdapi"
)

// etcdctl is Debian's client with the arguments that every call has.
type etcdctl struct {
	*testing.T
	bin  string
	args []string
}

func newEtcdctl(t *testing.T, args ...string) *etcdctl {
	t.Helper()
	bin, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Skip("etcdctl is not installed (Debian: etcd-client)")
	}
	return &etcdctl{t, bin, args}
}

func (c *etcdctl) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctxOf(c.T), c.bin, append(append([]string{}, c.args...), args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	return cmd
}

// run returns what a call prints, which must succeed.
func (c *etcdctl) run(stdin string, args ...string) string {
	c.Helper()
	cmd := c.command(args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.Fatalf("etcdctl %.100v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// refused runs a call that must fail, and returns what it says.
func (c *etcdctl) refused(args ...string) string {
	c.Helper()
	out, err := c.command(args...).CombinedOutput()
	if err == nil {
		c.Fatalf("etcdctl %v: %s", args, out)
	}
	return string(out)
}

// TestEtcdctl drives the API with Debian's etcdctl.
func TestEtcdctl(t *testing.T) {
	s := start(t)
	c := newEtcdctl(t, "--endpoints", s.addr)
	ctl := c.run
	want := func(want, got string) {
		t.Helper()
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	want("OK", ctl("", "put", "foo", "bar"))
	want("foo\nbar", ctl("", "get", "foo"))
	want("SUCCESS\n\nOK\n\nfoo\nbaz", ctl("val(\"foo\") = \"bar\"\n\nput foo baz\nget foo\n\nget foo\n\n", "txn"))
	want("foo\nbar", ctl("", "get", "foo", "--rev", "2"))
	if out := ctl("", "lease", "grant", "100"); !strings.Contains(out, "granted with TTL(100s)") {
		t.Fatal(out)
	} else {
		id := strings.Fields(out)[1]
		ctl("", "put", "--lease", id, "leased", "x")
		if out := ctl("", "lease", "timetolive", id, "--keys"); !strings.Contains(out, "attached keys([leased])") {
			t.Fatal(out)
		}
		if out := ctl("", "lease", "keep-alive", "--once", id); !strings.Contains(out, "keepalived with TTL(100)") {
			t.Fatal(out)
		}
		if out := ctl("", "lease", "list"); !strings.Contains(out, id) {
			t.Fatal(out)
		}
		ctl("", "lease", "revoke", id)
		want("", ctl("", "get", "leased"))
	}
	want("locked", ctl("", "lock", "name", "echo", "locked"))
	want("1", ctl("", "del", "foo"))
	want("compacted revision 3", ctl("", "compaction", "3"))
	if out := ctl("", "member", "list"); !strings.Contains(out, "started, w1,") {
		t.Fatal(out)
	}
	if out := ctl("", "endpoint", "status"); !strings.Contains(out, "3.6.0") {
		t.Fatal(out)
	}
	if out := ctl("", "endpoint", "health"); !strings.Contains(out, "is healthy") {
		t.Fatal(out)
	}
	if out := ctl("", "endpoint", "hashkv"); !strings.Contains(out, s.addr) {
		t.Fatal(out)
	}
	want("", ctl("", "alarm", "list"))

	want("", ctl("", "alarm", "disarm"))
	if out := ctl("", "defrag"); !strings.Contains(out, "Finished defragmenting") {
		t.Fatal(out)
	}
	if out := ctl("", "move-leader", "7"); !strings.Contains(out, "Leadership transferred") {
		t.Fatal(out)
	}
	lines := c.stream("watch", "foo", "--rev", "4")
	want("DELETE", lines())
	want("foo", lines())
	// A candidate holds what it won until it is stopped.
	lines = c.stream("elect", "demo", "me")
	if key := lines(); !strings.HasPrefix(key, "demo/") {
		t.Fatal(key)
	}
	want("me", lines())
	c.stream("elect", "demo", "you")
	listen := c.stream("elect", "--listen", "demo")
	if key := listen(); !strings.HasPrefix(key, "demo/") {
		t.Fatal(key)
	}
	want("me", listen())
}

// stream starts a call that goes on until the test ends, and returns its next line.
func (c *etcdctl) stream(args ...string) func() string {
	c.Helper()
	cmd := c.command(args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	return func() string {
		c.Helper()
		if !lines.Scan() {
			c.Fatalf("etcdctl %v has ended: %v", args, lines.Err())
		}
		return lines.Text()
	}
}

func TestEtcdctlWithPassword(t *testing.T) {
	s := start(t, withAccess(guarded(t)))
	ctl := newEtcdctl(t, "--endpoints", s.addr, "--user", "patroni:secret")
	if out := ctl.run("", "put", "/service/demo/x", "1"); out != "OK" {
		t.Fatal(out)
	}
	if out := ctl.run("", "get", "--prefix", "/service/demo/"); out != "/service/demo/x\n1" {
		t.Fatal(out)
	}
	if out := ctl.refused("get", "/service/other/x"); !strings.Contains(out, "permission denied") {
		t.Fatal(out)
	}
	if out := ctl.refused("watch", "/service/other/x"); !strings.Contains(out, "permission denied") {
		t.Fatal(out)
	}
	if out := ctl.refused("compaction", "1"); !strings.Contains(out, "permission denied") {
		t.Fatal(out)
	}
	if line := ctl.stream("watch", "/service/demo/x", "--rev", "2"); line() != "PUT" {
		t.Fatal("no event")
	}
	if out := newEtcdctl(t, "--endpoints", s.addr).refused("get", "/service/demo/x"); !strings.Contains(out, "user name is empty") {
		t.Fatal(out)
	}
	if out := newEtcdctl(t, "--endpoints", s.addr, "--user", "patroni:wrong").refused("get", "x"); !strings.Contains(out, "authentication failed, invalid user ID or password") {
		t.Fatal(out)
	}
	root := newEtcdctl(t, "--endpoints", s.addr, "--user", "root:toor")
	for _, args := range [][]string{{"compaction", "2"}, {"defrag"}, {"endpoint", "health"}, {"endpoint", "hashkv"}, {"move-leader", "7"}, {"lock", "l", "true"}} {
		root.run("", args...)
	}
	// Everybody may ask who is there, as clients do before they log in.
	newEtcdctl(t, "--endpoints", s.addr).run("", "member", "list")
}

func TestEtcdctlWithCertificate(t *testing.T) {
	p, dir := newPKI(t), t.TempDir()
	s := start(t, withAccess(guarded(t)), withTLS(&tls.Config{
		Certificates: []tls.Certificate{p.issue("witness")}, ClientCAs: p.pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}))
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	as := func(name string) *etcdctl {
		cert := p.issue(name)
		key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		return newEtcdctl(t, "--endpoints", "https://"+s.addr, "--cacert", write("ca.pem", "CERTIFICATE", p.ca.Raw),
			"--cert", write(name+".pem", "CERTIFICATE", cert.Certificate[0]), "--key", write(name+".key", "EC PRIVATE KEY", key))
	}
	if out := as("pg1").run("", "put", "/service/demo/x", "1"); out != "OK" {
		t.Fatal(out)
	}
	if out := as("pg1").refused("put", "/service/other/x", "1"); !strings.Contains(out, "permission denied") {
		t.Fatal(out)
	}
	if out := as("stranger").refused("get", "/service/demo/x"); !strings.Contains(out, "permission denied") {
		t.Fatal(out)
	}
	if out := as("stranger").run("", "member", "list"); !strings.Contains(out, "w1") {
		t.Fatal(out)
	}
}

// The alarm as an operator meets it.
func TestEtcdctlAndTheQuota(t *testing.T) {
	s := start(t, limits(etcdapi.Limits{QuotaBytes: 512 << 10}))
	ctl := newEtcdctl(t, "--endpoints", s.addr)
	value := strings.Repeat("x", 100<<10)
	for i := range 3 {
		ctl.run("", "put", fmt.Sprint("k", i), value)
	}
	if out := ctl.refused("put", "a", "b"); !strings.Contains(out, "database space exceeded") {
		t.Fatal(out)
	}
	if out := ctl.run("", "alarm", "list"); out != "memberID:7 alarm:NOSPACE" {
		t.Fatal(out)
	}
	ctl.run("", "del", "k", "--prefix")
	ctl.run("", "compaction", "5")
	ctl.run("", "alarm", "disarm")
	if out := ctl.run("", "alarm", "list"); out != "" {
		t.Fatal(out)
	}
	ctl.run("", "put", "a", "b")
}
