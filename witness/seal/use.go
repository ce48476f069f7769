package seal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"quorate/witness"
)

// secretsOf returns the names of a device's secret settings that have a value.
func secretsOf(d *witness.Device) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(d.Settings)) {
		if witness.SecretSetting(name) && d.Settings[name] != "" {
			out = append(out, name)
		}
	}
	return out
}

func (k *Keeper) reveal(s *witness.State, device, setting, value string) (string, error) {
	if !witness.Sealed(value) {
		return value, nil
	}
	data, err := k.dataKey(s, witness.SealedVersion(value))
	if err != nil {
		return "", err
	}
	return openValue(data, device, setting, value)
}

// Reveal returns the settings of a device with its secrets in clear. They are
// for a driver, and go nowhere else.
func (k *Keeper) Reveal(device string, settings map[string]string) (map[string]string, error) {
	out := maps.Clone(settings)
	for name, value := range settings {
		plain, err := k.reveal(k.node.State(), device, name, value)
		if err != nil {
			return nil, err
		}
		out[name] = plain
	}
	return out, nil
}

// Seal returns a copy of a configuration in which no secret is in clear. What
// is the same as in the present configuration keeps its form, so that applying
// a file again changes nothing. A new installation makes its data key in the
// first seconds; Seal waits for it.
func (k *Keeper) Seal(ctx context.Context, cfg *witness.Config) (*witness.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, waitForKey)
	defer cancel()
	for {
		changed := k.node.Changed()
		s := k.node.State()
		out, err := k.seal(s, cfg)
		if err == nil || !errors.Is(err, errNoKey) {
			return out, err
		}
		select {
		case <-changed:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, &witness.Error{Code: witness.CodeNoQuorum, Msg: "this witness cannot seal the secrets of devices yet: " + err.Error() + "; ask another witness, or this one in a minute"}
		}
	}
}

var errNoKey = errors.New("it has no data key")

func (k *Keeper) seal(s *witness.State, cfg *witness.Config) (*witness.Config, error) {
	out := *cfg
	out.Devices = slices.Clone(cfg.Devices)
	now := make(map[string]*witness.Device, len(s.Config.Devices))
	for i := range s.Config.Devices {
		now[s.Config.Devices[i].Name] = &s.Config.Devices[i]
	}
	for i := range out.Devices {
		d := &out.Devices[i]
		names := secretsOf(d)
		if len(names) == 0 {
			continue
		}
		d.Settings = maps.Clone(d.Settings)
		for _, name := range names {
			text, err := k.sealed(s, now[d.Name], d.Name, name, d.Settings[name])
			if err != nil {
				return nil, err
			}
			d.Settings[name] = text
		}
	}
	return &out, nil
}

// sealed returns the sealed form of a value: the present one, if it says the
// same.
func (k *Keeper) sealed(s *witness.State, present *witness.Device, device, setting, value string) (string, error) {
	if witness.Sealed(value) {
		return value, nil // taken over from the present configuration
	}
	data, err := k.dataKey(s, s.KeyVersion())
	if s.KeyVersion() == 0 || err != nil {
		return "", errNoKey
	}
	if present != nil && witness.SealedVersion(present.Settings[setting]) == s.KeyVersion() {
		if plain, err := openValue(data, device, setting, present.Settings[setting]); err == nil && plain == value {
			return present.Settings[setting], nil
		}
	}
	return sealValue(data, s.KeyVersion(), content{device, setting, value})
}

// Rotate makes a new data key. The secrets are sealed with it by the leader
// within seconds, and the old one is forgotten then.
func (k *Keeper) Rotate(ctx context.Context, by string) (version uint64, err error) {
	s := k.node.State()
	cmd, err := k.newKey(s, by)
	switch {
	case err != nil:
		return 0, err
	case cmd == nil:
		return 0, &witness.Error{Code: witness.CodeConflict, Msg: "no voting witness has published its key yet; try again in a minute"}
	}
	res, err := k.node.Propose(ctx, cmd)
	if err != nil {
		return 0, fmt.Errorf("the data key is not changed: %w", err)
	}
	return res.ID, nil
}
