//go:build integration

package qdevice

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"quorate/witness/qnetd/authority"
)

// trio is three witnessd processes on loopback, with clusters named c1, c2, …
// of two nodes each, and TLS with client certificates.
type trio struct {
	t   *testing.T
	dir string
	ca  *authority.Authority

	witnesses []*process
}

// process is one witnessd.
type process struct {
	config      string
	api, device string // addresses
	cmd         *exec.Cmd
	pid         int
	done        chan struct{}
	log         string
	stopped     bool
}

func newTrio(t *testing.T, clusters int) *trio {
	t.Helper()
	tr := &trio{t: t, dir: t.TempDir()}
	for _, name := range []string{"witnessd", "witnessctl", "witness-agent"} {
		run(t, fmt.Sprintf("cd ../.. && go build -o %s ./cmd/%s", filepath.Join(tr.dir, name), name))
	}
	var err error
	if tr.ca, err = authority.Create(filepath.Join(tr.dir, "ca"), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.ca.Server(time.Now()); err != nil {
		t.Fatal(err)
	}
	var peers []string
	var addresses []string
	for i := range 3 {
		addresses = append(addresses, free(t))
		peers = append(peers, fmt.Sprintf("w%d: %q", i+1, addresses[i]))
	}
	for i := range 3 {
		p := &process{api: free(t), device: free(t), config: filepath.Join(tr.dir, fmt.Sprintf("w%d.yaml", i+1))}
		text := fmt.Sprintf(`node: w%d
data: %s/w%d
peers: {%s}
peer: {listen: %q}
http: {listen: %q}
qnetd: {listen: %q, cert: %s/ca/server.crt, key: %s/ca/server.key, client_ca: %s/ca/ca.crt}
`, i+1, tr.dir, i+1, strings.Join(peers, ", "), addresses[i], p.api, p.device, tr.dir, tr.dir, tr.dir)
		if err := os.WriteFile(p.config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		p.log = filepath.Join(tr.dir, fmt.Sprintf("w%d.log", i+1))
		tr.witnesses = append(tr.witnesses, p)
		tr.start(p)
	}
	t.Cleanup(func() {
		for i, p := range tr.witnesses {
			tr.kill(p)
			if t.Failed() {
				if raw, err := os.ReadFile(p.log); err == nil {
					t.Logf("w%d said:\n%s", i+1, raw[max(0, len(raw)-4000):])
				}
			}
		}
	})
	tr.declare(clusters)
	return tr
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (tr *trio) start(p *process) {
	tr.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(filepath.Join(tr.dir, "witnessd"), "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		tr.t.Fatal(err)
	}
	p.pid = p.cmd.Process.Pid
	p.done, p.stopped = make(chan struct{}), false
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(p.cmd, p.done)
}

// kill is the end of a witness: its ports refuse.
func (tr *trio) kill(p *process) {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
}

// pause makes a witness a black hole: its kernel still takes connections.
func (tr *trio) pause(p *process, on bool) {
	p.stopped = on
	s := syscall.SIGCONT
	if on {
		s = syscall.SIGSTOP
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *trio) declare(clusters int) {
	tr.t.Helper()
	var b strings.Builder
	b.WriteString("sites: [{name: s}]\nhosts:\n")
	for c := 1; c <= clusters; c++ {
		for n := 1; n <= 2; n++ {
			fmt.Fprintf(&b, "- {name: h%d-%d, site: s, addresses: [10.%d.%d.%d]}\n", c, n, 1+c>>8, c&255, n)
		}
	}
	b.WriteString("clusters:\n")
	for c := 1; c <= clusters; c++ {
		fmt.Fprintf(&b, "- {name: c%d, kind: corosync, members: [{name: n1, host: h%d-1, node: 1}, {name: n2, host: h%d-2, node: 2}]}\n", c, c, c)
	}
	path := filepath.Join(tr.dir, "quorate.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		tr.t.Fatal(err)
	}
	var last string
	until(tr.t, "the clusters are declared", func() bool {
		out, err := exec.Command(filepath.Join(tr.dir, "witnessctl"), "--server", tr.apis(), "apply", "-f", path, "--by", "test", "--reason", "test").CombinedOutput()
		if last = string(out); err != nil {
			time.Sleep(200 * time.Millisecond)
		}
		return err == nil
	})
	if tr.t.Failed() {
		tr.t.Log(last)
	}
}

func (tr *trio) apis() string {
	var out []string
	for _, p := range tr.witnesses {
		out = append(out, p.api)
	}
	return strings.Join(out, ",")
}

func (tr *trio) devices() []string {
	var out []string
	for _, p := range tr.witnesses {
		out = append(out, p.device)
	}
	return out
}

// identity makes the TLS of a cluster's nodes, and the files for it.
func (tr *trio) identity(cluster string) *tls.Config {
	tr.t.Helper()
	key, request, err := authority.NewKey(cluster)
	if err != nil {
		tr.t.Fatal(err)
	}
	cert, err := tr.ca.Sign(request, false, time.Now())
	if err != nil {
		tr.t.Fatal(err)
	}
	for name, data := range map[string][]byte{".key": key, ".crt": pemOf(cert)} {
		if err := os.WriteFile(filepath.Join(tr.dir, cluster+name), data, 0o600); err != nil {
			tr.t.Fatal(err)
		}
	}
	return clientConfig(tr.t, tr.ca.Cert, cert, key)
}

// leader returns the witness that a majority calls the leader, or nil.
func (tr *trio) leader() *process {
	votes := map[string]int{}
	for _, p := range tr.witnesses {
		if p.stopped {
			continue
		}
		client := http.Client{Timeout: 3 * time.Second}
		res, err := client.Get("http://" + p.api + "/v1/status")
		if err != nil {
			continue
		}
		var s struct{ Leader string }
		_ = json.NewDecoder(res.Body).Decode(&s)
		_ = res.Body.Close()
		votes[s.Leader]++
	}
	for i, p := range tr.witnesses {
		if votes[fmt.Sprintf("w%d", i+1)] >= 2 {
			return p
		}
	}
	return nil
}

// rss is the resident memory of a witness in MiB.
func (p *process) rss(t *testing.T) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// holder is the witness that has the established connection from an address of
// the proxy, found by the connections of its process.
func (tr *trio) holder(proxy *exec.Cmd) *process {
	for _, p := range tr.witnesses {
		_, port, _ := net.SplitHostPort(p.device)
		out, err := exec.Command("ss", "-Htnp", "state", "established", "dport", "=", ":"+port).Output()
		if err == nil && strings.Contains(string(out), fmt.Sprintf("pid=%d,", proxy.Process.Pid)) {
			return p
		}
	}
	return nil
}

// running starts devices, and ends them with the test.
func running(t *testing.T, devices ...*Device) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, len(devices))
	for _, d := range devices {
		go func() { ended <- d.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range devices {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

// all tells whether every witness listens for devices, which each does only in
// contact with the leader.
func (tr *trio) all() bool {
	for _, p := range tr.witnesses {
		conn, err := net.Dial("tcp", p.device)
		if err != nil {
			return false
		}
		_ = conn.Close()
	}
	return true
}
