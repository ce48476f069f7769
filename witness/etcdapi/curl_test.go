//go:build integration

package etcdapi_test

import (
	"crypto/tls"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// curl reaches the gateway with every version of HTTP that it speaks.
func TestCurl(t *testing.T) {
	cert, _ := selfSigned(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	plain, secure := start(t), start(t, withTLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
	for _, c := range []struct{ url, args, want string }{
		{"http://" + plain.addr, "--http1.1", "1.1"},
		{"http://" + plain.addr, "--http2-prior-knowledge", "2"},
		{"http://" + plain.addr, "--http2", "1.1"}, // asks for an upgrade, which servers no longer have to know
		{"https://" + secure.addr, "--http1.1", "1.1"},
		{"https://" + secure.addr, "--http2", "2"},
		{"https://" + secure.addr, "--http2-prior-knowledge", "2"},
	} {
		args := append(strings.Fields(c.args), "-sS", "--fail-with-body", "--max-time", "30", "--cacert", ca,
			"-w", "\n%{http_version}", "-d", `{"key":"YQ==","count_only":true}`, c.url+"/v3/kv/range")
		out, err := exec.CommandContext(t.Context(), "curl", args...).CombinedOutput()
		body, version, _ := strings.Cut(string(out), "\n")
		if err != nil || version != c.want || !strings.Contains(body, `"raft_term"`) {
			t.Errorf("curl %s %s: %v %s", c.args, c.url, err, out)
		}
	}
}
