package redfish

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quorate/fencing"
)

func TestParseSystem(t *testing.T) {
	cases := map[string]struct {
		json string
		want fencing.PowerState
	}{
		"off":             {`{"PowerState":"Off"}`, fencing.PowerOff},
		"on":              {`{"PowerState":"On"}`, fencing.PowerOn},
		"powering off":    {`{"PowerState":"PoweringOff"}`, fencing.PowerTransition},
		"powering on":     {`{"PowerState":"PoweringOn"}`, fencing.PowerTransition},
		"paused":          {`{"PowerState":"Paused"}`, fencing.PowerTransition},
		"lower case":      {`{"PowerState":"off"}`, fencing.PowerUnknown},
		"space":           {`{"PowerState":"Off "}`, fencing.PowerUnknown},
		"null":            {`{"PowerState":null}`, fencing.PowerUnknown},
		"number":          {`{"PowerState":0}`, fencing.PowerUnknown},
		"absent":          {`{}`, fencing.PowerUnknown},
		"another name":    {`{"PowerState":"On","powerstate":"Off"}`, fencing.PowerOn},
		"only that name":  {`{"powerstate":"Off"}`, fencing.PowerUnknown},
		"one level down":  {`{"Chassis":{"PowerState":"Off"}}`, fencing.PowerUnknown},
		"odd other field": {`{"PowerState":"Off","UUID":5,"Actions":[],"MemorySummary":"lots"}`, fencing.PowerOff},
		"system":          {`{"@odata.type":"#ComputerSystem.v1_22_0.ComputerSystem","PowerState":"Off"}`, fencing.PowerOff},
	}
	for name, c := range cases {
		sys, err := parseSystem([]byte(c.json))
		if err != nil || powerState(sys.power) != c.want {
			t.Errorf("%s: %s, %v; want %s", name, powerState(sys.power), err, c.want)
		}
	}
	for _, text := range []string{``, `null garbage`, `[]`, `"Off"`, `{"PowerState":"Off"`, `{"@odata.type":"#Chassis.v1_0_0.Chassis","PowerState":"Off"}`, `{"@odata.type":"#Outlet.v1_4_4.Outlet","PowerState":"Off"}`} {
		if sys, err := parseSystem([]byte(text)); err == nil {
			t.Errorf("%q was taken for %+v", text, sys)
		}
	}
}

func TestParseActionInfo(t *testing.T) {
	values, err := parseActionInfo([]byte(`{"Parameters":[{"Name":"Other","AllowableValues":["X"]},{"Name":"ResetType","AllowableValues":["On",7,"ForceOff"]}]}`), "ResetType")
	if err != nil || strings.Join(values, " ") != "On ForceOff" {
		t.Errorf("%q, %v", values, err)
	}
}

// FuzzParsers feeds all parsers of a BMC's answers. Whatever comes, none panics, and Off needs the exact word.
func FuzzParsers(f *testing.F) {
	for _, seed := range []string{
		`{"PowerState":"Off","Actions":{"#ComputerSystem.Reset":{"target":"/x","ResetType@Redfish.AllowableValues":["On"]}}}`,
		`{"Parameters":[{"Name":"ResetType","AllowableValues":["On","ForceOff"]}]}`,
		`{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}],"Members@odata.nextLink":"/next"}`, `null`, `[]`, ``, `{"PowerState":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if sys, err := parseSystem(data); err == nil && powerState(sys.power) == fencing.PowerOff {
			if !strings.Contains(string(data), "Off") && !strings.Contains(string(data), `\u`) {
				t.Errorf("off, by %q", data)
			}
		}
		_, _ = parseActionInfo(data, "ResetType")
		_, _, _ = parseMembers(data)
	})
}

// FuzzLocalPath: whatever link a BMC sends, the request that comes of it stays on the BMC.
func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{"/redfish/v1/Systems/1", "@evil/", "//evil/", "https://bmc/x", "https://bmc@evil/x", "/\\evil", "/x?y=z", "http://bmc/x", "/%2f%2fevil"} {
		f.Add(seed)
	}
	origin := &url.URL{Scheme: "https", Host: "bmc"}
	f.Fuzz(func(t *testing.T, link string) {
		path, err := localPath(origin, link)
		if err != nil {
			return
		}
		u, err := url.Parse("https://bmc" + path)
		if err != nil || u.Host != "bmc" || u.User != nil {
			t.Errorf("%q leads to %v, %v", link, u, err)
		}
	})
}

// TestReadmeListsSettings keeps the README and Open together.
func TestReadmeListsSettings(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(".", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, heading := range []string{"## Name", "## Description", "## Settings", "## Evidence", "## Examples", "## Faults tested"} {
		if !strings.Contains(string(readme), "\n"+heading+"\n") {
			t.Errorf("README.md lacks %q", heading)
		}
	}
	for line := range strings.Lines(string(readme)) {
		key, isSetting := strings.CutPrefix(line, "| `")
		if !isSetting {
			continue
		}
		key, _, _ = strings.Cut(key, "`")
		if _, err := Open(map[string]string{key: "?"}); strings.Contains(err.Error(), key+": no such setting") {
			t.Errorf("README.md lists %q, which Open does not know", key)
		}
	}
	for _, key := range []string{"name", "url", "username", "password", "auth", "system", "uuid", "serial", "hostname", "ca_file", "cert_sha256", "spki_sha256", "insecure", "dial_timeout", "call_timeout"} {
		if !strings.Contains(string(readme), "\n| `"+key+"` |") {
			t.Errorf("README.md does not list the setting %q", key)
		}
	}
}
