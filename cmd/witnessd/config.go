package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"quorate/dnsfailover"
	"quorate/witness/etcdapi"
)

// Config is what one witness needs to know of itself. Everything that holds
// for the whole cluster is declared once, through the API, and is in the log.
type Config struct {
	Node    string            `yaml:"node"`    // name of this witness for its whole life
	Cluster string            `yaml:"cluster"` // name of the witness cluster; default "quorate"
	Site    string            `yaml:"site"`
	Data    string            `yaml:"data"` // directory of the log; created if missing
	Join    bool              `yaml:"join"` // wait to be added by `witnessctl member add`
	Peers   map[string]string `yaml:"peers"`
	Peer    PeerConfig        `yaml:"peer"`
	Etcd    EtcdConfig        `yaml:"etcd"`
	DNS     DNSConfig         `yaml:"dns"`
	HTTP    ListenConfig      `yaml:"http"`
	Probe   ProbeConfig       `yaml:"probe"`
	Fencing FencingConfig     `yaml:"fencing"`
	Timing  TimingConfig      `yaml:"timing"`
	Log     LogConfig         `yaml:"log"`
}

// PeerConfig is the port on which witnesses talk to each other.
type PeerConfig struct {
	Listen    string `yaml:"listen"`
	Advertise string `yaml:"advertise"` // default: this node's entry in peers
	Gossip    string `yaml:"gossip"`    // optional memberlist address; a hint only
}

// ListenConfig is a port for clients.
type ListenConfig struct {
	Listen    string `yaml:"listen"`    // host:port; empty turns the service off
	Advertise string `yaml:"advertise"` // URL that clients are told; default http://listen
}

// DNSConfig is the port of the DNS server.
type DNSConfig struct {
	ListenConfig `yaml:",inline"`
	// RateLimit is how many replies per second one network (/24, /56) gets about one
	// name over UDP; clients with a DNS cookie and TCP are exempt. Default 200, as
	// NSD's; 0 means no limit.
	RateLimit *uint32 `yaml:"rate_limit"`
	// Transfer names the secondaries that may take whole zones.
	Transfer DNSTransferConfig `yaml:"transfer"`
	// Keys sign zones (DNSSEC). All witnesses need the same ones.
	Keys []DNSKeyConfig `yaml:"keys"`
	// TLS is DNS over TLS, RFC 7858.
	TLS DNSTLSConfig `yaml:"tls"`
}

// DNSKeyConfig is one key of a zone.
type DNSKeyConfig struct {
	Zone      string `yaml:"zone"`
	File      string `yaml:"file"`      // private key file, as `witnessctl dns key new` makes it
	SEP       bool   `yaml:"sep"`       // the parent's DS record names this key
	Published bool   `yaml:"published"` // in the DNSKEY set only: it signs nothing
}

// signingKeys reads the keys of all zones.
func (c *DNSConfig) signingKeys() (map[string][]dnsfailover.SigningKey, error) {
	out := map[string][]dnsfailover.SigningKey{}
	var faults []error
	for i, k := range c.Keys {
		text, err := os.ReadFile(k.File)
		if err != nil {
			faults = append(faults, fmt.Errorf("dns.keys[%d]: %w", i, err))
			continue
		}
		key := dnsfailover.SigningKey{Private: string(text), SEP: k.SEP, Published: k.Published}
		if _, err := key.DS(k.Zone); err != nil {
			faults = append(faults, fmt.Errorf("dns.keys[%d]: %s: %w", i, k.File, err))
		}
		zone := strings.ToLower(strings.TrimSuffix(k.Zone, ".")) + "."
		out[zone] = append(out[zone], key)
	}
	return out, errors.Join(faults...)
}

// DNSTLSConfig is a port for DNS over TLS. The files may be renewed in place.
type DNSTLSConfig struct {
	Listen string `yaml:"listen"`
	Cert   string `yaml:"cert"`
	Key    string `yaml:"key"`
}

