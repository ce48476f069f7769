package witness

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The secrets of devices are sealed with a data key. The state holds the public
// key of every witness, and the data key sealed to each of them: the log and
// its snapshots never hold one in clear, and a witness that joins is given it
// by any other one. This package only keeps the texts; witness/seal has the
// cryptography.

// SealedPrefix begins a sealed secret: "sealed:v1:…", with the data key's
// version.
const SealedPrefix = "sealed:v"

// Sealed says whether the value of a setting is a sealed secret.
func Sealed(value string) bool { return strings.HasPrefix(value, SealedPrefix) }

// SealedVersion returns the version of the data key that a value is sealed
// with, or 0.
func SealedVersion(value string) uint64 {
	text, ok := strings.CutPrefix(value, SealedPrefix)
	if !ok {
		return 0
	}
	number, _, _ := strings.Cut(text, ":")
	v, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0
	}
	return v
}

type (
	// NodeKey publishes the public key of a witness. A name keeps its key: a
	// witness that lost its disk comes back under another name.
	NodeKey struct {
		Node   string `json:"node"`
		Public string `json:"public"`
	}
	// DataKey is a new data key, sealed to each witness.
	DataKey struct {
		Version uint64      `json:"version"` // one above the last
		Boxes   []SealedBox `json:"boxes"`
		By      string      `json:"by,omitempty"`
	}
	// SealedBox is a data key sealed to one witness.
	SealedBox struct {
		Node string `json:"node"`
		Box  string `json:"box"`
	}
	// SealKey seals a data key to one more witness.
	SealKey struct {
		Version uint64 `json:"version"`
		Node    string `json:"node"`
		Public  string `json:"public"` // that it was sealed to
		Box     string `json:"box"`
	}
	// Reseal replaces secrets in the configuration by the same ones under
	// another data key, or sealed instead of in clear. Nothing else changes.
	Reseal struct {
		Base     uint64         `json:"base"` // version of the configuration
		Settings []ResealedItem `json:"settings"`
	}
	// ResealedItem is one secret of a device.
	ResealedItem struct {
		Device  string `json:"device"`
		Setting string `json:"setting"`
		Value   string `json:"value"`
	}
)

func (NodeKey) kind() string { return "node-key" }
func (DataKey) kind() string { return "data-key" }
func (SealKey) kind() string { return "seal-key" }
func (Reseal) kind() string  { return "reseal" }

const (
	maxNodeKeys = 200
	maxKeyText  = 1000
	maxDataKeys = 20
)

// NodePublic returns the public key of a witness, or "".
func (s *State) NodePublic(node string) string { k, _ := s.nodeKeys.Get(node); return k }

// DataKeys returns the data keys that are in use, oldest first. The slice must
// not be changed.
func (s *State) DataKeys() []DataKey { return s.dataKeys }

// Box returns the data key of a version as it is sealed to a witness, or "".
func (s *State) Box(version uint64, node string) string {
	for i := range s.dataKeys {
		if s.dataKeys[i].Version != version {
			continue
		}
		for _, b := range s.dataKeys[i].Boxes {
			if b.Node == node {
				return b.Box
			}
		}
	}
	return ""
}

// KeyVersion returns the version of the newest data key; 0 = there is none.
func (s *State) KeyVersion() uint64 {
	if n := len(s.dataKeys); n > 0 {
		return s.dataKeys[n-1].Version
	}
	return 0
}

func (a *applier) secrets(cmd Command) {
	switch c := cmd.(type) {
	case NodeKey:
		a.nodeKey(c)
	case DataKey:
		a.dataKey(c)
	case SealKey:
		a.sealKey(c)
	case Reseal:
		a.reseal(c)
	}
}

func (a *applier) nodeKey(c NodeKey) {
	known := a.s.NodePublic(c.Node)
	switch {
	case c.Node == "" || c.Public == "" || len(c.Node)+len(c.Public) > maxKeyText || a.s.nodeKeys.Len() >= maxNodeKeys:
		a.res.Err = errorf(CodeInvalid, "that is no key of a witness")
	case known == c.Public:
	case known != "":
		a.res.Err = errorf(CodeConflict, "witness %s has published another key: a witness whose disk was lost needs a name that was never used", c.Node)
	default:
		a.s.nodeKeys = a.s.nodeKeys.Set(c.Node, c.Public)
		a.event(Event{Kind: "node-key", Text: fmt.Sprintf("witness %s has published its public key", c.Node)})
	}
}

