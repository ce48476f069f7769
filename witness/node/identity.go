package node

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"

	"quorate/witness/node/raftlog"
)

const (
	identityFile = "node.json"
	peersFile    = "members.json"
)

// identity says whose data a directory holds. Disk is a random number made when
// the directory was first used: a witness that returns with its old name and
// another number has lost its log, and with it the memory of whom it voted for.
type identity struct {
	Format  int    `json:"format"`
	Node    string `json:"node"`
	Cluster string `json:"cluster"`
	Disk    string `json:"disk"`
}

// MemberIDOf returns the numeric identity of the witness called name, as the
// etcd API shows it: FNV-64a of the name, never zero.
func MemberIDOf(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // cannot fail
	if id := h.Sum64(); id != 0 {
		return id
	}
	return 1
}

// claim makes dir ours, or says why it is not. It also proves that the disk
// takes writes: a witness that cannot write must not vote.
func claim(o *Options) (identity, error) {
	if o.DataDir == "" {
		return identity{Format: 1, Node: o.Name, Cluster: o.Cluster, Disk: randomHex()}, nil
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return identity{}, fmt.Errorf("cannot create the data directory, check its path and owner: %w", err)
	}
	if err := proveWritable(o.DataDir); err != nil {
		return identity{}, fmt.Errorf("data directory %s takes no writes; free space, remount it read-write or replace the disk, then start again: %w", o.DataDir, err)
	}
	path := filepath.Join(o.DataDir, identityFile)
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return create(path, o)
	case err != nil:
		return identity{}, fmt.Errorf("cannot read the identity of the data directory: %w", err)
	}
	var id identity
	if err := json.Unmarshal(raw, &id); err != nil {
		return identity{}, fmt.Errorf("%s is damaged: wipe %s and let this witness join under a new name: %w", path, o.DataDir, err)
	}
	if id.Node != o.Name {
		return identity{}, fmt.Errorf("data directory %s belongs to witness %q, this one is %q: point this witness at its own directory, or give it its old name back", o.DataDir, id.Node, o.Name)
	}
	if id.Cluster != o.Cluster {
		return identity{}, fmt.Errorf("data directory %s belongs to the witness cluster %q, this one is %q: use an empty directory, or correct the cluster name", o.DataDir, id.Cluster, o.Cluster)
	}
	if there, err := raftlog.Exists(o.DataDir); err != nil {
		return identity{}, fmt.Errorf("cannot look for the log in %s: %w", o.DataDir, err)
	} else if o.LogStore == nil && !there {
		return identity{}, fmt.Errorf("%s has an %s but no log: this witness may have voted, and would not remember; wipe the directory and let it join under a new name (if it never ran, wiping is enough)", o.DataDir, identityFile)
	}
	return id, nil
}

func create(path string, o *Options) (identity, error) {
	if there, err := raftlog.Exists(o.DataDir); err != nil {
		return identity{}, fmt.Errorf("cannot look for the log in %s: %w", o.DataDir, err)
	} else if there {
		return identity{}, fmt.Errorf("%s has a log but no %s: it is incomplete; restore the file, or wipe the directory and let this witness join under a new name", o.DataDir, identityFile)
	}
	id := identity{Format: 1, Node: o.Name, Cluster: o.Cluster, Disk: randomHex()}
	if err := writeJSON(path, id); err != nil {
		return identity{}, fmt.Errorf("cannot write the identity of the data directory: %w", err)
	}
	return id, nil
}

// proveWritable writes and syncs one block.
func proveWritable(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 64<<10))
	err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
	return err
}

// writeJSON replaces a small file so that a power cut leaves the old or the new.
func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func randomHex() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}
