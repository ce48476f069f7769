package pdu

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quorate/fencing"
)

// rows writes the table down a second time, from the devices' point of view: for one outlet what is sent, what is read, and
// what the numbers mean. A slip of the pen in models.go has to be made here again to go unnoticed.
var rows = []struct {
	model, outlet string
	off, on       string // OID=value
	status        string // OID off/on
	id            string // a sysObjectID of such a device
}{
	{"apc-rpdu", "3", "318.1.1.12.3.3.1.1.4.3=2", "318.1.1.12.3.3.1.1.4.3=1", "318.1.1.12.3.5.1.1.4.3 2/1", "318.1.3.4.5"},
	{"apc-rpdu2", "3", "318.1.1.26.9.2.4.1.5.3=2", "318.1.1.26.9.2.4.1.5.3=1", "318.1.1.26.9.2.3.1.5.3 1/2", "318.1.3.4.6"},
	{"apc-msp", "2.3", "318.1.1.6.5.1.1.5.2.1.3=3", "318.1.1.6.5.1.1.5.2.1.3=1", "318.1.1.6.7.1.1.5.2.1.3 2/1", "318.1.3.4.4"},
	{"apc-msp", "3", "318.1.1.6.5.1.1.5.1.1.3=3", "318.1.1.6.5.1.1.5.1.1.3=1", "318.1.1.6.7.1.1.5.1.1.3 2/1", "318.1.3.4.4"},
	{"apc-masterswitch", "3", "318.1.1.4.4.2.1.3.3=2", "318.1.1.4.4.2.1.3.3=1", "318.1.1.4.4.2.1.3.3 2/1", "318.1.3.4.2"},
	{"eaton-epdu", "3", "534.6.6.7.6.6.1.3.0.3=0", "534.6.6.7.6.6.1.4.0.3=0", "534.6.6.7.6.6.1.2.0.3 0/1", "534.6.6.7"},
	{"eaton-epdu", "1.3", "534.6.6.7.6.6.1.3.1.3=0", "534.6.6.7.6.6.1.4.1.3=0", "534.6.6.7.6.6.1.2.1.3 0/1", "534.6.6.7"},
	{"eaton-revelation", "0", "534.6.6.6.1.2.2.1.3.0=0", "534.6.6.6.1.2.2.1.3.0=1", "534.6.6.6.1.2.2.1.3.0 0/1", "534.6.6.6"},
	{"eaton-pulizzi", "1", "20677.2.6.2.2.0=2", "20677.2.6.2.2.0=1", "20677.2.6.3.1.0 2/1", "20677.1"},
	{"raritan-px2", "3", "13742.6.4.1.2.1.2.1.3=0", "13742.6.4.1.2.1.2.1.3=1", "13742.6.4.1.2.1.3.1.3 8/7", "13742.6"},
	{"raritan-px1", "3", "13742.1.2.2.1.3.3=0", "13742.1.2.2.1.3.3=1", "13742.1.2.2.1.3.3 0/1", "13742.1"},
	{"servertech-sentry3", "1.2.3", "1718.3.2.3.1.11.1.2.3=2", "1718.3.2.3.1.11.1.2.3=1", "1718.3.2.3.1.5.1.2.3 0/1", "1718.3"},
	{"servertech-sentry4", "1.2.3", "1718.4.1.8.5.1.2.1.2.3=2", "1718.4.1.8.5.1.2.1.2.3=1", "1718.4.1.8.3.1.1.1.2.3 2/1", "1718.4"},
	{"cyberpower-epdu", "3", "3808.1.1.3.3.3.1.1.4.3=2", "3808.1.1.3.3.3.1.1.4.3=1", "3808.1.1.3.3.5.1.1.4.3 2/1", "3808.1.1.3"},
	{"vertiv-geist", "3", "21239.5.2.3.5.1.6.3=4", "21239.5.2.3.5.1.6.3=2", "21239.5.2.3.5.1.4.3 2/1", "21239.5.2"},
	{"vertiv-mph", "1.2.3", "476.1.42.3.8.50.20.1.100.1.2.3=0", "476.1.42.3.8.50.20.1.100.1.2.3=1", "476.1.42.3.8.50.20.1.95.1.2.3 1/2", "476.1.42"},
	{"avocent-pm", "1.3", "10418.17.2.5.5.1.6.1.1.3=3", "10418.17.2.5.5.1.6.1.1.3=2", "10418.17.2.5.5.1.5.1.1.3 1/2", "10418.17.1.7"},
	{"tripplite", "3", "850.10.2.3.5.1.4.1.3=1", "850.10.2.3.5.1.4.1.3=2", "850.10.2.3.5.1.2.1.3 1/2", "850.1"},
	{"tripplite-lx", "3", "850.1.1.3.2.3.3.1.1.6.1.3=1", "850.1.1.3.2.3.3.1.1.6.1.3=2", "850.1.1.3.2.3.3.1.1.4.1.3 1/2", "850.1.1.1"},
	{"hpe-epdu", "3", "232.165.7.5.2.1.2.0.3=0", "232.165.7.5.2.1.3.0.3=0", "232.165.7.5.2.1.1.0.3 1/2", "232.165.7"},
	{"hpe-pdu3", "3", "232.165.11.5.2.1.2.1.3=0", "232.165.11.5.2.1.3.1.3=0", "232.165.11.5.2.1.1.1.3 1/2", "232.165.11"},
	{"ibm-ipdu", "3", "2.6.223.8.2.2.1.11.3=0", "2.6.223.8.2.2.1.11.3=1", "2.6.223.8.2.2.1.11.3 0/1", "2.6.223"},
	{"baytech", "3", "4779.1.3.5.3.1.3.1.3=0", "4779.1.3.5.3.1.3.1.3=1", "4779.1.3.5.3.1.3.1.3 0/1", "4779"},
	{"aten-pe", "1", "21317.1.3.2.2.2.2.2.0=1", "21317.1.3.2.2.2.2.2.0=2", "21317.1.3.2.2.2.2.2.0 1/2", "21317.1.3"},
	{"teltronix", "3", "23620.1.2.2.1.4.3=1", "23620.1.2.2.1.4.3=2", "23620.1.2.2.1.4.3 1/2", "23620.1"},
}

