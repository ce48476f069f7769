package agent

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"quorate/fencing"
)

// Directory is where Debian and Pacemaker keep fence agents. Nothing else is run.
const Directory = "/usr/sbin"

// optionPrefix marks settings that go to the agent.
const optionPrefix = "option."

// Config describes one machine as one agent knows it.
type Config struct {
	Name    string            // in evidence; default: the agent and its plugs
	Agent   string            // fence_…
	Plugs   []string          // outlets or machines at the device; several: all must be off. None for a device that is the machine
	Options map[string]string // the agent's own, such as ip and password

	// Proves is what "off" means: GradeObservedOff for the machine, GradeFeedsOff for outlets. Default: what is known of the agent.
	Proves   fencing.Grade
	Parallel *bool // several plugs at the same time; default: only for agents over SNMP, since many devices take one login

	StatusTimeout  time.Duration // one run that asks for the state; default 10 s
	CallTimeout    time.Duration // one run that switches; default 30 s
	AttemptTimeout time.Duration // from the first run to the proof; default 45 s

	Directory string // of the agents; default Directory. It cannot be set in configuration
}

// Open makes a device from textual settings. It does no I/O. Its error reports every fault at once; README.md lists the
// settings.
func Open(settings map[string]string) (fencing.Device, error) {
	c := Config{Options: map[string]string{}}
	var faults []error
	durations := map[string]*time.Duration{
		"status_timeout": &c.StatusTimeout, "call_timeout": &c.CallTimeout, "attempt_timeout": &c.AttemptTimeout,
	}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		value := settings[key]
		var err error
		if option, ok := strings.CutPrefix(key, optionPrefix); ok {
			c.Options[option] = value
			continue
		}
		switch d := durations[key]; {
		case d != nil:
			if *d, err = time.ParseDuration(value); err == nil && *d <= 0 {
				err = errors.New("must be positive")
			}
		case key == "name":
			c.Name = value
		case key == "agent":
			c.Agent = value
		case key == "plug":
			c.Plugs = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
		case key == "proves":
			c.Proves = fencing.Grade(value)
		case key == "parallel":
			err = parseBool(value, &c.Parallel)
		default:
			err = fmt.Errorf("no such setting; what is meant for the agent is written %s%s", optionPrefix, key)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("agent: %s: %w", key, err))
		}
	}
	device, err := New(c)
	if err = errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	return device, nil
}

func parseBool(value string, to **bool) error {
	yes := value == "true"
	if !yes && value != "false" {
		return fmt.Errorf("%q is neither true nor false", value)
	}
	*to = &yes
	return nil
}

var agentName = regexp.MustCompile(`^fence_[a-z0-9_]{1,40}$`)

// New makes a device. It does no I/O. Its error reports every fault at once.
func New(c Config) (*Device, error) {
	t := traitOf(c.Agent)
	faults := t.faultsOf(c.Options)
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("agent: "+format, args...)) }

	if !agentName.MatchString(c.Agent) {
		fault("agent: %q is not the name of a fence agent, such as fence_ipmilan", c.Agent)
	}
	if t.useless != "" {
		fault("agent: %s cannot be used: %s", c.Agent, t.useless)
	}
	if len(c.Plugs) > fencing.MaxParts {
		fault("plug: %d plugs; the limit is %d: declare a second device", len(c.Plugs), fencing.MaxParts)
	}
	seen := map[string]bool{}
	for _, plug := range c.Plugs {
		if seen[plug] || plug == "" || strings.ContainsAny(plug, "\r\n\x00=,") {
			fault("plug: %q is named twice or is no plug", plug)
		}
		seen[plug] = true
	}
	c.Proves = cmp.Or(c.Proves, t.proves)
	if t.useless == "" && c.Proves != fencing.GradeObservedOff && c.Proves != fencing.GradeFeedsOff {
		fault("proves: %q is neither %s nor %s", c.Proves, fencing.GradeObservedOff, fencing.GradeFeedsOff)
	}
	if len(faults) > 0 {
		slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(faults...)
	}
	if c.Name == "" {
		c.Name = strings.TrimSpace(c.Agent + " " + strings.Join(c.Plugs, ","))
	}
	if c.Parallel == nil {
		c.Parallel = &t.parallel
	}
	c.StatusTimeout = cmp.Or(c.StatusTimeout, 10*time.Second)
	c.CallTimeout = cmp.Or(c.CallTimeout, 30*time.Second)
	c.AttemptTimeout = cmp.Or(c.AttemptTimeout, 45*time.Second)
	return &Device{config: c, trait: t, path: filepath.Join(cmp.Or(c.Directory, Directory), c.Agent), mask: newMask(c.Options)}, nil
}
