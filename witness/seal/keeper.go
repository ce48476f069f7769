package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"quorate/witness"
)

// Node is what the keeper needs of the replicated log.
type Node interface {
	Name() string
	State() *witness.State
	// Changed is closed when a newer state than the one now returned by State
	// is published.
	Changed() <-chan struct{}
	IsLeader() bool
	// Propose commits a command through whoever leads; witness.ErrNoQuorum if
	// nobody does, conflict if somebody else was faster.
	Propose(ctx context.Context, c witness.Command) (witness.Result, error)
	// View tells which witnesses vote.
	View() witness.View
}

// Keeper seals and opens for one witness.
type Keeper struct {
	node Node
	pair *pair
	log  *slog.Logger

	seen looked // by the latest look at the secrets that found nothing to do; of Run alone

	mu   sync.Mutex
	keys map[uint64]*key // data keys that were opened
}

// looked is what decides whether there is a secret to seal anew.
type looked struct {
	config, key uint64 // versions
	boxes       int    // data keys that this witness can open
}

const (
	proposeTime = 5 * time.Second
	lookAgain   = 5 * time.Second // without a change of the state
	waitForKey  = 10 * time.Second
)

// Open reads or makes the key pair of the witness in its data directory.
func Open(dir string, node Node, log *slog.Logger) (*Keeper, error) {
	p, err := loadPair(dir)
	if err != nil {
		return nil, err
	}
	return &Keeper{node: node, pair: p, log: log, keys: map[uint64]*key{}}, nil
}

// Run publishes the witness's own key, sees to it that there is a data key, that
// every voting witness is given it, and that no secret stays in clear or under
// an old one. It returns when ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		changed := k.node.Changed()
		cmd, err := k.next(k.node.State())
		if err == nil && cmd != nil {
			pctx, cancel := context.WithTimeout(ctx, proposeTime)
			_, err = k.node.Propose(pctx, cmd)
			cancel()
		}
		if err != nil && ctx.Err() == nil && witness.ErrorCode(err) != witness.CodeConflict && !errors.Is(err, witness.ErrNoQuorum) {
			k.log.Warn("the secrets of devices need attention", "err", err)
		}
		wait := time.NewTimer(lookAgain)
		if err != nil { // perhaps the leader changes: the state tells nothing of that
			changed = nil
			wait.Reset(time.Second)
		}
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-changed:
		case <-wait.C:
		}
		wait.Stop()
	}
}

// next returns what is to be done now, or nil.
func (k *Keeper) next(s *witness.State) (witness.Command, error) {
	own := s.NodePublic(k.node.Name())
	switch {
	case own == "":
		return witness.NodeKey{Node: k.node.Name(), Public: k.pair.text()}, nil
	case own != k.pair.text():
		return nil, fmt.Errorf("witness %s has published another key before: its secret.key was replaced. Restore it, or give the witness a new name and an empty data directory", k.node.Name())
	}
	version := s.KeyVersion()
	if version == 0 {
		if !k.node.IsLeader() {
			return nil, nil
		}
		return k.newKey(s, "the first leader")
	}
	if _, err := k.dataKey(s, version); err != nil {
		return nil, nil // another witness will give it to us
	}
	for _, sealed := range s.DataKeys() { // an older one is there as long as a secret needs it
		data, err := k.dataKey(s, sealed.Version)
		if err != nil {
			continue
		}
		for _, name := range k.node.View().Voters {
			public := s.NodePublic(name)
			if public == "" || s.Box(sealed.Version, name) != "" {
				continue
			}
			text, err := wrap(data, public)
			if err != nil {
				return nil, fmt.Errorf("witness %s: %w", name, err)
			}
			return witness.SealKey{Version: sealed.Version, Node: name, Public: public, Box: text}, nil
		}
	}
	if !k.node.IsLeader() {
		return nil, nil
	}
	return k.resealed(s)
}

// newKey makes the next data key, for the witnesses that vote now and have
// published their keys. Others are given it when they do.
func (k *Keeper) newKey(s *witness.State, by string) (witness.Command, error) {
	var data key
	if _, err := rand.Read(data[:]); err != nil {
		return nil, err
	}
	out := witness.DataKey{Version: s.KeyVersion() + 1, By: by}
	for _, name := range k.node.View().Voters {
		public := s.NodePublic(name)
		if public == "" {
			continue
		}
		text, err := wrap(&data, public)
		if err != nil {
			return nil, fmt.Errorf("witness %s: %w", name, err)
		}
		out.Boxes = append(out.Boxes, witness.SealedBox{Node: name, Box: text})
	}
	if len(out.Boxes) == 0 {
		return nil, nil
	}
	return out, nil
}

// resealed seals what is in clear, or under an older data key.
func (k *Keeper) resealed(s *witness.State) (witness.Command, error) {
	version := s.KeyVersion()
	data, err := k.dataKey(s, version)
	if err != nil {
		return nil, err
	}
	now := looked{config: s.ConfigVersion, key: version}
	for _, sealed := range s.DataKeys() {
		if s.Box(sealed.Version, k.node.Name()) != "" {
			now.boxes++
		}
	}
	if now == k.seen { // or every entry of the log would cost a look at every device
		return nil, nil
	}
	cmd := witness.Reseal{Base: s.ConfigVersion}
	for i := range s.Config.Devices {
		d := &s.Config.Devices[i]
		for _, name := range secretsOf(d) {
			value := d.Settings[name]
			if witness.SealedVersion(value) == version {
				continue
			}
			plain, err := k.reveal(s, d.Name, name, value)
			if err != nil {
				k.log.Error("a secret cannot be opened any more", "device", d.Name, "setting", name, "err", err)
				continue // it stays as it is, and the others go on
			}
			text, err := sealValue(data, version, content{d.Name, name, plain})
			if err != nil {
				return nil, err
			}
			cmd.Settings = append(cmd.Settings, witness.ResealedItem{Device: d.Name, Setting: name, Value: text})
		}
	}
	if len(cmd.Settings) == 0 {
		k.seen = now
		return nil, nil
	}
	return cmd, nil
}

// dataKey returns a data key that was sealed to this witness.
func (k *Keeper) dataKey(s *witness.State, version uint64) (*key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if data := k.keys[version]; data != nil {
		return data, nil
	}
	text := s.Box(version, k.node.Name())
	if text == "" {
		return nil, fmt.Errorf("witness %s has not been given data key %d yet; another witness does that within seconds of being in touch", k.node.Name(), version)
	}
	data, err := k.pair.unwrap(text)
	if err != nil {
		return nil, err
	}
	k.keys[version] = data
	return data, nil
}
