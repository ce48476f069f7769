package witness

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Config is what operators declare: who is there and which policy holds. It is
// applied as a whole, versioned in the log, and the same on every witness.
type Config struct {
	Sites    []Site        `json:"sites,omitempty" yaml:"sites,omitempty"`
	Devices  []Device      `json:"devices,omitempty" yaml:"devices,omitempty"`
	Hosts    []Host        `json:"hosts,omitempty" yaml:"hosts,omitempty"`
	Clusters []ClusterSpec `json:"clusters,omitempty" yaml:"clusters,omitempty"`
	Zones    []ZoneSpec    `json:"zones,omitempty" yaml:"zones,omitempty"`

	Witnesses []WitnessSpec `json:"witnesses,omitempty" yaml:"witnesses,omitempty"`
}

// Site is a place that can fail as a whole.
type Site struct {
	Name         string `json:"name" yaml:"name"`
	Region       string `json:"region,omitempty" yaml:"region,omitempty"`
	Jurisdiction string `json:"jurisdiction,omitempty" yaml:"jurisdiction,omitempty"`
}

// Device is something that can switch a host's power: a BMC, an outlet.
type Device struct {
	Name     string            `json:"name" yaml:"name"`
	Driver   string            `json:"driver" yaml:"driver"`
	Feed     string            `json:"feed,omitempty" yaml:"feed,omitempty"` // that the device itself is powered by; for warnings
	Site     string            `json:"site,omitempty" yaml:"site,omitempty"` // through which it is reached; for warnings
	Settings map[string]string `json:"settings,omitempty" yaml:"settings,omitempty"`
}

// Host is a machine that members of clusters run on.
type Host struct {
	Name      string      `json:"name" yaml:"name"`
	Site      string      `json:"site,omitempty" yaml:"site,omitempty"`
	Addresses []string    `json:"addresses" yaml:"addresses"`
	Fence     []FenceStep `json:"fence,omitempty" yaml:"fence,omitempty"`
}

// FenceStep puts a device into a fencing level. Levels are tried in ascending
// order; all devices of a level must succeed for the level to succeed.
type FenceStep struct {
	Level  int    `json:"level" yaml:"level"`
	Device string `json:"device" yaml:"device"`
}

// The values of the policies of a cluster.
const (
	KindPatroni  = "patroni"
	KindCorosync = "corosync"

	FencingRequired = "required" // no release without proof; the default
	FencingNone     = "none"     // leases behave as in etcd

	// Of corosync clusters:
	FencingOff       = "off"        // the witnesses power nothing off
	FencingOnRequest = "on-request" // when the side that has the vote asks; the default
	FencingProactive = "proactive"  // whoever lost the vote is powered off

	FastOff     = "off"     // wait for the lease; the default
	FastObserve = "observe" // say what fast fencing would have done
	FastOn      = "on"      // fence as soon as two kinds of signal agree

	UnprovenHold         = "hold"          // keep the key until there is proof; the default
	UnprovenReleaseAfter = "release-after" // trust the self-fencing watchdog after ReleaseAfter
)

// ClusterSpec declares a cluster and its policy.
type ClusterSpec struct {
	Name         string       `json:"name" yaml:"name"`
	Kind         string       `json:"kind" yaml:"kind"`
	Namespace    string       `json:"namespace,omitempty" yaml:"namespace,omitempty"` // Patroni's; default "service"
	Scope        string       `json:"scope,omitempty" yaml:"scope,omitempty"`         // Patroni's; default Name
	Zone         string       `json:"zone,omitempty" yaml:"zone,omitempty"`
	Fencing      string       `json:"fencing,omitempty" yaml:"fencing,omitempty"`
	Fast         string       `json:"fast,omitempty" yaml:"fast,omitempty"`
	OnUnproven   string       `json:"on_unproven,omitempty" yaml:"on_unproven,omitempty"`
	ReleaseAfter Duration     `json:"release_after,omitempty" yaml:"release_after,omitempty"`
	NoHolder     string       `json:"no_holder,omitempty" yaml:"no_holder,omitempty"`         // DNS: nodata, servfail, last-good
	MaxStale     Duration     `json:"max_stale,omitempty" yaml:"max_stale,omitempty"`         // DNS: how old an answer may be
	Approval     string       `json:"approval,omitempty" yaml:"approval,omitempty"`           // by a second person: none, overrides, two-person
	ApprovalTime Duration     `json:"approval_time,omitempty" yaml:"approval_time,omitempty"` // how long an order waits for it; default 15m
	FenceLimit   int          `json:"fence_limit,omitempty" yaml:"fence_limit,omitempty"`     // power-offs of one host within FenceWindow
	FenceWindow  Duration     `json:"fence_window,omitempty" yaml:"fence_window,omitempty"`   // default 10m
	Unlock       []Grade      `json:"unlock,omitempty" yaml:"unlock,omitempty"`               // grades of evidence that end an epoch; see Unlocking
	Qnetd        string       `json:"qnetd,omitempty" yaml:"qnetd,omitempty"`                 // corosync's cluster_name; default Name
	WaitForAll   string       `json:"wait_for_all,omitempty" yaml:"wait_for_all,omitempty"`   // corosync's; "no" = declared to be off; default "yes"
	StrictLMS    string       `json:"strict_lms,omitempty" yaml:"strict_lms,omitempty"`       // "yes" = lms as stock corosync-qnetd has it
	Members      []MemberSpec `json:"members" yaml:"members"`
}

