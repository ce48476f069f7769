package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// defaultTimeout ends the agent before the fencer does: its stonith-timeout is
	// 60 s, and a killed agent tells nobody why.
	defaultTimeout = 50 * time.Second
	// readTimeout does the same for the actions that only look, whose operations
	// are usually given 20 s.
	readTimeout = 15 * time.Second
	// maxInput bounds the options on standard input.
	maxInput = 64 << 10
)

// options is what the agent is told.
type options struct {
	action   string
	urls     []string
	plug     string // the best of plug, port, nodename
	cluster  string
	caFile   string
	certFile string
	keyFile  string
	timeout  string
	help     bool
	version  bool
}

func defaults() options { return options{action: "reboot"} }

// parseInput reads one key=value per line, as Pacemaker writes them. Unknown keys
// and lines without "=" are ignored; of a repeated key the last counts.
func (o *options) parseInput(in io.Reader) error {
	values := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(in, maxInput))
	lines.Buffer(nil, maxInput)
	for lines.Scan() {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if key, value, found := strings.Cut(line, "="); found {
			values[key] = value
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read the options from standard input: %w", err)
	}
	for _, p := range parameters {
		if value, given := values[p.name]; given && value != "" {
			p.set(o, value)
		}
	}
	// In the order of preference, the best last. nodename always comes with an
	// action of the fencer; it is not one that people configure.
	for _, key := range []string{"nodename", "port", "plug"} {
		if values[key] != "" {
			o.plug = values[key]
		}
	}
	return nil
}

// parseArgs reads a command line: -n n2, -nn2, --plug n2 and --plug=n2.
func (o *options) parseArgs(argv []string) error {
	for len(argv) > 0 {
		arg := argv[0]
		argv = argv[1:]
		name, value, attached := strings.Cut(arg, "=")
		p := findFlag(name)
		if p == nil && len(arg) > 2 && arg[0] == '-' && arg[1] != '-' {
			p, value, attached = findFlag(arg[:2]), arg[2:], true
		}
		switch {
		case p == nil:
			return fmt.Errorf("unknown option %q; --help lists them all", arg)
		case p.kind == "boolean":
			if attached {
				return fmt.Errorf("option %q takes no value", name)
			}
			value = "1"
		case !attached:
			if len(argv) == 0 {
				return fmt.Errorf("option %q needs a value; --help tells which", arg)
			}
			value, argv = argv[0], argv[1:]
		}
		p.set(o, value)
	}
	return nil
}

func findFlag(flag string) *parameter {
	for i := range parameters {
		p := &parameters[i]
		if flag == "--"+p.long || p.short != "" && flag == "-"+p.short {
			return p
		}
	}
	return nil
}

// targeted are the actions on one node.
var targeted = []string{"off", "on", "reboot", "status"}

// validate returns every fault of the options at once.
func (o *options) validate() error {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !slices.Contains(actions(), o.action) {
		add("unknown action %q; there are: %s", o.action, strings.Join(actions(), ", "))
	}
	if len(o.urls) == 0 {
		add("url is missing: name the witnesses, such as url=http://10.0.1.11:8080,http://10.0.2.11:8080")
	}
	for _, u := range o.urls {
		parsed, err := url.Parse(u)
		if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
			add("url: %q is not the address of a witness, such as http://10.0.1.11:8080", u)
		}
	}
	if o.plug == "" && slices.Contains(targeted, o.action) {
		add("action %s needs a node: plug is missing", o.action)
	}
	if (o.certFile == "") != (o.keyFile == "") {
		add("cert_file and key_file belong together: one of them is missing")
	}
	for name, path := range map[string]string{"ca_file": o.caFile, "cert_file": o.certFile, "key_file": o.keyFile} {
		if path == "" {
			continue
		}
		if f, err := os.Open(path); err != nil {
			add("%s: %w", name, err)
		} else {
			_ = f.Close()
		}
	}
	if o.timeout != "" {
		if d, err := seconds(o.timeout); err != nil || d <= 0 {
			add("timeout: %q is not a number of seconds above 0", o.timeout)
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(faults...)
}

// budget is how long the agent may take in all.
func (o *options) budget() time.Duration {
	d, err := seconds(o.timeout)
	if err != nil || d <= 0 {
		d = defaultTimeout
	}
	if !slices.Contains([]string{"off", "on", "reboot"}, o.action) {
		d = min(d, readTimeout)
	}
	return d
}

// seconds reads a time as Pacemaker users write it: 40 or 40s.
func seconds(text string) (time.Duration, error) {
	n, err := strconv.ParseFloat(strings.TrimSuffix(text, "s"), 64)
	return time.Duration(n * float64(time.Second)), err
}

// splitURLs accepts commas and spaces between addresses, and bare host:port.
func splitURLs(text string) []string {
	var urls []string
	for u := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if !strings.Contains(u, "://") {
			u = "http://" + u
		}
		urls = append(urls, strings.TrimRight(u, "/"))
	}
	return urls
}
