//go:build integration

package etcdapi_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestEtcdctl drives the API with Debian's etcdctl.
func TestEtcdctl(t *testing.T) {
	bin, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Skip("etcdctl is not installed (Debian: etcd-client)")
	}
	s := start(t)
	ctl := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctxOf(t), bin, append([]string{"--endpoints", s.addr}, args...)...)
		cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("etcdctl %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
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

	cmd := exec.CommandContext(ctxOf(t), bin, "--endpoints", s.addr, "watch", "foo", "--rev", "4")
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("DELETE\nfoo\n"))
	for n := 0; n < len(got); {
		m, err := out.Read(got[n:])
		if n += m; err != nil {
			t.Fatalf("watch: %q %v", got[:n], err)
		}
	}
	want("DELETE\nfoo\n", string(got))
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}
