package pdu

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"quorate/fencing"
)

// Config describes the outlets of one host on one PDU.
type Config struct {
	Name    string // in evidence; default: address and outlets
	Address string // host[:port]; default port 161
	Model   string // a row of the table, or "custom"
	Outlets string // comma-separated, as the model numbers them
	SysName string // must match the PDU's sysName exactly, or nothing is sent; empty: not checked

	Version      string // "3" (default), "2c" or "1"
	Community    string // of versions 1 and 2c
	Username     string // the rest is for version 3, always with authentication and privacy
	AuthProtocol string // default SHA
	AuthPassword string
	PrivProtocol string // default AES
	PrivPassword string
	Context      string

	// Custom describes a PDU that is not in the table; only with Model custom.
	Custom Custom

	Timeout     time.Duration // until a request is sent again, and until a Set counts as unanswered; default 1 s
	CallTimeout time.Duration // one reading or one command with all of its requests; default 5 s
}

// Custom is the operator's own row. OIDs are columns: the outlet's index is appended. Values are what is written and what
// is read as off and on; every other value read is unknown.
type Custom struct {
	ObjectID                               string // sysObjectID
	OffOID, OnOID, StatusOID               string // OnOID: default OffOID
	OffValue, OnValue, StatusOff, StatusOn *int
}

const customModel = "custom"

var (
	versions  = map[string]gosnmp.SnmpVersion{"1": gosnmp.Version1, "2c": gosnmp.Version2c, "3": gosnmp.Version3}
	authKinds = map[string]gosnmp.SnmpV3AuthProtocol{
		"SHA": gosnmp.SHA, "SHA-224": gosnmp.SHA224, "SHA-256": gosnmp.SHA256, "SHA-384": gosnmp.SHA384, "SHA-512": gosnmp.SHA512,
	}
	// AES-192 and AES-256 need longer keys than SHA gives, and two ways of extending them are in use: Blumenthal's
	// (draft-blumenthal-aes-usm-04; net-snmp's) and, with a C, Reeder's (draft-reeder-snmpv3-usm-3desede; Cisco's).
	privKinds = map[string]gosnmp.SnmpV3PrivProtocol{
		"AES": gosnmp.AES, "AES-192": gosnmp.AES192, "AES-256": gosnmp.AES256, "AES-192-C": gosnmp.AES192C, "AES-256-C": gosnmp.AES256C,
	}
)

// Open makes a device from textual settings, as they stand in configuration. It does no I/O. Its error reports every fault
// at once; README.md lists the settings.
func Open(settings map[string]string) (fencing.Device, error) {
	var c Config
	var faults []error
	texts := map[string]*string{
		"name": &c.Name, "address": &c.Address, "model": &c.Model, "outlets": &c.Outlets, "sysname": &c.SysName,
		"version": &c.Version, "community": &c.Community, "username": &c.Username, "context": &c.Context,
		"auth_protocol": &c.AuthProtocol, "auth_password": &c.AuthPassword,
		"priv_protocol": &c.PrivProtocol, "priv_password": &c.PrivPassword,
		"object_id": &c.Custom.ObjectID, "off_oid": &c.Custom.OffOID, "on_oid": &c.Custom.OnOID, "status_oid": &c.Custom.StatusOID,
	}
	durations := map[string]*time.Duration{"timeout": &c.Timeout, "call_timeout": &c.CallTimeout}
	numbers := map[string]**int{
		"off_value": &c.Custom.OffValue, "on_value": &c.Custom.OnValue,
		"status_off": &c.Custom.StatusOff, "status_on": &c.Custom.StatusOn,
	}
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
		} else if n, ok := numbers[key]; ok {
			var v int64
			v, err = strconv.ParseInt(value, 10, 32)
			*n = new(int)
			**n = int(v)
			if err != nil {
				err = fmt.Errorf("%q is not a whole number", value)
			}
		} else {
			err = errors.New("no such setting")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("pdu: %s: %w", key, err))
		}
	}
	device, err := New(c)
	if err = errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	return device, nil
}

