package seal

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness"
)

// cluster is a log that commits at once, shared by nodes of which one leads.
type cluster struct {
	mu      sync.Mutex
	state   *witness.State
	changed chan struct{}
	voters  []string
	leader  string
	log     bytes.Buffer // all entries, as they are stored
}

func newCluster(voters ...string) *cluster {
	return &cluster{state: witness.New(), changed: make(chan struct{}), voters: voters, leader: voters[0]}
}

func (c *cluster) apply(cmd witness.Command) (witness.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	raw, err := witness.EncodeCommand(cmd, witness.Stamp{})
	if err != nil {
		return witness.Result{}, err
	}
	c.log.Write(raw)
	next, res, _ := c.state.Apply(witness.Entry{Index: c.state.Index + 1, Term: 1, Cmd: cmd})
	c.state = next
	close(c.changed)
	c.changed = make(chan struct{})
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
}

// stored is everything that would be on a disk: the log and a snapshot.
func (c *cluster) stored(t *testing.T) string {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	raw, err := c.state.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return c.log.String() + string(raw)
}

func (c *cluster) vote(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.voters = names
	close(c.changed)
	c.changed = make(chan struct{})
}

type node struct {
	*cluster
	name string
}

var _ Node = (*node)(nil)

func (n *node) Name() string { return n.name }

func (n *node) State() *witness.State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state
}

func (n *node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

func (n *node) IsLeader() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leader == n.name
}

func (n *node) Propose(_ context.Context, cmd witness.Command) (witness.Result, error) {
	return n.apply(cmd)
}

func (n *node) View() witness.View {
	n.mu.Lock()
	defer n.mu.Unlock()
	return witness.View{State: n.state, Voters: n.voters}
}

func (c *cluster) keeper(t *testing.T, name, dir string) *Keeper {
	t.Helper()
	k, err := Open(dir, &node{c, name}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// start runs a keeper until the test ends.
func (c *cluster) start(t *testing.T, name string) *Keeper {
	t.Helper()
	k := c.keeper(t, name, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return k
}

const secret = "hunter2-is-secret"

func config() *witness.Config {
	return &witness.Config{Devices: []witness.Device{
		{Name: "bmc1", Driver: "redfish", Settings: map[string]string{"url": "https://10.0.0.1", "username": "op", "password": secret}},
		{Name: "pdu", Driver: "pdu", Settings: map[string]string{"community": secret + "-too", "host": "10.0.0.9"}},
		{Name: "open", Driver: "x"},
	}}
}

// reads says whether a witness can read the secret of a device.
func reads(k *Keeper, device, setting, want string) bool {
	got, err := k.Reveal(device, k.node.State().Config.Device(device).Settings)
	return err == nil && got[setting] == want
}

func (c *cluster) put(t *testing.T, k *Keeper) {
	t.Helper()
	cfg, err := k.Seal(t.Context(), config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.apply(witness.Configure{Config: *cfg}); err != nil {
		t.Fatal(err)
	}
}

func TestSecretsAreNeverStoredInClear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("w1", "w2", "w3")
		var ks []*Keeper
		for _, name := range c.voters {
			ks = append(ks, c.start(t, name))
		}
		c.put(t, ks[2]) // at once: it waits for the key
		time.Sleep(time.Minute)
		for _, k := range ks {
			if !reads(k, "bmc1", "password", secret) || !reads(k, "pdu", "community", secret+"-too") {
				t.Errorf("%s cannot read the secrets", k.node.Name())
			}
		}
		if strings.Contains(c.stored(t), secret) {
			t.Error("a secret is in the log or in the snapshot")
		}
		dev := ks[0].node.State().Config.Device("bmc1")
		if dev.Settings["url"] != "https://10.0.0.1" || dev.Settings["username"] != "op" {
			t.Errorf("what is no secret was changed: %v", dev.Settings)
		}

		// The same file again is the same configuration.
		index := ks[0].node.State().Index
		again, err := ks[1].Seal(t.Context(), config())
		if err != nil || again.Devices[0].Settings["password"] != dev.Settings["password"] {
			t.Errorf("sealed anew without need: %v", err)
		}
		time.Sleep(time.Hour)
		if ks[0].node.State().Index != index {
			t.Error("the keepers write although there is nothing to do")
		}

		// A secret cannot be put elsewhere.
		moved := map[string]string{"password": dev.Settings["password"]}
		if _, err := ks[0].Reveal("bmc2", moved); err == nil || !strings.Contains(err.Error(), "another place") {
			t.Errorf("a secret of another device: %v", err)
		}
		if _, err := ks[0].Reveal("bmc1", map[string]string{"password": dev.Settings["password"] + "AAAA"}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("a damaged secret: %v", err)
		}
	})
}

func TestReplacementAndRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("w1", "w2", "w3")
		w1, w2, w3 := c.start(t, "w1"), c.start(t, "w2"), c.start(t, "w3")
		c.put(t, w1)
		time.Sleep(time.Minute)

		// w3 goes, w4 comes: it is given the key by another witness.
		w4 := c.start(t, "w4")
		time.Sleep(time.Minute)
		if reads(w4, "bmc1", "password", secret) {
			t.Error("a witness without a vote was given the key")
		}
		c.vote("w1", "w2", "w4")
		time.Sleep(time.Minute)
		if !reads(w4, "bmc1", "password", secret) {
			t.Fatal("the new witness cannot read the secrets")
		}

		// After a rotation w3 reads nothing any more, and the old key is forgotten.
		version, err := w2.Rotate(t.Context(), "anna")
		if err != nil || version != 2 {
			t.Fatal(version, err)
		}
		time.Sleep(time.Minute)
		for _, k := range []*Keeper{w1, w2, w4} {
			if !reads(k, "bmc1", "password", secret) {
				t.Errorf("after the rotation %s cannot read the secrets", k.node.Name())
			}
		}
		if reads(w3, "bmc1", "password", secret) {
			t.Error("a witness that was taken out reads secrets that were sealed later")
		}
		if keys := w1.node.State().DataKeys(); len(keys) != 1 || keys[0].Version != 2 {
			t.Errorf("data keys %+v", keys)
		}
		if strings.Contains(c.stored(t), secret) {
			t.Error("a secret is in the log or in the snapshot")
		}
	})
}

