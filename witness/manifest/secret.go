package manifest

import (
	"fmt"

	"quorate/witness"
)

// Mask stands for a secret wherever a configuration is shown.
const Mask = "********"

// Secret says whether a device setting of this name is never shown.
func Secret(setting string) bool {
	probe := witness.Config{Devices: []witness.Device{{Settings: map[string]string{setting: ""}}}}
	return probe.Redacted().Devices[0].Settings[setting] == Mask
}

// KeepSecrets returns a copy of next in which a masked secret has the value
// that it has in current, so that a configuration can be read, edited and put
// back by somebody who does not know the secrets. A mask is a fault on a
// device that is new, or whose driver or other settings change: the old secret
// would go to a place that nobody chose for it.
func KeepSecrets(next, current *witness.Config) (*witness.Config, []witness.Fault) {
	out := *next
	out.Devices = make([]witness.Device, len(next.Devices))
	var faults []witness.Fault
	known := make(map[string]*witness.Device, len(current.Devices))
	for i := range current.Devices {
		known[current.Devices[i].Name] = &current.Devices[i]
	}
	for i, dev := range next.Devices {
		old := known[dev.Name]
		settings := make(map[string]string, len(dev.Settings))
		for k, v := range dev.Settings {
			if witness.Sealed(v) {
				faults = append(faults, witness.Fault{
					Path: fmt.Sprintf("devices[%d].settings.%s", i, k),
					Msg:  fmt.Sprintf("the value of %s looks like a secret that a witness has sealed: give the secret itself, or %s to keep the present one", k, Mask),
				})
				continue
			}
			if v == Mask && Secret(k) {
				if old == nil || old.Settings[k] == "" || !sameOpenly(old, &dev) {
					faults = append(faults, witness.Fault{
						Path: fmt.Sprintf("devices[%d].settings.%s", i, k),
						Msg:  fmt.Sprintf("device %q is new or changed, so its %s must be given: %s stands only for the secret of an unchanged device", dev.Name, k, Mask),
					})
					continue
				}
				v = old.Settings[k]
			}
			settings[k] = v
		}
		if dev.Settings != nil {
			dev.Settings = settings
		}
		out.Devices[i] = dev
	}
	return &out, faults
}

// sameOpenly says whether two devices agree in all but their secrets.
func sameOpenly(a, b *witness.Device) bool {
	if a.Driver != b.Driver {
		return false
	}
	for k, v := range b.Settings {
		if !Secret(k) && a.Settings[k] != v {
			return false
		}
	}
	for k, v := range a.Settings {
		if !Secret(k) && b.Settings[k] != v {
			return false
		}
	}
	return true
}
