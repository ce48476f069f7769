package pdu

import (
	"strconv"
	"strings"
)

// custom makes a row of the operator's own. A column that the table knows is not described again: there the table knows
// which values are delayed, or switch the wrong way.
func (f *faultList) custom(c *Custom) *model {
	if c.OnOID == "" {
		c.OnOID = c.OffOID
	}
	number := func(key string, v *int) int {
		if v == nil {
			f.add("%s: model custom needs it", key)
			return 0
		}
		return *v
	}
	m := &model{
		name: customModel, title: "described in the settings", index: plain, source: "settings",
		off:    command{value: number("off_value", c.OffValue)},
		on:     command{value: number("on_value", c.OnValue)},
		states: states{off: int64(number("status_off", c.StatusOff)), on: int64(number("status_on", c.StatusOn))},
	}
	for _, o := range []struct {
		key, value string
		to         *string
		column     bool
	}{
		{"object_id", c.ObjectID, nil, false},
		{"off_oid", c.OffOID, &m.off.oid, true},
		{"on_oid", c.OnOID, &m.on.oid, true},
		{"status_oid", c.StatusOID, &m.status, true},
	} {
		oid, ok := parseOID(o.value)
		if !ok {
			f.add("%s: %q is not an OID below %s", o.key, o.value, strings.Trim(enterprises, "."))
			continue
		}
		if known := knows(oid); o.column && known != "" {
			f.add("%s: %s belongs to model %s: name that model, which knows its values", o.key, o.value, known)
		}
		below := strings.TrimPrefix(oid, enterprises)
		if o.to == nil {
			m.objectIDs = []string{below}
		} else {
			*o.to = below + ".{outlet}"
		}
	}
	if m.states.off == m.states.on {
		f.add("status_off and status_on are the same value, %d", m.states.off)
	}
	if m.off == m.on {
		f.add("off_value and on_value are the same value, %d, of the same column", m.off.value)
	}
	return m
}

// parseOID accepts an OID below enterprises, with or without the leading dot.
func parseOID(text string) (string, bool) {
	oid := "." + strings.TrimPrefix(strings.TrimSpace(text), ".")
	rest, below := strings.CutPrefix(oid, enterprises)
	if !below || rest == "" {
		return "", false
	}
	for label := range strings.SplitSeq(rest, ".") {
		if _, err := strconv.ParseUint(label, 10, 32); err != nil {
			return "", false
		}
	}
	return oid, true
}

// knows names the model of the table that writes to a column.
func knows(oid string) string {
	for i := range models {
		for _, column := range models[i].columns() {
			if oid == column || strings.HasPrefix(oid, column+".") {
				return models[i].name
			}
		}
	}
	return ""
}
