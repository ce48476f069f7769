package ipmi

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"

	"quorate/fencing"
)

// Limits of IPMI 2.0: RAKP message 1 has 16 bytes for the name (13.20), a password has up to 20 (22.30).
const (
	maxUser     = 16
	maxPassword = 20
)

// Config describes the BMC of one machine.
type Config struct {
	Name     string // in evidence; default: Address
	Address  string // host[:port]; the port is 623 by default
	Username string
	Password string
	// GUID of the machine (Get System GUID). Byte orders differ between vendors: it matches in any of the three in use.
	GUID string
	// CipherSuites to try, in order: 17 (SHA-256) and 3 (SHA-1) authenticate and encrypt every message. Others are refused.
	CipherSuites []int
	// Privilege to ask for: operator (default) is what Chassis Control needs; administrator for BMCs that want more.
	Privilege string

	CallTimeout time.Duration // one request with its repetition; default 5 s
	Resend      time.Duration // a request without an answer is repeated once after this; default 1.5 s
}

// Open makes a device from textual settings. It does no I/O. Its error reports every fault at once; README.md lists the
// settings.
func Open(settings map[string]string) (fencing.Device, error) {
	var c Config
	var faults []error
	texts := map[string]*string{
		"name": &c.Name, "address": &c.Address, "username": &c.Username, "password": &c.Password, "guid": &c.GUID,
		"privilege": &c.Privilege,
	}
	durations := map[string]*time.Duration{"call_timeout": &c.CallTimeout, "resend": &c.Resend}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		value := settings[key]
		var err error
		if text, ok := texts[key]; ok {
			*text = value
		} else if d, ok := durations[key]; ok {
			*d, err = time.ParseDuration(value)
			if err == nil && *d <= 0 {
				err = errors.New("must be positive")
			}
		} else if key == "cipher_suites" {
			c.CipherSuites, err = parseSuites(value)
		} else {
			err = errors.New("no such setting")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("ipmi: %s: %w", key, err))
		}
	}
	device, err := New(c)
	if err = errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	return device, nil
}

func parseSuites(value string) ([]int, error) {
	var suites []int
	for _, field := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
		suite, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%q is no number: write 17,3", field)
		}
		suites = append(suites, suite)
	}
	return suites, nil
}

// New makes a device. It does no I/O. Its error reports every fault at once.
func New(c Config) (*Device, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("ipmi: "+format, args...)) }

	address, err := withPort(c.Address)
	if err != nil {
		fault("address: %w", err)
	}
	if c.Username == "" || c.Password == "" {
		fault("username and password are both needed")
	}
	if len(c.Username) > maxUser {
		fault("username: IPMI allows %d bytes", maxUser)
	}
	if len(c.Password) > maxPassword {
		fault("password: IPMI allows %d bytes; a longer one would be cut off silently", maxPassword)
	}
	guid, err := parseGUID(c.GUID)
	if err != nil {
		fault("guid: %w", err)
	}
	if len(c.CipherSuites) == 0 {
		c.CipherSuites = []int{17, 3}
	}
	for _, suite := range c.CipherSuites {
		if _, ok := suites[suite]; !ok {
			fault("cipher_suites: %d is refused, because without authentication or encryption anybody can fake \"off\": only 17 and 3", suite)
		}
	}
	privilege, ok := map[string]types.PrivilegeLevel{
		"": types.PrivilegeLevelOperator, "operator": types.PrivilegeLevelOperator, "administrator": types.PrivilegeLevelAdministrator,
	}[c.Privilege]
	if !ok {
		fault("privilege: %q is neither operator nor administrator", c.Privilege)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	c.Name = cmp.Or(c.Name, c.Address)
	c.CallTimeout = cmp.Or(c.CallTimeout, 5*time.Second)
	c.Resend = cmp.Or(c.Resend, 1500*time.Millisecond)
	return &Device{config: c, address: address, guid: guid, privilege: privilege}, nil
}

func withPort(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), "623"
	}
	if n, err := strconv.Atoi(port); host == "" || err != nil || n < 1 || n > 65535 || strings.ContainsAny(host, "/@ ") {
		return "", fmt.Errorf("%q is not of the form host[:port]", address)
	}
	return net.JoinHostPort(host, port), nil
}

// parseGUID reads 32 hexadecimal digits with or without dashes; nil if there are none.
func parseGUID(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	guid, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(guid) != 16 {
		return nil, errors.New("not 32 hexadecimal digits, as ipmitool mc guid prints them")
	}
	return guid, nil
}