func (a *applier) dataKey(c DataKey) {
	if c.Version != a.s.KeyVersion()+1 {
		a.res.Err = errorf(CodeConflict, "the newest data key has version %d: another witness was faster", a.s.KeyVersion())
		return
	}
	if len(a.s.dataKeys) >= maxDataKeys {
		a.res.Err = errorf(CodeExhausted, "%d data keys are kept already, since nothing was sealed anew with the newest: see `witnessctl secrets status`; the next change of the configuration, given with every secret, forgets those that are not needed", maxDataKeys)
		return
	}
	seen := map[string]bool{}
	for _, b := range c.Boxes {
		if a.s.NodePublic(b.Node) == "" || b.Box == "" || len(b.Box) > maxKeyText || seen[b.Node] {
			a.res.Err = errorf(CodeInvalid, "a data key is sealed once to each witness that has published its key")
			return
		}
		seen[b.Node] = true
	}
	if len(c.Boxes) == 0 {
		a.res.Err = errorf(CodeInvalid, "a data key that no witness can open would lose every secret")
		return
	}
	a.s.dataKeys = append(slices.Clone(a.s.dataKeys), c)
	a.res.ID = c.Version
	a.event(Event{Kind: "data-key", Level: LevelWarn, Text: fmt.Sprintf("data key %d for the secrets of devices, for %d witnesses, by %s", c.Version, len(c.Boxes), orUnknown(c.By))})
}

func (a *applier) sealKey(c SealKey) {
	for i := range a.s.dataKeys {
		k := a.s.dataKeys[i]
		if k.Version != c.Version {
			continue
		}
		if a.s.NodePublic(c.Node) != c.Public || c.Public == "" || c.Box == "" || len(c.Box) > maxKeyText {
			break
		}
		if a.s.Box(c.Version, c.Node) != "" {
			return // somebody else was faster
		}
		k.Boxes = append(slices.Clone(k.Boxes), SealedBox{c.Node, c.Box})
		a.s.dataKeys = slices.Clone(a.s.dataKeys)
		a.s.dataKeys[i] = k
		a.event(Event{Kind: "seal-key", Text: fmt.Sprintf("witness %s is given data key %d", c.Node, c.Version)})
		return
	}
	a.res.Err = errorf(CodeConflict, "there is no data key %d, or witness %s has another public key", c.Version, c.Node)
}

func (a *applier) reseal(c Reseal) {
	if c.Base != a.s.ConfigVersion {
		a.res.Err = errorf(CodeConflict, "the configuration is at version %d by now", a.s.ConfigVersion)
		return
	}
	cfg := *a.s.Config
	cfg.Devices = slices.Clone(cfg.Devices)
	copied := map[int]bool{}
	at := make(map[string]int, len(cfg.Devices))
	for i := range cfg.Devices {
		at[cfg.Devices[i].Name] = i
	}
	for _, item := range c.Settings {
		i, ok := at[item.Device]
		if !ok || SealedVersion(item.Value) != a.s.KeyVersion() || a.s.KeyVersion() == 0 {
			a.res.Err = errorf(CodeInvalid, "%s of device %s is not sealed with the newest data key", item.Setting, item.Device)
			return
		}
		if _, has := cfg.Devices[i].Settings[item.Setting]; !has {
			a.res.Err = errorf(CodeInvalid, "device %s has no setting %s", item.Device, item.Setting)
			return
		}
		if !copied[i] {
			settings := make(map[string]string, len(cfg.Devices[i].Settings))
			for k, v := range cfg.Devices[i].Settings {
				settings[k] = v
			}
			cfg.Devices[i].Settings, copied[i] = settings, true
		}
		cfg.Devices[i].Settings[item.Setting] = item.Value
	}
	if len(c.Settings) == 0 {
		return
	}
	a.s.Config, a.s.ConfigVersion = &cfg, a.e.Index
	a.respec()
	a.dropDataKeys()
	a.res.ID = a.e.Index
	a.event(Event{Kind: "resealed", Text: fmt.Sprintf("configuration version %d: %d secrets of devices are sealed with data key %d", a.e.Index, len(c.Settings), a.s.KeyVersion())})
}

// respec points the look-up tables and the clusters at the new copy of the
// configuration, in which they are as before.
func (a *applier) respec() {
	a.s.index()
	for name, old := range a.s.clusters.All() {
		c := *old
		c.Spec = a.s.Config.Cluster(name)
		a.s.clusters = a.s.clusters.Set(name, &c)
	}
}

// dropDataKeys forgets the old data keys that no secret is sealed with.
func (a *applier) dropDataKeys() {
	if len(a.s.dataKeys) < 2 {
		return
	}
	used := map[uint64]bool{a.s.KeyVersion(): true}
	for i := range a.s.Config.Devices {
		for _, v := range a.s.Config.Devices[i].Settings {
			if Sealed(v) {
				used[SealedVersion(v)] = true
			}
		}
	}
	a.s.dataKeys = slices.DeleteFunc(slices.Clone(a.s.dataKeys), func(k DataKey) bool { return !used[k.Version] })
}
