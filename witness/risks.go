package witness

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// WitnessSpec says where a witness stands and what powers it, as far as that
// matters for fencing.
type WitnessSpec struct {
	Name      string   `json:"name" yaml:"name"`
	Site      string   `json:"site,omitempty" yaml:"site,omitempty"`
	PoweredBy []string `json:"powered_by,omitempty" yaml:"powered_by,omitempty"` // devices that switch its own power
}

// Risks returns, by host, what a single failure would take away from its
// fencing, as far as it can be seen from what is declared: feeds and sites of
// devices, and what powers the witnesses. They are warnings: none of them keeps
// a configuration from being applied.
func (c *Config) Risks() map[string][]string {
	out := map[string][]string{}
	devices := make(map[string]*Device, len(c.Devices))
	for i := range c.Devices {
		devices[c.Devices[i].Name] = &c.Devices[i]
	}
	powers := map[string][]string{} // device → witnesses
	for _, w := range c.Witnesses {
		for _, d := range w.PoweredBy {
			powers[d] = append(powers[d], w.Name)
		}
	}
	users := c.users()
	for i := range c.Hosts {
		h := &c.Hosts[i]
		texts := h.risks(devices, powers)
		for _, f := range h.Fence {
			if other, d := users[f.Device].but(h.Name), devices[f.Device]; other != "" && d != nil && !passive[d.Driver] {
				texts = append(texts, fmt.Sprintf("%s is a fence device of %s too: what it says about one machine would be taken for a proof about the other; give each host a device of its own", f.Device, other))
			}
		}
		if len(texts) > 0 {
			out[h.Name] = texts
		}
	}
	return out
}

// passive are the drivers of devices that prove nothing, and may be shared.
var passive = map[string]bool{"manual": true, "watchdog": true}

// pair is the first two hosts of a device.
type pair [2]string

func (p pair) but(host string) string {
	if p[0] != host {
		return p[0]
	}
	return p[1]
}

// users returns the hosts of each fence device.
func (c *Config) users() map[string]pair {
	out := map[string]pair{}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		for _, f := range h.Fence {
			switch p := out[f.Device]; {
			case p[0] == "":
				out[f.Device] = pair{h.Name}
			case p[0] != h.Name && p[1] == "":
				out[f.Device] = pair{p[0], h.Name}
			}
		}
	}
	return out
}

func (h *Host) risks(devices map[string]*Device, powers map[string][]string) []string {
	var out, feeds, sites []string
	all := len(h.Fence) > 0
	for _, f := range h.Fence {
		d := devices[f.Device]
		if d == nil {
			return nil
		}
		for _, w := range powers[d.Name] {
			out = append(out, fmt.Sprintf("device %s, which powers %s off, powers witness %s too: a fence would take a vote away; feed the witness from elsewhere", d.Name, h.Name, w))
		}
		all = all && d.Site != ""
		if d.Feed != "" && !slices.Contains(feeds, d.Feed) {
			feeds = append(feeds, d.Feed)
		}
		if d.Site != "" && !slices.Contains(sites, d.Site) {
			sites = append(sites, d.Site)
		}
	}
	fed := h.fedDevices(devices)
	if len(fed) > 1 && len(feeds) == 1 {
		out = append(out, fmt.Sprintf("%s hang on one feed, %s: when it fails, none of them can prove %s off; put one of them on another feed", strings.Join(fed, " and "), feeds[0], h.Name))
	}
	if all && len(sites) == 1 {
		out = append(out, fmt.Sprintf("every fence device of %s is reached through site %s: when that is cut off, nobody can prove it off; add a way that does not go through it, or self-fencing", h.Name, sites[0]))
	}
	if len(h.Fence) == 1 {
		out = append(out, fmt.Sprintf("%s is the only fence device of %s: when it does not answer, only a person can prove it off; add a second level", h.Fence[0].Device, h.Name))
	}
	return out
}

// fedDevices returns the devices of a host if the feed of each is declared.
func (h *Host) fedDevices(devices map[string]*Device) []string {
	var out []string
	for _, f := range h.Fence {
		if devices[f.Device].Feed == "" {
			return nil
		}
		out = append(out, f.Device)
	}
	return out
}

// Warnings returns the risks as places in the document.
func (c *Config) Warnings() []Fault {
	risks := c.Risks()
	out := c.openDoors()
	for i := range c.Hosts {
		for _, text := range risks[c.Hosts[i].Name] {
			out = append(out, Fault{Path: fmt.Sprintf("hosts[%d].fence", i), Msg: text})
		}
	}
	return out
}

// openDoors names the devices that somebody on the path could switch.
func (c *Config) openDoors() []Fault {
	var out []Fault
	for i, d := range c.Devices {
		p := fmt.Sprintf("devices[%d].settings", i)
		if d.Settings["community"] != "" {
			out = append(out, Fault{Path: p + ".community", Msg: fmt.Sprintf("device %s is reached with an SNMP community, which travels in clear text: whoever is on the path can switch it, and fake what it says; use version 3", d.Name)})
		}
		if insecure, err := strconv.ParseBool(d.Settings["insecure"]); err == nil && insecure {
			out = append(out, Fault{Path: p + ".insecure", Msg: fmt.Sprintf("device %s is trusted whatever certificate it shows: whoever is on the path can read its password, and fake what it says; pin its certificate", d.Name)})
		}
	}
	return out
}

func (v *validator) witnesses() {
	seen := map[string]bool{}
	for i, w := range v.cfg.Witnesses {
		p := fmt.Sprintf("witnesses[%d]", i)
		v.name(seen, p+".name", w.Name, "witness")
		if w.Site != "" && !v.site[w.Site] {
			v.add(p+".site", "witness %q is at site %q, which is not declared", w.Name, w.Site)
		}
		for j, d := range w.PoweredBy {
			if !v.device[d] {
				v.add(fmt.Sprintf("%s.powered_by[%d]", p, j), "witness %q is powered by device %q, which is not declared", w.Name, d)
			}
		}
	}
}
