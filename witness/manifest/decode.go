package manifest

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxValues bounds what a small file can grow to by aliases.
const maxValues = 2_000_000

// decoder fills a value from YAML nodes, remembers the line of every path and
// goes on after each fault.
type decoder struct {
	file   string
	lines  map[string]int
	bad    map[string]bool
	faults Faults
	values int
}

func (d *decoder) fault(n *yaml.Node, path, format string, args ...any) {
	d.faults = append(d.faults, Fault{File: d.file, Line: n.Line, Path: path, Msg: fmt.Sprintf(format, args...)})
}

// mistyped records a value that cannot be what its place wants.
func (d *decoder) mistyped(n *yaml.Node, path, want string) {
	d.bad[path] = true
	what := path[strings.LastIndexByte(path, '.')+1:]
	if what == "" {
		what = "the file"
	}
	d.fault(n, path, "%s must be %s, not %s", what, want, describe(n))
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if n.ShortTag() == "!!bool" {
		return n.Value + " (true or false; write it in quotes if it is meant as text)"
	}
	return fmt.Sprintf("%q", n.Value)
}

// value decodes n into v. How deep it goes is bounded by the type of v.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if _, ok := d.lines[path]; !ok {
		d.lines[path] = n.Line
	}
	if d.values++; d.values > maxValues {
		if d.values == maxValues+1 {
			d.bad[""] = true
			d.fault(n, path, "the file grows to more than %d values by its aliases", maxValues)
		}
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return // "sites:" with nothing after it declares none
	}
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.Map:
		d.settings(n, v, path)
	case reflect.String:
		if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!bool" {
			d.mistyped(n, path, "text")
			return
		}
		v.SetString(n.Value)
	case reflect.Int, reflect.Uint16, reflect.Uint32:
		d.number(n, v, path)
	default:
		panic(fmt.Sprintf("manifest: the configuration has a field of type %s, which is not read yet", v.Type()))
	}
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.mistyped(n, path, "text")
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
		d.bad[path] = true
		d.fault(n, path, "%s: %s", path[strings.LastIndexByte(path, '.')+1:], err)
	}
}

func (d *decoder) number(n *yaml.Node, v reflect.Value, path string) {
	var i int64
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || n.Decode(&i) != nil {
		d.mistyped(n, path, "a whole number")
		return
	}
	if v.CanUint() {
		if i < 0 || v.OverflowUint(uint64(i)) {
			d.mistyped(n, path, fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<v.Type().Bits()-1))
			return
		}
		v.SetUint(uint64(i))
		return
	}
	v.SetInt(i)
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.mistyped(n, path, "a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

// settings reads a mapping of text to text. Numbers and booleans are taken as
// they are written, since what a setting means is up to its driver.
func (d *decoder) settings(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.mistyped(n, path, "a mapping")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	d.pairs(n, path, func(key, val *yaml.Node, at string) {
		if val.Kind != yaml.ScalarNode {
			d.mistyped(val, at, "text")
			return
		}
		v.SetMapIndex(reflect.ValueOf(key.Value), reflect.ValueOf(val.Value))
	})
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.mistyped(n, path, "a mapping")
		return
	}
	fields, names := fieldsOf(v.Type())
	d.pairs(n, path, func(key, val *yaml.Node, at string) {
		i, known := fields[key.Value]
		if !known {
			d.fault(key, at, "unknown key %q; here are allowed: %s", key.Value, strings.Join(names, ", "))
			return
		}
		d.value(val, v.Field(i), at)
	})
}

// pairs visits the keys of a mapping, each once, and notes their lines.
func (d *decoder) pairs(n *yaml.Node, path string, visit func(key, val *yaml.Node, at string)) {
	first := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if val.Kind == yaml.AliasNode {
			val = val.Alias
		}
		at := key.Value
		if path != "" {
			at = path + "." + key.Value
		}
		if key.Kind != yaml.ScalarNode {
			d.fault(key, path, "a key must be text, not %s", describe(key))
			continue
		}
		if line, dup := first[key.Value]; dup {
			d.fault(key, at, "key %q is here twice; the first is in line %d", key.Value, line)
			continue
		}
		first[key.Value] = key.Line
		d.lines[at] = key.Line
		visit(key, val, at)
	}
}

// fieldsOf returns the fields of a struct by their YAML names, and the names
// in the order of the struct.
func fieldsOf(t reflect.Type) (map[string]int, []string) {
	fields, names := make(map[string]int, t.NumField()), make([]string, 0, t.NumField())
	for i := range t.NumField() {
		name := yamlName(t.Field(i))
		fields[name] = i
		names = append(names, name)
	}
	return fields, names
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}
