package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// namespacePrefix starts the name of every namespace that any lab makes.
	namespacePrefix = "quoratelab-"
	// commandTimeout bounds each call of ip and nft.
	commandTimeout = 20 * time.Second
	bridgeName     = "lab0"
)

// Options says where a lab keeps its files.
type Options struct {
	// LogDir receives one file of output per started process. It is created.
	LogDir string
	// Logger receives one line per act of the lab.
	Logger *slog.Logger
}

// Lab is a set of hosts on one isolated bridge.
type Lab struct {
	id      string
	logDir  string
	dataDir string
	log     *slog.Logger
	release func()

	mu     sync.Mutex
	hosts  map[string]*Host
	cuts   map[link]bool
	closed bool
}

// New makes an empty lab: a bridge in a namespace of its own and a data
// directory that every user may enter. It first removes the leftovers of labs
// whose process is gone. It fails unless it runs as root.
func New(ctx context.Context, o Options) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab makes network namespaces, which needs root: run the integration tests as root")
	}
	if err := removeStale(ctx, o.Logger); err != nil {
		return nil, fmt.Errorf("remove leftovers of earlier labs: %w", err)
	}
	var random [3]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	id := hex.EncodeToString(random[:])
	release, err := register(id)
	if err != nil {
		return nil, err
	}
	l := &Lab{
		id: id, logDir: o.LogDir, dataDir: dataDirOf(id), log: o.Logger, release: release,
		hosts: map[string]*Host{}, cuts: map[link]bool{},
	}
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(err, l.Cleanup(context.WithoutCancel(ctx)))
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context) error {
	if err := os.MkdirAll(l.logDir, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(l.dataDir, 0o755); err != nil {
		return err
	}
	sw := l.switchNamespace()
	return commands(
		ctx,
		[]string{"ip", "netns", "add", sw},
		[]string{"ip", "-n", sw, "link", "set", "lo", "up"},
		[]string{"ip", "-n", sw, "link", "add", bridgeName, "type", "bridge"},
		[]string{"ip", "-n", sw, "link", "set", bridgeName, "up"},
	)
}

// DataDir is a directory for the files of the lab's processes; Cleanup removes it.
func (l *Lab) DataDir() string { return l.dataDir }

// LogDir is where the output of the lab's processes goes; it outlives the lab.
func (l *Lab) LogDir() string { return l.logDir }

// Host makes a host: a namespace with loopback and one interface eth0 that has
// the address ip in a /24 shared by the lab's hosts. The name must be unique in
// the lab and at most 15 characters, because the bridge's port is named after it.
func (l *Lab) Host(ctx context.Context, name, ip string) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, taken := l.hosts[name]; taken {
		return nil, fmt.Errorf("the lab already has a host %q", name)
	}
	h := &Host{lab: l, name: name, ip: ip, namespace: namespacePrefix + l.id + "-" + name}
	sw, ns := l.switchNamespace(), h.namespace
	err := commands(
		ctx,
		[]string{"ip", "netns", "add", ns},
		[]string{"ip", "-n", ns, "link", "set", "lo", "up"},
		[]string{"ip", "-n", sw, "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", ns},
		[]string{"ip", "-n", sw, "link", "set", "dev", name, "master", bridgeName},
		[]string{"ip", "-n", sw, "link", "set", "dev", name, "up"},
		[]string{"ip", "-n", ns, "addr", "add", ip + "/24", "dev", "eth0"},
		[]string{"ip", "-n", ns, "link", "set", "eth0", "up"},
	)
	if err != nil {
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	l.hosts[name] = h
	return h, nil
}

// Hosts returns the lab's hosts in the order of their names.
func (l *Lab) Hosts() []*Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	hosts := make([]*Host, 0, len(l.hosts))
	for _, h := range l.hosts {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b *Host) int { return strings.Compare(a.name, b.name) })
	return hosts
}

// Cleanup kills every process in the lab's namespaces, removes the namespaces
// and the data directory. It may be called more than once; the log files stay.
func (l *Lab) Cleanup(ctx context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	err := removeRun(ctx, l.id)
	for _, h := range l.Hosts() {
		h.wait()
	}
	if err == nil {
		l.release()
	}
	return err
}

func (l *Lab) switchNamespace() string { return namespacePrefix + l.id + "-switch" }

func dataDirOf(id string) string {
	return filepath.Join(os.TempDir(), namespacePrefix+id)
}

// commands runs the commands one after the other until one fails.
func commands(ctx context.Context, argvs ...[]string) error {
	for _, argv := range argvs {
		if _, err := command(ctx, "", argv...); err != nil {
			return err
		}
	}
	return nil
}

// command runs one short command of the machine and returns its standard output.
func command(ctx context.Context, stdin string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