// MemberSpec says on which host a member of a cluster runs.
type MemberSpec struct {
	Name string `json:"name" yaml:"name"`
	Host string `json:"host" yaml:"host"`
	Port uint16 `json:"port,omitempty" yaml:"port,omitempty"` // of the service; default 5432
	Node uint32 `json:"node,omitempty" yaml:"node,omitempty"` // corosync's nodeid
}

// ZoneSpec declares a DNS zone that the witnesses serve.
type ZoneSpec struct {
	Name        string       `json:"name" yaml:"name"`
	Admin       string       `json:"admin,omitempty" yaml:"admin,omitempty"`
	TTL         uint32       `json:"ttl,omitempty" yaml:"ttl,omitempty"` // seconds, of managed names; default 5
	NegativeTTL uint32       `json:"negative_ttl,omitempty" yaml:"negative_ttl,omitempty"`
	NS          []NameServer `json:"ns" yaml:"ns"`
}

// NameServer is one NS record of a zone with its address.
type NameServer struct {
	Name    string `json:"name" yaml:"name"`
	Address string `json:"address" yaml:"address"`
}

// Prefix returns the key prefix that a Patroni cluster lives under, ending in
// a slash: Patroni's "/<namespace>/<scope>/".
func (c *ClusterSpec) Prefix() string {
	ns, scope := c.Namespace, c.Scope
	for len(ns) > 0 && ns[0] == '/' {
		ns = ns[1:]
	}
	for len(ns) > 0 && ns[len(ns)-1] == '/' {
		ns = ns[:len(ns)-1]
	}
	if ns == "" {
		ns = "service"
	}
	if scope == "" {
		scope = c.Name
	}
	return "/" + ns + "/" + scope + "/"
}

// Guarded says whether the cluster's leader key is kept until its holder is
// proven off.
func (c *ClusterSpec) Guarded() bool { return c.Kind != KindCorosync && c.Fencing != FencingNone }

// Member returns the declared member called name, or nil.
func (c *ClusterSpec) Member(name string) *MemberSpec {
	for i := range c.Members {
		if c.Members[i].Name == name {
			return &c.Members[i]
		}
	}
	return nil
}

// Host returns the declared host called name, or nil.
func (c *Config) Host(name string) *Host {
	for i := range c.Hosts {
		if c.Hosts[i].Name == name {
			return &c.Hosts[i]
		}
	}
	return nil
}

// Device returns the declared device called name, or nil.
func (c *Config) Device(name string) *Device {
	for i := range c.Devices {
		if c.Devices[i].Name == name {
			return &c.Devices[i]
		}
	}
	return nil
}

// Cluster returns the declared cluster called name, or nil.
func (c *Config) Cluster(name string) *ClusterSpec {
	for i := range c.Clusters {
		if c.Clusters[i].Name == name {
			return &c.Clusters[i]
		}
	}
	return nil
}

// Redacted returns a copy of the configuration with secret settings masked.
func (c Config) Redacted() Config {
	devices := make([]Device, len(c.Devices))
	for i, d := range c.Devices {
		settings := make(map[string]string, len(d.Settings))
		for k, v := range d.Settings {
			if SecretSetting(k) {
				v = "********"
			}
			settings[k] = v
		}
		d.Settings = settings
		devices[i] = d
	}
	c.Devices = devices
	return c
}

// secretSetting names the device settings that are never shown.
var secretSetting = map[string]bool{"password": true, "token": true, "secret": true, "community": true, "auth_password": true, "priv_password": true}

// secretWords mark a fence agent's own option (option.NAME) as a secret: there are too many agents to list theirs.
var secretWords = []string{"pass", "secret", "token", "key", "community", "priv", "credential"}

// SecretSetting says whether a device setting is never shown.
func SecretSetting(name string) bool {
	if option, ok := strings.CutPrefix(name, "option."); ok {
		return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(strings.ToLower(option), word) })
	}
	return secretSetting[name]
}

// Duration is a time span that is written as text, such as "60s".
type Duration time.Duration

// MarshalText writes the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads "60s", "2m" and the like.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration: write a number with a unit, such as 60s or 2m", text)
	}
	*d = Duration(v)
	return nil
}
