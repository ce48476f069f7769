package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// peerInfo is what this node remembers of another one, also across restarts.
type peerInfo struct {
	Disk string            `json:"disk"`
	Meta map[string]string `json:"meta,omitempty"`

	heard time.Time // last hello; zero since the start of this process
	alive bool      // gossip says so: a hint
}

// peerBook remembers the other witnesses: their addresses for clients, and the
// disk with which each was first seen.
type peerBook struct {
	path string // empty: in memory only

	mu    sync.Mutex
	known map[string]*peerInfo
}

func openPeerBook(dir string) (*peerBook, error) {
	b := &peerBook{known: map[string]*peerInfo{}}
	if dir == "" {
		return b, nil
	}
	b.path = filepath.Join(dir, peersFile)
	raw, err := os.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what is known of the other witnesses: %w", err)
	}
	if err := json.Unmarshal(raw, &b.known); err != nil {
		return nil, fmt.Errorf("%s is damaged: delete it, it is rebuilt as the other witnesses report: %w", b.path, err)
	}
	return b, nil
}

// meet checks the disk of a peer against the one it had before.
func (b *peerBook) meet(name, disk string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.known[name]
	if p == nil {
		p = &peerInfo{}
		b.known[name] = p
	}
	if p.Disk == disk {
		return nil
	}
	if p.Disk != "" {
		return fmt.Errorf("witness %q has come back without its log (disk %s, it had %s) and may have voted before: remove it from the cluster and let it join under a new name", name, disk, p.Disk)
	}
	p.Disk = disk
	return b.save()
}

// heard records a hello.
func (b *peerBook) heard(name string, meta map[string]string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.known[name]
	if p == nil {
		p = &peerInfo{}
		b.known[name] = p
	}
	p.heard = time.Now()
	if maps.Equal(p.Meta, meta) {
		return nil
	}
	p.Meta = maps.Clone(meta)
	return b.save()
}

// hint records what gossip says.
func (b *peerBook) hint(name string, alive bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.known[name]
	if p == nil {
		p = &peerInfo{} // forget drops it again if it is no member
		b.known[name] = p
	}
	p.alive = alive
}

// forget drops everybody that keep does not name, so that a removed witness
// may return with a new disk.
func (b *peerBook) forget(keep func(name string) bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.known)
	maps.DeleteFunc(b.known, func(name string, _ *peerInfo) bool { return !keep(name) })
	if len(b.known) == before {
		return nil
	}
	return b.save()
}

func (b *peerBook) get(name string) peerInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.known[name]; p != nil {
		c := *p
		c.Meta = maps.Clone(p.Meta)
		return c
	}
	return peerInfo{}
}

// save is called with the lock held; it writes only when something changed,
// which is rare.
func (b *peerBook) save() error {
	if b.path == "" {
		return nil
	}
	if err := writeJSON(b.path, b.known); err != nil {
		return fmt.Errorf("cannot record what is known of the other witnesses: %w", err)
	}
	return nil
}
