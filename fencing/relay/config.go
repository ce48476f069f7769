package relay

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"quorate/fencing"
)

// Config describes the outlets of one machine at one device.
type Config struct {
	Name     string // in evidence; default: the URL's host and the outputs
	Model    string // shelly-gen1, shelly-gen2, tasmota, netio or gude
	URL      string // https://relay.example[:port]; http only together with Insecure
	Username string // default admin
	Password string // none: the device asks for none
	Outputs  []int  // all must be off
	Identity string // MAC address or serial number that the device must have; checked before anything is sent

	CAFile     string // PEM; default: the system's authorities
	CertSHA256 string // fingerprint of the certificate
	Insecure   bool   // http, or any certificate: whoever is on the path can fake "off"

	DialTimeout time.Duration // default 2 s
	CallTimeout time.Duration // one request and its whole answer; default 5 s
}

// Open makes a device from textual settings. It does no I/O but reading ca_file. Its error reports every fault at once;
// README.md lists the settings.
func Open(settings map[string]string) (fencing.Device, error) {
	var c Config
	var faults []error
	texts := map[string]*string{
		"name": &c.Name, "model": &c.Model, "url": &c.URL, "username": &c.Username, "password": &c.Password, "identity": &c.Identity,
		"ca_file": &c.CAFile, "cert_sha256": &c.CertSHA256,
	}
	durations := map[string]*time.Duration{"dial_timeout": &c.DialTimeout, "call_timeout": &c.CallTimeout}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		value := settings[key]
		var err error
		if text, ok := texts[key]; ok {
			*text = value
		} else if d, ok := durations[key]; ok {
			if *d, err = time.ParseDuration(value); err == nil && *d <= 0 {
				err = errors.New("must be positive")
			}
		} else {
			switch key {
			case "insecure":
				c.Insecure, err = strconv.ParseBool(value)
			case "output":
				c.Outputs, err = parseOutputs(value)
			default:
				err = errors.New("no such setting")
			}
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("relay: %s: %w", key, err))
		}
	}
	device, err := New(c)
	if err = errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	return device, nil
}

func parseOutputs(value string) ([]int, error) {
	var outputs []int
	for _, text := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", text)
		}
		outputs = append(outputs, n)
	}
	return outputs, nil
}

// New makes a device. It does no I/O but reading CAFile. Its error reports every fault at once.
func New(c Config) (*Device, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("relay: "+format, args...)) }

	p, ok := protocols[c.Model]
	if !ok {
		fault("model: %q is none of %s", c.Model, strings.Join(slices.Sorted(maps.Keys(protocols)), ", "))
	}
	origin, err := url.Parse(c.URL)
	switch {
	case err != nil || origin.Host == "" || (origin.Scheme != "https" && origin.Scheme != "http"):
		fault("url: not of the form https://host[:port]") // it may hold a password, so it is not repeated
		origin = &url.URL{}
	case origin.Scheme == "http" && !c.Insecure:
		fault("url: over http whoever is on the path can fake \"off\" and switch the outlet: use https, or set insecure")
	case origin.User != nil || strings.Trim(origin.Path, "/") != "" || origin.RawQuery != "" || origin.Fragment != "":
		fault("url: give only http[s]://host[:port]; the login has settings of its own")
	}
	if len(c.Outputs) == 0 || len(c.Outputs) > fencing.MaxParts {
		fault("output: name 1 to %d outputs, separated by commas", fencing.MaxParts)
	}
	for i, n := range c.Outputs {
		if ok && (n < p.first || n > p.last) {
			fault("output: %s has outputs %d to %d, but not %d", c.Model, p.first, p.last, n)
		}
		if slices.Contains(c.Outputs[:i], n) {
			fault("output: %d is named twice", n)
		}
	}
	if c.Identity != "" && ok && p.identity == nil {
		fault("identity: a %s cannot be asked who it is", c.Model)
	}
	if c.Username != "" && c.Password == "" {
		fault("password: a user name alone is no login")
	}
	tls, err := trust(c)
	if err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if c.Name == "" {
		c.Name = fmt.Sprintf("%s %s", origin.Host, strings.Trim(strings.ReplaceAll(fmt.Sprint(c.Outputs), " ", ","), "[]"))
	}
	c.Username = cmp.Or(c.Username, "admin")
	c.DialTimeout, c.CallTimeout = cmp.Or(c.DialTimeout, 2*time.Second), cmp.Or(c.CallTimeout, 5*time.Second)
	return &Device{config: c, protocol: p, origin: origin, wire: newWire(c, p, tls)}, nil
}
