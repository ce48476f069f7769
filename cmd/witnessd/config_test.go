package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "witnessd.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadConfig(path)
}

func TestConfigDefaults(t *testing.T) {
	cfg, err := load(t, `
node: w1
data: state
peers: {w1: 10.0.0.1:7400, w2: 10.0.0.2:7400, w3: 10.0.0.3:7400}
peer: {listen: 0.0.0.0:7400}
etcd: {listen: 10.0.0.1:2379}
http: {listen: 10.0.0.1:8080}
`)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Peer.Advertise != "10.0.0.1:7400" || cfg.Etcd.Advertise != "http://10.0.0.1:2379" || cfg.Cluster != "quorate" ||
		!filepath.IsAbs(cfg.Data) || cfg.Timing.Election != cfg.Timing.Heartbeat {
		t.Errorf("defaults: %+v", cfg)
	}
}

func TestConfigFaultsAllAtOnce(t *testing.T) {
	_, err := load(t, "peer: {listen: here}\netcd: {advertise: nowhere}\n")
	if err == nil {
		t.Fatal("a configuration full of faults is taken")
	}
	for _, want := range []string{"node:", "data:", "peers:", "peer.listen:", "http.listen:", "etcd.advertise:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in:\n%v", want, err)
		}
	}
}

func TestConfigUnknownKeys(t *testing.T) {
	_, err := load(t, "node: w1\nnodes: w2\npeer: {lisen: x}\n")
	if err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("unknown keys: %v", err)
	}
}

func TestInstallPageExample(t *testing.T) {
	raw, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/install.md has no example")
	}
	if _, err := load(t, example); err != nil {
		t.Errorf("the example in docs/install.md does not load: %v", err)
	}
}

func TestDNSTransferConfig(t *testing.T) {
	dir := t.TempDir()
	load := func(dns string) (*Config, error) {
		path := filepath.Join(dir, "node.yaml")
		text := "node: w1\ndata: d\npeers: {w1: 127.0.0.1:1}\npeer: {listen: 127.0.0.1:1}\nhttp: {listen: 127.0.0.1:2}\ndns:\n  listen: 127.0.0.1:53\n" + dns
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return LoadConfig(path)
	}
	cfg, err := load("  rate_limit: 0\n  transfer:\n    keys: [{name: xfr.test, secret: c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0}]\n    allow: [10.0.0.0/8]\n    notify: [{address: \"10.0.0.1:53\", key: xfr.test}]\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.DNS.Transfer.transfer(); len(got.Keys) != 1 || len(got.Allow) != 1 || len(got.Notify) != 1 || cfg.DNS.rateLimit() != 0 {
		t.Errorf("%+v, rate limit %d", got, cfg.DNS.rateLimit())
	}
	if cfg, err = load(""); err != nil || cfg.DNS.rateLimit() != defaultRateLimit {
		t.Errorf("default: %v, %v", cfg, err)
	}
	_, err = load("  transfer:\n    keys: [{name: a, secret: xx}]\n    notify: [{address: \"10.0.0.1:53\", key: b}]\n")
	if err == nil || !strings.Contains(err.Error(), "dns.transfer") || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("faults: %v", err)
	}
}