func TestEveryRow(t *testing.T) {
	tested := map[string]bool{}
	for _, row := range rows {
		t.Run(row.model+"/"+row.outlet, func(t *testing.T) {
			tested[row.model] = true
			m := find(row.model)
			if m == nil {
				t.Fatal("there is no such model")
			}
			o, err := m.parseOutlet(row.outlet)
			if err != nil {
				t.Fatal(err)
			}
			said := func(c command) string {
				return strings.TrimPrefix(m.oid(c.oid, o), enterprises) + fmt.Sprintf("=%d", c.value)
			}
			if got := said(m.off); got != row.off {
				t.Errorf("off: %s, want %s", got, row.off)
			}
			if got := said(m.on); got != row.on {
				t.Errorf("on: %s, want %s", got, row.on)
			}
			status := strings.TrimPrefix(m.oid(m.status, o), enterprises) + fmt.Sprintf(" %d/%d", m.states.off, m.states.on)
			if status != row.status {
				t.Errorf("status: %s, want %s", status, row.status)
			}
			if best := identify(enterprises + row.id); len(best) != 1 || best[0] != m {
				t.Errorf("sysObjectID %s is %s", row.id, names(best))
			}
		})
	}
	for i := range models {
		if !tested[models[i].name] {
			t.Errorf("model %s is not tested", models[i].name)
		}
	}
}

// TestOnlyOffIsOff goes through every number that a status column could hold: one of them is off, one is on.
func TestOnlyOffIsOff(t *testing.T) {
	for i := range models {
		m := &models[i]
		off, on := 0, 0
		for v := int64(-300); v <= 300; v++ {
			state, word := m.states.judge(v)
			switch state {
			case fencing.PowerOff:
				off++
			case fencing.PowerOn:
				on++
			}
			if !strings.HasSuffix(word, fmt.Sprintf("(%d)", v)) {
				t.Errorf("%s: %d is told as %q", m.name, v, word)
			}
			if state == fencing.PowerUnknown && m.states.moving[v] != "" {
				t.Errorf("%s: %d is on the way, but read as unknown", m.name, v)
			}
		}
		if off != 1 || on != 1 {
			t.Errorf("%s: %d numbers are off, %d are on", m.name, off, on)
		}
	}
}

