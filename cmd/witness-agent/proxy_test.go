package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quorate/witness/qnetd/authority"
	"quorate/witness/qnetd/wire"
)

// files makes an authority and a certificate of a cluster, in the current folder.
func files(t *testing.T, cluster string) {
	t.Helper()
	ca, err := authority.Create(cluster+"-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, request, err := authority.NewKey(cluster)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(request, false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{".key": key, ".crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})} {
		if err := os.WriteFile(cluster+name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Chdir(t.TempDir())
	files(t, "one")
	files(t, "two")
	with := func(ca, cert, key string) []string {
		return []string{"--witness", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--ca", filepath.Join(ca, authority.CertFile), "--cert", cert, "--key", key}
	}
	for want, args := range map[string][]string{
		"no witness":        {"--plaintext", "--cluster", "x"},
		"--ca":              {"--witness", "a:1"},
		"exclude":           append(with("one-ca", "one.crt", "one.key"), "--plaintext"),
		"not signed by":     with("two-ca", "one.crt", "one.key"),
		"does not match":    with("one-ca", "one.crt", "two.key"),
		"no such file":      with("one-ca", "none.crt", "one.key"),
		"not of \"other\"":  append(with("one-ca", "one.crt", "one.key"), "--cluster", "other"),
		"loopback":          {"--plaintext", "--cluster", "x", "--witness", "a:1", "--listen", "0.0.0.0:0"},
		"has no name":       {"--plaintext", "--witness", "a:1", "--listen", "127.0.0.1:0"},
		"choose text":       {"-o", "yaml"},
		"unknown flag":      {"--hold"},
		"a lease of 1h0m0s": {"--plaintext", "--cluster", "x", "--witness", "a:1", "--listen", "127.0.0.1:0", "--lease", "1h"},
	} {
		var out, errs bytes.Buffer
		code := Run(context.Background(), append([]string{"qdevice-proxy"}, args...), &out, &errs)
		if code != ExitError || !strings.Contains(errs.String(), want) {
			t.Errorf("%v: %d, %q, want %q", args, code, errs.String(), want)
		}
	}
}

// buffer is written by the program and read by the test.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestServes: the program takes a client of its own cluster, and none of another,
// and ends by its context. Whole sessions are in test/qdevice.
func TestServes(t *testing.T) {
	t.Chdir(t.TempDir())
	files(t, "one")
	var out, errs buffer
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, []string{
			"qdevice-proxy", "--witness", "127.0.0.1:1", "--listen", "127.0.0.1:0", "-o", "json",
			"--ca", "one-ca/ca.crt", "--cert", "one.crt", "--key", "one.key",
		}, &out, &errs)
	}()
	var started struct{ Listen, Cluster string }
	for end := time.Now().Add(time.Minute); started.Listen == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(errs.String())
		}
		if line, _, ok := strings.Cut(errs.String(), "\n"); ok {
			if err := json.Unmarshal([]byte(line), &started); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
		}
	}
	if started.Cluster != "one" {
		t.Errorf("the cluster is %q", started.Cluster)
	}
	for cluster, taken := range map[string]bool{"one": true, "two": false} {
		conn, err := net.Dial("tcp", started.Listen)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := wire.Append(nil, wire.Preinit{Seq: 1, Cluster: cluster})
		if _, err := conn.Write(raw); err != nil {
			t.Fatal(err)
		}
		f, err := wire.NewReader(conn, wire.MaxMessage).Next()
		if (err == nil && f.Type == wire.TypePreinitReply) != taken {
			t.Errorf("cluster %s: %v, %v", cluster, f.Type, err)
		}
		_ = conn.Close()
	}
	cancel()
	if code := <-done; code != ExitOK {
		t.Errorf("ended with %d: %s", code, errs.String())
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"qdevice-proxy", "--help"}} {
		var out, errs bytes.Buffer
		if code := Run(context.Background(), args, &out, &errs); code != ExitOK || !strings.Contains(out.String(), "Examples:") || !strings.Contains(out.String(), "Exit codes:") {
			t.Errorf("%v: %d\n%s%s", args, code, out.String(), errs.String())
		}
	}
}