// New makes a device. It does no I/O. Its error reports every fault at once.
func New(c Config) (*Device, error) {
	faults := &faultList{}
	host, port := faults.address(c.Address)
	row := faults.row(&c)
	outlets := faults.outlets(row, c.Outlets)
	faults.access(&c)
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = 5 * time.Second
	}
	if err := errors.Join(faults.list...); err != nil {
		return nil, err
	}
	if c.Name == "" {
		c.Name = fmt.Sprintf("%s outlet %s", c.Address, join(outlets))
	}
	return &Device{config: c, host: host, port: port, model: row, outlets: outlets}, nil
}

func join(outlets []outlet) string {
	var list []string
	for _, o := range outlets {
		list = append(list, o.name)
	}
	return strings.Join(list, ", ")
}

type faultList struct{ list []error }

func (f *faultList) add(format string, args ...any) {
	f.list = append(f.list, fmt.Errorf("pdu: "+format, args...))
}

func (f *faultList) address(text string) (host string, port uint16) {
	host, service, err := net.SplitHostPort(text)
	if err != nil { // no port
		host, service = strings.Trim(text, "[]"), "161"
	}
	number, err := strconv.ParseUint(service, 10, 16)
	if err != nil || number == 0 || host == "" || strings.ContainsAny(host, "/ @") {
		f.add("address: %q is not of the form host[:port], without a scheme", text)
	}
	return host, uint16(number)
}

// row returns the model's row; never nil, so that the other settings can be checked too.
func (f *faultList) row(c *Config) *model {
	if c.Model == customModel {
		return f.custom(&c.Custom)
	}
	if c.Custom != (Custom{}) {
		f.add("object_id, off_oid, on_oid, status_oid and their values: only with model custom")
	}
	if m := find(c.Model); m != nil {
		return m
	}
	var known []string
	for i := range models {
		known = append(known, models[i].name)
	}
	f.add("model: %q is not one of %s, custom", c.Model, strings.Join(known, ", "))
	return nil
}

func (f *faultList) outlets(m *model, text string) []outlet {
	var list []outlet
	if strings.TrimSpace(text) == "" {
		f.add("outlets: list every outlet of this PDU that feeds the host; one that is missing keeps it running")
		return nil
	}
	if m == nil {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		o, err := m.parseOutlet(part)
		switch {
		case err != nil:
			f.add("outlets: %v", err)
		case slices.ContainsFunc(list, func(other outlet) bool { return slices.Equal(o.index, other.index) }):
			f.add("outlets: %s is listed twice", o.name)
		default:
			list = append(list, o)
		}
	}
	if len(list) > fencing.MaxParts {
		f.add("outlets: %d are more than the limit of %d", len(list), fencing.MaxParts)
	}
	return list
}

// access checks how the PDU is logged in to.
func (f *faultList) access(c *Config) {
	if c.Version == "" {
		c.Version = "3"
	}
	if _, ok := versions[c.Version]; !ok {
		f.add("version: %q is not one of 3, 2c, 1", c.Version)
		return
	}
	if c.Version != "3" {
		if c.Community == "" {
			f.add("community: version %s needs the write community", c.Version)
		}
		if c.Username+c.AuthProtocol+c.AuthPassword+c.PrivProtocol+c.PrivPassword+c.Context != "" {
			f.add("username, auth_*, priv_* and context belong to version 3, but version is %s", c.Version)
		}
		return
	}
	if c.Community != "" {
		f.add("community belongs to versions 1 and 2c, but version is 3")
	}
	if c.Username == "" {
		f.add("username: version 3 needs one")
	}
	if c.AuthProtocol == "" {
		c.AuthProtocol = "SHA"
	}
	if c.PrivProtocol == "" {
		c.PrivProtocol = "AES"
	}
	if _, ok := authKinds[c.AuthProtocol]; !ok {
		f.add("auth_protocol: %q is not one of %s", c.AuthProtocol, strings.Join(slices.Sorted(maps.Keys(authKinds)), ", "))
	}
	if _, ok := privKinds[c.PrivProtocol]; !ok {
		f.add("priv_protocol: %q is not one of %s", c.PrivProtocol, strings.Join(slices.Sorted(maps.Keys(privKinds)), ", "))
	}
	for key, value := range map[string]string{"auth_password": c.AuthPassword, "priv_password": c.PrivPassword} {
		if len(value) < 8 { // RFC 3414, section 11.2
			f.add("%s: needs at least 8 characters", key)
		}
	}
}