// TestRowsAreSound: what every row must have, and that no command is delayed, cycles or locks.
func TestRowsAreSound(t *testing.T) {
	placeholder := regexp.MustCompile(`\{([a-z]+)(\+1)?\}`)
	plainOID := regexp.MustCompile(`^[0-9]+(\.[0-9]+)*$`)
	seen := map[string]bool{}
	for i := range models {
		m := &models[i]
		if m.name == "" || m.title == "" || m.source == "" || len(m.objectIDs) == 0 || seen[m.name] || m.name == customModel {
			t.Errorf("row %d (%s) lacks something, or its name is taken", i, m.name)
		}
		seen[m.name] = true
		templates := []string{m.off.oid, m.on.oid, m.status}
		if m.pending.oid != "" {
			templates = append(templates, m.pending.oid)
		}
		for _, template := range templates {
			if !plainOID.MatchString(placeholder.ReplaceAllString(template, "0")) {
				t.Errorf("%s: %q is no template of an OID", m.name, template)
			}
			var used []string
			for _, p := range placeholder.FindAllStringSubmatch(template, -1) {
				used = append(used, p[1])
			}
			for _, c := range m.index {
				if !slices.Contains(used, c.name) {
					t.Errorf("%s: %q does not use %s", m.name, template, c.name)
				}
			}
			if len(used) != len(m.index) {
				t.Errorf("%s: %q uses %v, outlets are numbered %s", m.name, template, used, m.form())
			}
		}
		for _, c := range []command{m.off, m.on} {
			if word := m.never[int64(c.value)]; word != "" {
				t.Errorf("%s: the command %d is %s", m.name, c.value, word)
			}
		}
		if m.off == m.on {
			t.Errorf("%s: off and on are the same command", m.name)
		}
		for _, id := range m.objectIDs {
			if !plainOID.MatchString(strings.TrimPrefix(id, "=")) {
				t.Errorf("%s: sysObjectID %q", m.name, id)
			}
		}
	}
	if len(models) < 22 {
		t.Errorf("only %d models", len(models))
	}
}

func TestIdentify(t *testing.T) {
	for id, want := range map[string]string{
		"318.1.3.4.5":       "apc-rpdu",
		"318.1.3.4.5.1":     "apc-rpdu",
		"318.1.3.4.55":      "apc-masterswitch", // what no other row takes
		"318.1.3.27":        "none",             // an APC UPS
		"534.6.6.7.1":       "eaton-epdu",
		"534.6.6.70":        "none",
		"13742.6":           "raritan-px2",
		"13742.4":           "raritan-px1",
		"850.1":             "tripplite",
		"850.1.1.1":         "tripplite-lx",
		"3808":              "cyberpower-epdu",
		"3808.1.1.1":        "none", // a CyberPower UPS
		"8072.3.2.10":       "none", // net-snmp
		"9999999999.1.1.1.": "none",
	} {
		if got := names(identify(enterprises + id)); got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
		}
	}
	if got := names(identify(".1.3.6.1.2.1.1")); got != "none" {
		t.Errorf("an OID outside of enterprises is %s", got)
	}
}

func TestParseOutlet(t *testing.T) {
	for _, c := range []struct{ model, text, want string }{
		{"apc-rpdu", "3", "[3]"},
		{"apc-rpdu", " 24 ", "[24]"},
		{"apc-msp", "3", "[1 3]"},
		{"apc-msp", "2.3", "[2 3]"},
		{"avocent-pm", "2.7", "[1 2 7]"},
		{"avocent-pm", "4.2.7", "[4 2 7]"},
		{"servertech-sentry3", "1.1.3", "[1 1 3]"},
		{"servertech-sentry3", "1.3", ""},
		{"servertech-sentry3", "3", ""},
		{"avocent-pm", "7", ""},
		{"apc-rpdu", "1.3", ""},
		{"apc-rpdu", "", ""},
		{"apc-rpdu", "A3", ""},
		{"apc-rpdu", "-3", ""},
		{"apc-rpdu", "99999", ""},
		{"apc-rpdu", "3.", ""},
	} {
		o, err := find(c.model).parseOutlet(c.text)
		got := ""
		if err == nil {
			got = fmt.Sprint(o.index)
		}
		if got != c.want {
			t.Errorf("%s %q: %q (%v), want %q", c.model, c.text, got, err, c.want)
		}
	}
}
