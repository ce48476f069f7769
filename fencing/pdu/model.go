package pdu

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"quorate/fencing"
)

// enterprises is the root below which every OID of the table lies (SMI Network Management Private Enterprise Codes).
const enterprises = ".1.3.6.1.4.1."

// model is one row of the table: how the outlets of a product line are switched and read.
type model struct {
	name  string // value of the setting model
	title string
	// objectIDs are the values of sysObjectID, below enterprises: each with everything below it, or, after "=", exactly.
	objectIDs []string
	index     []component // of an outlet; the last ones may be given alone
	off, on   command
	status    string // OID template of the column that tells the state
	states    states
	pending   pending
	never     map[int64]string // values of the command column that are never written: delayed, cycling, locking
	source    string           // where the numbers are from
}

// component is one number of an outlet's index. It may be left out if it has a default.
type component struct{ name, fallback string }

// command is what is written to switch.
type command struct {
	oid   string // template
	value int    // INTEGER
}

// states is the enumeration of the status column, which often is not that of the command column.
type states struct {
	off, on int64
	moving  map[int64]string // on the way
	others  map[int64]string // known, and neither on nor off for certain: locked, tripped, in error
}

// pending is the column that tells that a command waits to be carried out. An outlet that is off and will go on by itself
// is not off.
type pending struct {
	oid  string // template; empty: the product line has none
	idle int64  // the value that says that none is waiting
}

// judge reads one value of the status column. Exactly off is off; a number that the table does not know is unknown.
func (s states) judge(v int64) (fencing.PowerState, string) {
	word := func(w string) string { return fmt.Sprintf("%s(%d)", w, v) }
	switch {
	case v == s.off:
		return fencing.PowerOff, word("off")
	case v == s.on:
		return fencing.PowerOn, word("on")
	case s.moving[v] != "":
		return fencing.PowerTransition, word(s.moving[v])
	case s.others[v] != "":
		return fencing.PowerUnknown, word(s.others[v])
	default:
		return fencing.PowerUnknown, word("unknown")
	}
}

// outlet is one outlet in the configuration's words and in the table's.
type outlet struct {
	name  string
	index []uint32
}

// parseOutlet reads an index such as 3, or 1.1.3 where outlets are numbered within units.
func (m *model) parseOutlet(text string) (outlet, error) {
	parts := strings.Split(strings.TrimSpace(text), ".")
	missing := len(m.index) - len(parts)
	if missing < 0 || m.index[max(missing-1, 0)].fallback == "" && missing > 0 {
		return outlet{}, fmt.Errorf("%q is not of the form %s, in which outlets of %s are numbered", text, m.form(), m.name)
	}
	o := outlet{name: strings.TrimSpace(text)}
	for i, c := range m.index {
		number := c.fallback
		if i >= missing {
			number = parts[i-missing]
		}
		v, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return outlet{}, fmt.Errorf("%q: %s %q is not a number from 0 to 65535", text, c.name, number)
		}
		o.index = append(o.index, uint32(v))
	}
	return o, nil
}

// form is how outlets are numbered, for people: [unit.]outlet.
func (m *model) form() string {
	var b strings.Builder
	for i, c := range m.index {
		switch {
		case i == len(m.index)-1:
			b.WriteString(c.name)
		case c.fallback != "":
			b.WriteString("[" + c.name + ".]")
		default:
			b.WriteString(c.name + ".")
		}
	}
	return b.String()
}

// oid fills an outlet's index into a template such as 534.6.6.7.6.6.1.2.{unit}.{outlet}; {outlet+1} counts one further.
func (m *model) oid(template string, o outlet) string {
	labels := strings.Split(template, ".")
	for i, label := range labels {
		name, found := strings.CutPrefix(label, "{")
		if !found {
			continue
		}
		name, next := strings.CutSuffix(strings.TrimSuffix(name, "}"), "+1")
		at := slices.IndexFunc(m.index, func(c component) bool { return c.name == name })
		v := uint64(o.index[at]) // a test makes sure that every template names components of its row
		if next {
			v++
		}
		labels[i] = strconv.FormatUint(v, 10)
	}
	return enterprises + strings.Join(labels, ".")
}

// matches returns how many labels of a sysObjectID a row accounts for; 0: it is another product.
func (m *model) matches(objectID string) int {
	best := 0
	for _, want := range m.objectIDs {
		want, exactly := strings.CutPrefix(want, "=")
		want = enterprises + want
		if objectID == want || !exactly && strings.HasPrefix(objectID, want+".") {
			best = max(best, strings.Count(want, ".")+1)
		}
	}
	return best
}

// identify returns the rows that fit a sysObjectID best: none, one, or several that share it.
func identify(objectID string) []*model {
	best := 0
	var found []*model
	for i := range models {
		n := models[i].matches(objectID)
		switch {
		case n == 0 || n < best:
		case n > best:
			best, found = n, []*model{&models[i]}
		default:
			found = append(found, &models[i])
		}
	}
	return found
}

func find(name string) *model {
	for i := range models {
		if models[i].name == name {
			return &models[i]
		}
	}
	return nil
}

func names(list []*model) string {
	var text []string
	for _, m := range list {
		text = append(text, m.name)
	}
	return cmp.Or(strings.Join(text, " or "), "none")
}

// columns are the templates of a row without their placeholders: where its objects lie.
func (m *model) columns() []string {
	var list []string
	for _, template := range []string{m.off.oid, m.on.oid} {
		fixed, _, _ := strings.Cut(template, ".{")
		list = append(list, enterprises+fixed)
	}
	return list
}
