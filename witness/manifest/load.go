package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"quorate/witness"
)

// MaxBytes is the size of the largest configuration that is read, in bytes.
const MaxBytes = 32 << 20

// maxFaults is how many faults of a file are named; the others are counted.
const maxFaults = 1000

// Fault is one thing that is wrong with a configuration file.
type Fault struct {
	File string `json:"file" doc:"name of the file as the caller gave it"`
	Line int    `json:"line" doc:"line in the file, from 1; 0 when it concerns the whole file"`
	Path string `json:"path,omitempty" doc:"place in the document, such as clusters[0].members[1].host"`
	Msg  string `json:"msg" doc:"what is wrong"`
}

// String returns "file:line: message".
func (f Fault) String() string { return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Msg) }

// Faults are all faults of a file, in the order of its lines.
type Faults []Fault

// Error returns one line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// Load reads a configuration. name is shown in faults; drivers are the fence
// drivers that may be named, nil accepts any. It returns either a
// configuration without any known fault, or nil and at least one fault.
func Load(name string, raw []byte, drivers map[string]bool) (*witness.Config, Faults) {
	return LoadOver(name, raw, drivers, nil)
}

// LoadOver is [Load] for a file that takes the place of current: its masked
// secrets are those of current, as [KeepSecrets] has it. Without current a
// mask is text like any other.
func LoadOver(name string, raw []byte, drivers map[string]bool, current *witness.Config) (*witness.Config, Faults) {
	fail := func(line int, format string, args ...any) (*witness.Config, Faults) {
		return nil, Faults{{File: name, Line: line, Msg: fmt.Sprintf(format, args...)}}
	}
	if len(raw) > MaxBytes {
		return fail(0, "the file has %d bytes; the limit is %d", len(raw), MaxBytes)
	}
	var doc yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(raw))
	if err := in.Decode(&doc); errors.Is(err, io.EOF) {
		return fail(0, "the file is empty: a configuration declares sites, devices, hosts, clusters and zones")
	} else if err != nil {
		line, msg := syntaxError(err)
		return fail(line, "%s", msg)
	}
	var second yaml.Node
	if err := in.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			line, msg := syntaxError(err)
			return fail(line, "%s", msg)
		}
		return fail(second.Line, "a second document starts here: a configuration is applied as a whole, so put everything into one")
	}
	cfg := &witness.Config{}
	d := &decoder{file: name, lines: map[string]int{}, bad: map[string]bool{}}
	d.value(doc.Content[0], reflect.ValueOf(cfg).Elem(), "")
	if d.bad[""] {
		return nil, d.faults // nothing could be read that is worth a look
	}
	faults := cfg.Validate(drivers)
	if current != nil {
		kept, masks := KeepSecrets(cfg, current)
		cfg, faults = kept, append(faults, masks...)
	}
	for _, f := range faults {
		if !d.isBad(f.Path) {
			d.faults = append(d.faults, Fault{File: name, Line: d.line(f.Path), Path: f.Path, Msg: f.Msg})
		}
	}
	if len(d.faults) == 0 {
		return cfg, nil
	}
	slices.SortStableFunc(d.faults, func(a, b Fault) int { return a.Line - b.Line })
	if n := len(d.faults); n > maxFaults {
		d.faults = append(d.faults[:maxFaults:maxFaults], Fault{File: name, Msg: fmt.Sprintf("and %d more faults", n-maxFaults)})
	}
	return nil, d.faults
}

// yamlLine matches how the parser writes positions; it has no typed error.
var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

func syntaxError(err error) (line int, msg string) {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	line, _ = strconv.Atoi(m[1]) // no position: 0, the whole file
	return line, "this is not YAML: " + text[len(m[0]):]
}

// line returns the line of a path, or of the nearest thing around it.
func (d *decoder) line(path string) int {
	for ; path != ""; path = parent(path) {
		if n, ok := d.lines[path]; ok {
			return n
		}
	}
	return d.lines[""]
}

// isBad says whether a path, or something around it, could not be read: what
// validation says of it would only repeat that.
func (d *decoder) isBad(path string) bool {
	for ; path != ""; path = parent(path) {
		if d.bad[path] {
			return true
		}
	}
	return false
}

func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

// Warnings returns what deserves attention in a configuration that is without
// faults, with the lines of the file that it was read from.
func Warnings(name string, raw []byte, cfg *witness.Config) Faults {
	return Locate(name, raw, cfg.Warnings())
}

// Locate gives what was found in a configuration the lines of the file that it
// was read from.
func Locate(name string, raw []byte, found []witness.Fault) Faults {
	var doc yaml.Node
	d := &decoder{file: name, lines: map[string]int{}, bad: map[string]bool{}}
	if yaml.Unmarshal(raw, &doc) == nil && len(doc.Content) > 0 {
		d.value(doc.Content[0], reflect.ValueOf(&witness.Config{}).Elem(), "")
	}
	out := Faults{}
	for _, f := range found {
		out = append(out, Fault{File: name, Line: d.line(f.Path), Path: f.Path, Msg: f.Msg})
	}
	return out[:min(len(out), maxFaults)]
}