// load returns nil if there is no such port.
func (c *DNSTLSConfig) load() (*tls.Config, error) {
	if *c == (DNSTLSConfig{}) {
		return nil, nil
	}
	if c.Listen == "" || c.Cert == "" || c.Key == "" {
		return nil, errors.New("dns.tls: listen, cert and key belong together")
	}
	pair := &certificate{certFile: c.Cert, keyFile: c.Key}
	if _, err := pair.get(nil); err != nil {
		return nil, fmt.Errorf("dns.tls: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get, NextProtos: []string{"dot"}}, nil
}

// DNSTransferConfig is dnsfailover.Transfer in a file.
type DNSTransferConfig struct {
	Keys []struct {
		Name      string `yaml:"name"`
		Algorithm string `yaml:"algorithm"`
		Secret    string `yaml:"secret"`
	} `yaml:"keys"`
	Allow  []netip.Prefix `yaml:"allow"`
	Notify []struct {
		Address netip.AddrPort `yaml:"address"`
		Key     string         `yaml:"key"`
	} `yaml:"notify"`
}

func (c *DNSTransferConfig) transfer() dnsfailover.Transfer {
	t := dnsfailover.Transfer{Allow: c.Allow}
	for _, k := range c.Keys {
		t.Keys = append(t.Keys, dnsfailover.Key{Name: k.Name, Algorithm: k.Algorithm, Secret: k.Secret})
	}
	for _, n := range c.Notify {
		t.Notify = append(t.Notify, dnsfailover.Secondary{Addr: n.Address, Key: n.Key})
	}
	return t
}

// defaultRateLimit is that of NSD, nsd.conf(5): rrl-ratelimit.
const defaultRateLimit = 200

func (d *DNSConfig) rateLimit() uint32 {
	if d.RateLimit == nil {
		return defaultRateLimit
	}
	return *d.RateLimit
}

// EtcdConfig is the port of the etcd API.
type EtcdConfig struct {
	ListenConfig `yaml:",inline"`
	TLS          *TLSConfig `yaml:"tls"`  // nil = plain text
	Auth         string     `yaml:"auth"` // access file; empty = everybody may do everything

	tls    *tls.Config
	access *etcdapi.Access
}

// load reads the files that the section names.
func (e *EtcdConfig) load() error {
	var faults []error
	if e.TLS != nil {
		var err error
		e.tls, err = e.TLS.load()
		faults = append(faults, err)
	}
	if e.Auth != "" {
		var err error
		e.access, err = loadAccess(e.Auth)
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// ProbeConfig is how hosts are looked at.
type ProbeConfig struct {
	Interval time.Duration `yaml:"interval"` // default 500ms
	Timeout  time.Duration `yaml:"timeout"`  // default 1s
	Fall     int           `yaml:"fall"`     // default 3
}

// FencingConfig is how this witness looks after the fence devices.
type FencingConfig struct {
	Check time.Duration `yaml:"check"` // how often the devices of a host are checked; default 5m
}

// TimingConfig holds the Raft timeouts.
type TimingConfig struct {
	Heartbeat time.Duration `yaml:"heartbeat"` // default 1s; 300ms on a LAN
	Election  time.Duration `yaml:"election"`  // default heartbeat
}

// LogConfig says what is logged to standard error.
type LogConfig struct {
	Level string `yaml:"level"` // debug, info, warn, error; default info
	JSON  bool   `yaml:"json"`
}

// LoadConfig reads a node configuration. Every fault is reported at once.
func LoadConfig(path string) (*Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the node configuration: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	cfg := &Config{}
	if err := dec.Decode(cfg); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, name := range cfg.paths() {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(filepath.Dir(path), *name)
		}
	}
	cfg.setDefaults()
	if err := errors.Join(cfg.Validate(), cfg.Etcd.load()); err != nil {
		return nil, fmt.Errorf("%s:\n%w", path, err)
	}
	return cfg, nil
}

// paths are the settings that name files, relative to the configuration.
func (c *Config) paths() []*string {
	out := []*string{&c.Data, &c.Etcd.Auth, &c.DNS.TLS.Cert, &c.DNS.TLS.Key}
	for i := range c.DNS.Keys {
		out = append(out, &c.DNS.Keys[i].File)
	}
	if t := c.Etcd.TLS; t != nil {
		out = append(out, &t.Cert, &t.Key, &t.ClientCA)
	}
	return out
}

func (c *Config) setDefaults() {
	if c.Cluster == "" {
		c.Cluster = "quorate"
	}
	if c.Timing.Heartbeat == 0 {
		c.Timing.Heartbeat = time.Second
	}
	if c.Timing.Election == 0 {
		c.Timing.Election = c.Timing.Heartbeat
	}
	if c.Etcd.Advertise == "" && c.Etcd.Listen != "" {
		scheme := "http://"
		if c.Etcd.TLS != nil {
			scheme = "https://"
		}
		c.Etcd.Advertise = scheme + c.Etcd.Listen
	}
	if c.HTTP.Advertise == "" && c.HTTP.Listen != "" {
		c.HTTP.Advertise = "http://" + c.HTTP.Listen
	}
	if c.Peer.Advertise == "" {
		c.Peer.Advertise = c.Peers[c.Node]
	}
	if c.Log.Level == "" {
		c.Log.Level = "info"
	}
}

// Validate returns every fault of the configuration, joined, or nil.
func (c *Config) Validate() error {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf("  "+format, args...)) }
	if c.Node == "" {
		add("node: give this witness a name; it keeps it for its whole life")
	}
	if c.Data == "" {
		add("data: say where the log is kept; it must survive a restart")
	}
	if c.Peer.Listen == "" {
		add("peer.listen: say on which address the other witnesses reach this one")
	}
	if !c.Join && c.Peers[c.Node] == "" {
		add("peers: list all first witnesses with their peer addresses, this one (%q) too, the same on each; or set join: true", c.Node)
	}
	for name, addr := range map[string]string{"peer.listen": c.Peer.Listen, "etcd.listen": c.Etcd.Listen, "dns.listen": c.DNS.Listen, "dns.tls.listen": c.DNS.TLS.Listen, "http.listen": c.HTTP.Listen} {
		if _, _, err := net.SplitHostPort(addr); addr != "" && err != nil {
			add("%s: %q is not host:port", name, addr)
		}
	}
	if c.HTTP.Listen == "" {
		add("http.listen: without it nobody can configure or ask this witness")
	}
	for name, url := range map[string]string{"etcd.advertise": c.Etcd.Advertise, "http.advertise": c.HTTP.Advertise} {
		if url != "" && !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
			add("%s: %q is not a URL", name, url)
		}
	}
	if c.Etcd.TLS != nil && strings.HasPrefix(c.Etcd.Advertise, "http://") {
		add("etcd.advertise: %q is plain text but the port speaks TLS, and Patroni follows what it is told", c.Etcd.Advertise)
	}
	if _, err := c.DNS.signingKeys(); err != nil {
		add("%w", err)
	}
	if _, err := c.DNS.TLS.load(); err != nil {
		add("%w", err)
	}
	transfer := c.DNS.Transfer.transfer()
	if err := transfer.Validate(); err != nil {
		add("dns.transfer: %w", err)
	}
	return errors.Join(faults...)
}
