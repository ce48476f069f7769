package redfish

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"quorate/fencing"
)

// Auth is the way to log in.
type Auth string

// AuthBasic needs no session, so none can be left behind. AuthSession logs in and out, and falls back to Basic where
// the BMC has no session to give (iDRAC allows few, and answers 503 when they are used up).
const (
	AuthBasic   Auth = "basic"
	AuthSession Auth = "session"
)

// Config describes one system behind one BMC.
type Config struct {
	Name     string // in evidence; default: the URL's host and the system
	URL      string // https://bmc.example[:port]; http only together with Insecure
	Username string
	Password string
	Auth     Auth // default AuthBasic

	// Which system. A BMC with several systems needs one of these; each one given must match exactly, or nothing is
	// sent. System is the path of the resource, such as /redfish/v1/Systems/1.
	System, UUID, Serial, HostName string

	// Chassis is the path of the machine's chassis, whose Chassis.Reset is used where the system itself offers no ForceOff.
	// It must hold this system and no other.
	Chassis string

	// Trust, at most one; without any the system's certificate authorities decide.
	CAFile     string // PEM
	CertSHA256 string // fingerprint of the certificate: hex (colons allowed) or base64
	SPKISHA256 string // fingerprint of its public key, which survives a renewal
	Insecure   bool   // trust any certificate: whoever is on the path can read the password and fake "Off"

	DialTimeout time.Duration // default 2 s
	CallTimeout time.Duration // one request and its whole answer; default 5 s
}

// Open makes a device from textual settings, as they stand in configuration. It does no I/O but reading ca_file. Its
// error reports every fault at once; README.md lists the settings.
func Open(settings map[string]string) (fencing.Device, error) {
	var c Config
	faults := c.parse(settings, map[string]*string{
		"system": &c.System, "chassis": &c.Chassis, "uuid": &c.UUID, "serial": &c.Serial, "hostname": &c.HostName,
	})
	device, err := New(c)
	if err = errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	return device, nil
}

// parse reads the settings that every Redfish device has, and those named by more.
func (c *Config) parse(settings map[string]string, more map[string]*string) []error {
	var faults []error
	texts := map[string]*string{
		"name": &c.Name, "url": &c.URL, "username": &c.Username, "password": &c.Password, "auth": (*string)(&c.Auth),
		"ca_file": &c.CAFile, "cert_sha256": &c.CertSHA256, "spki_sha256": &c.SPKISHA256,
	}
	maps.Copy(texts, more)
	durations := map[string]*time.Duration{"dial_timeout": &c.DialTimeout, "call_timeout": &c.CallTimeout}
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
		} else if key == "insecure" {
			c.Insecure, err = strconv.ParseBool(value)
		} else {
			err = errors.New("no such setting")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("redfish: %s: %w", key, err))
		}
	}
	return faults
}

// New makes a device. It does no I/O but reading CAFile. Its error reports every fault at once.
func New(c Config) (*Device, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("redfish: "+format, args...)) }

	origin, err := url.Parse(c.URL)
	switch {
	case err != nil || origin.Host == "" || (origin.Scheme != "https" && origin.Scheme != "http"):
		fault("url: %q is not of the form https://host[:port]", redact(c.URL))
		origin = &url.URL{}
	case origin.Scheme == "http" && !c.Insecure:
		fault("url: http sends the password in clear text: use https, or set insecure")
	case origin.User != nil || strings.Trim(origin.Path, "/") != "" || origin.RawQuery != "" || origin.Fragment != "":
		fault("url: give only https://host[:port]; the login has settings of its own")
	}
	if c.Username == "" || c.Password == "" {
		fault("username and password are both needed")
	}
	switch c.Auth {
	case "":
		c.Auth = AuthBasic
	case AuthBasic, AuthSession:
	default:
		fault("auth: %q is neither %s nor %s", c.Auth, AuthBasic, AuthSession)
	}
	if c.System != "" {
		if c.System, err = localPath(origin, c.System); err != nil {
			fault("system: %v", err)
		}
	}
	if c.Chassis != "" {
		if c.Chassis, err = localPath(origin, c.Chassis); err != nil {
			fault("chassis: %v", err)
		}
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = 2 * time.Second
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = 5 * time.Second
	}
	trust, err := newTrust(c)
	if err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if c.Name == "" {
		c.Name = origin.Host + c.System
	}
	return &Device{config: c, origin: origin, wire: newWire(c, origin, trust)}, nil
}

// trust is how the BMC's certificate is judged.
type trust struct {
	cert, spki []byte // pins
	ca         []byte // PEM
	insecure   bool
}

func newTrust(c Config) (trust, error) {
	t := trust{insecure: c.Insecure}
	var faults []error
	ways := 0
	pin := func(key, value string, to *[]byte) {
		if value == "" {
			return
		}
		ways++
		sum, err := parseFingerprint(value)
		if err != nil {
			faults = append(faults, fmt.Errorf("redfish: %s: %w", key, err))
		}
		*to = sum
	}
	pin("cert_sha256", c.CertSHA256, &t.cert)
	pin("spki_sha256", c.SPKISHA256, &t.spki)
	if c.CAFile != "" {
		ways++
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			faults = append(faults, fmt.Errorf("redfish: ca_file: %w", err))
		} else if !anyCertificate(pem) {
			faults = append(faults, fmt.Errorf("redfish: ca_file: %s holds no certificate in PEM form", c.CAFile))
		}
		t.ca = pem
	}
	if c.Insecure {
		ways++
	}
	if ways > 1 {
		faults = append(faults, errors.New("redfish: give only one of ca_file, cert_sha256, spki_sha256 and insecure"))
	}
	return t, errors.Join(faults...)
}

// parseFingerprint reads a SHA-256 sum as openssl, browsers and curl print it.
func parseFingerprint(s string) ([]byte, error) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "sha256/")
	if sum, err := hex.DecodeString(strings.ReplaceAll(s, ":", "")); err == nil && len(sum) == 32 {
		return sum, nil
	}
	if sum, err := base64.StdEncoding.DecodeString(s); err == nil && len(sum) == 32 {
		return sum, nil
	}
	return nil, errors.New("not a SHA-256 fingerprint: give 64 hex digits or 44 characters of base64")
}

// localPath turns a link from a BMC, or from the settings, into a path on the BMC itself. Credentials go nowhere else.
func localPath(origin *url.URL, link string) (string, error) {
	u, err := url.Parse(link)
	if err != nil {
		return "", fmt.Errorf("the link %q cannot be parsed", link)
	}
	if (u.Host != "" || u.Scheme != "") && (u.Scheme != origin.Scheme || u.Host != origin.Host) {
		return "", fmt.Errorf("the link %q leads to another origin and is not followed", redact(link))
	}
	path := u.EscapedPath()
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return "", fmt.Errorf("the link %q is not an absolute path", redact(link))
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return path, nil
}

// redact keeps passwords that stand in a URL out of error texts.
func redact(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return "(unparseable)"
	}
	return u.Redacted()
}