// A data key that some secret still needs is given to a new witness too, or it
// could neither use that secret nor, as leader, seal it anew.
func TestOlderKeyIsGivenToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("w1")
		w1 := c.start(t, "w1")
		c.put(t, w1)
		time.Sleep(time.Minute)
		c.mu.Lock()
		c.leader = "w2" // w1 makes a new key, and is deposed before it has sealed anything with it
		c.mu.Unlock()
		if _, err := w1.Rotate(t.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		c.vote("w1", "w2")
		w2 := c.start(t, "w2")
		time.Sleep(time.Minute)
		if !reads(w2, "bmc1", "password", secret) {
			t.Error("the new leader cannot read a secret")
		}
		if keys := w1.node.State().DataKeys(); len(keys) != 1 || keys[0].Version != 2 {
			t.Errorf("data keys %+v", keys)
		}
	})
}

// A secret that cannot be opened is told once, and not with every entry.
func TestUnreadableSecretIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("w1")
		var told bytes.Buffer
		k := c.keeper(t, "w1", t.TempDir())
		k.log = slog.New(slog.NewTextHandler(&told, nil))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		time.Sleep(time.Minute)
		cfg := config()
		cfg.Devices[0].Settings["password"] = witness.SealedPrefix + "9:bm9uZQ=="
		if _, err := c.apply(witness.Configure{Config: *cfg}); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			time.Sleep(time.Second)
			if _, err := c.apply(witness.Touch{}); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		// Once for the configuration as it was applied, once for that in which the other secret is sealed.
		if n := strings.Count(told.String(), "cannot be opened"); n < 1 || n > 4 || !reads(k, "pdu", "community", secret+"-too") {
			t.Errorf("told %d times:\n%s", n, told.String())
		}
	})
}

// An old installation has its secrets in clear; they are sealed when all is up.
func TestOldClearSecretsAreSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("w1", "w2", "w3")
		if _, err := c.apply(witness.Configure{Config: *config()}); err != nil {
			t.Fatal(err)
		}
		w1, w2 := c.start(t, "w1"), c.start(t, "w2")
		time.Sleep(time.Minute)
		for _, d := range w1.node.State().Config.Devices {
			for name, v := range d.Settings {
				if witness.SecretSetting(name) && !witness.Sealed(v) {
					t.Errorf("%s of %s is still in clear", name, d.Name)
				}
			}
		}
		if !reads(w1, "pdu", "community", secret+"-too") || !reads(w2, "pdu", "community", secret+"-too") {
			t.Error("the secrets are lost")
		}
		raw, err := w1.node.State().Marshal()
		if err != nil || bytes.Contains(raw, []byte(secret)) {
			t.Errorf("the snapshot has a secret in clear (%v)", err)
		}
	})
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	first, err := loadPair(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode() != fs.FileMode(0o600) {
		t.Errorf("mode %v, %v: want only the owner to read it", info.Mode(), err)
	}
	again, err := loadPair(dir)
	if err != nil || *again != *first {
		t.Errorf("the second start has another key: %v", err)
	}
	for name, text := range map[string]string{"empty": "", "short": "AAAA", "no base64": "?"} {
		if err := os.WriteFile(filepath.Join(dir, keyFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadPair(dir); err == nil {
			t.Errorf("%s: a broken key file was taken", name)
		}
	}
	// A replaced key is a fault that is told, not another identity.
	c := newCluster("w1")
	k := c.keeper(t, "w1", t.TempDir())
	if _, err := c.apply(witness.NodeKey{Node: "w1", Public: first.text()}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.next(c.state); err == nil || !strings.Contains(err.Error(), "secret.key was replaced") {
		t.Errorf("a replaced key: %v", err)
	}
}
