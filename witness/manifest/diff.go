package manifest

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"quorate/witness"
)

// The kinds of change.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// Change is one difference between two configurations. Secrets never appear in
// it: that one changed is all it says.
type Change struct {
	Op   string `json:"op" enum:"added,removed,changed"`
	What string `json:"what" doc:"the thing that changes, such as: cluster demo, member pg1: port"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// String returns the change as a line of a diff.
func (c Change) String() string {
	switch c.Op {
	case Added:
		return strings.TrimSuffix(fmt.Sprintf("+ %s: %s", c.What, c.New), ": ")
	case Removed:
		return strings.TrimSuffix(fmt.Sprintf("- %s: %s", c.What, c.Old), ": ")
	}
	return fmt.Sprintf("~ %s: %s → %s", c.What, orNone(c.Old), orNone(c.New))
}

func orNone(s string) string {
	if s == "" {
		return "(default)"
	}
	return s
}

// Diff returns what changes from one configuration to another, in the order of
// the document. Named things are compared by name; their order means nothing.
func Diff(from, to *witness.Config) []Change {
	d := &differ{}
	d.structs("", reflect.ValueOf(*from), reflect.ValueOf(*to))
	return d.changes
}

type differ struct{ changes []Change }

func (d *differ) add(op, what, before, after string) {
	d.changes = append(d.changes, Change{Op: op, What: what, Old: before, New: after})
}

func (d *differ) structs(what string, a, b reflect.Value) {
	t := a.Type()
	for i := range t.NumField() {
		name, x, y := yamlName(t.Field(i)), a.Field(i), b.Field(i)
		switch {
		case named(x.Type()):
			d.lists(what, strings.TrimSuffix(name, "s"), x, y)
		case x.Kind() == reflect.Map:
			d.settings(what, x.Interface().(map[string]string), y.Interface().(map[string]string))
		default:
			if before, after := text(x), text(y); before != after {
				d.add(Changed, what+": "+name, before, after)
			}
		}
	}
}

// named says whether t is a list of things that are told apart by name. A name
// server is not: one name may have several addresses.
func named(t reflect.Type) bool {
	if t.Kind() != reflect.Slice || t.Elem().Kind() != reflect.Struct || t.Elem() == reflect.TypeFor[witness.NameServer]() {
		return false
	}
	_, ok := t.Elem().FieldByName("Name")
	return ok
}

func (d *differ) lists(within, word string, a, b reflect.Value) {
	title := func(name string) string {
		if within != "" {
			return within + ", " + word + " " + name
		}
		return word + " " + name
	}
	before, after := byName(a), byName(b)
	for i := range a.Len() {
		name := a.Index(i).FieldByName("Name").String()
		if _, kept := after[name]; !kept {
			d.add(Removed, title(name), brief(a.Index(i), name), "")
		}
	}
	for i := range b.Len() {
		name := b.Index(i).FieldByName("Name").String()
		if at, was := before[name]; was {
			d.structs(title(name), a.Index(at), b.Index(i))
		} else {
			d.add(Added, title(name), "", brief(b.Index(i), name))
		}
	}
}

func byName(list reflect.Value) map[string]int {
	at := make(map[string]int, list.Len())
	for i := range list.Len() {
		at[list.Index(i).FieldByName("Name").String()] = i
	}
	return at
}

func (d *differ) settings(what string, a, b map[string]string) {
	keys := make([]string, 0, len(a)+len(b))
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range slices.Compact(keys) {
		before, had := a[k]
		after, has := b[k]
		if had == has && before == after {
			continue
		}
		if Secret(k) {
			before, after = masked(had), masked(has)
			if had && has {
				after = "(another secret)"
			}
		}
		d.add(Changed, what+": settings."+k, before, after)
	}
}

func masked(there bool) string {
	if there {
		return Mask
	}
	return ""
}

// text renders a plain value; the zero value is empty.
func text(v reflect.Value) string {
	if v.IsZero() {
		return ""
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		out, err := m.MarshalText()
		if err != nil {
			return "unreadable: " + err.Error()
		}
		return string(out)
	}
	if v.Kind() == reflect.Slice {
		items := make([]string, v.Len())
		for i := range items {
			items[i] = summary(v.Index(i))
		}
		return "[" + strings.Join(items, "; ") + "]"
	}
	return fmt.Sprint(v.Interface())
}

// brief is the summary of a thing whose name is said already.
func brief(v reflect.Value, name string) string {
	return strings.TrimPrefix(strings.TrimPrefix(summary(v), "name "+name), ", ")
}

// summary renders a thing on one line, without its secrets.
func summary(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() {
				parts = append(parts, yamlName(v.Type().Field(i))+" "+summary(f))
			}
		}
		return strings.Join(parts, ", ")
	case reflect.Map:
		var parts []string
		for k, val := range v.Interface().(map[string]string) {
			if Secret(k) {
				val = Mask
			}
			parts = append(parts, k+" "+val)
		}
		slices.Sort(parts)
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return text(v)
}
