package manifest_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/manifest"
)

var update = flag.Bool("update", false, "rewrite the golden files; commit the change only if you can explain it")

func read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(read(t, name)); got != want {
		t.Errorf("%s differs.\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func demo(t *testing.T) *witness.Config {
	t.Helper()
	cfg, faults := manifest.Load("demo.yaml", read(t, "demo.yaml"), map[string]bool{"redfish": true})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return cfg
}

func TestLoad(t *testing.T) {
	cfg := demo(t)
	c := cfg.Cluster("demo")
	if c == nil || c.Fast != "on" || time.Duration(c.ReleaseAfter) != 90*time.Second || c.Members[1].Port != 5433 {
		t.Errorf("cluster demo is %+v", c)
	}
	want := map[string]string{"address": "https://10.0.9.2", "user": "quorate", "password": "hunter2", "insecure": "true", "port": "0443"}
	if got := cfg.Device("bmc2").Settings; !reflect.DeepEqual(got, want) {
		t.Errorf("settings of bmc2 are %v", got)
	}
}

// Every fault that the issue names, in one run, each with its line.
func TestLoadReportsEveryFault(t *testing.T) {
	cfg, faults := manifest.Load("faulty.yaml", read(t, "faulty.yaml"), map[string]bool{"redfish": true})
	if cfg != nil {
		t.Error("a faulty file gave a configuration")
	}
	golden(t, "faulty.golden", faults.Error()+"\n")
}

func TestLoadRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"nothing":       {"", "f:0: the file is empty"},
		"only comments": {"# to do\n", "f:0: the file is empty"},
		"syntax":        {"sites:\n  - name: a\n bad indent: [\n", "f:2: this is not YAML: did not find expected key"},
		"a list":        {"\n- a\n", "f:2: the file must be a mapping, not a list"},
		"text":          {"hello", `f:1: the file must be a mapping, not "hello"`},
		"two documents": {"sites: []\n---\nsites: []\n", "f:2: a second document"},
		"bad second":    {"sites: []\n---\n[", "this is not YAML"},
		"unknown alias": {"sites: *x\n", "f:0: this is not YAML"},
		"list as key":   {"[a]: b\n", "f:1: a key must be text"},
		"null bytes":    {"\x00\x01", "this is not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, faults := manifest.Load("f", []byte(tc.in), nil)
			if cfg != nil || !strings.Contains(faults.Error(), tc.want) {
				t.Errorf("got %v, %q; want a fault with %q", cfg, faults.Error(), tc.want)
			}
		})
	}
}

func TestLoadBoundsAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("hosts:\n")
	b.WriteString("  - {name: h0, addresses: &a [" + strings.Repeat("x,", 5000) + "x]}\n")
	for range 500 {
		b.WriteString("  - {name: h, addresses: *a}\n")
	}
	_, faults := manifest.Load("f", []byte(b.String()), nil)
	if !strings.Contains(faults.Error(), "by its aliases") || len(faults) != 1 {
		t.Errorf("got %d faults, the first: %v", len(faults), faults[0])
	}
}

func TestLoadReadsJSON(t *testing.T) {
	cfg := demo(t)
	for _, indent := range []string{"", "\t"} {
		raw, err := json.MarshalIndent(cfg, "", indent)
		if err != nil {
			t.Fatal(err)
		}
		got, faults := manifest.Load("demo.json", raw, nil)
		if len(faults) > 0 || !reflect.DeepEqual(got, cfg) {
			t.Errorf("JSON with indent %q gave %+v, %v", indent, got, faults)
		}
	}
}

func TestRenderRoundTrip(t *testing.T) {
	cfg := demo(t)
	raw, err := manifest.Render(cfg)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "demo.golden.yaml", string(raw))
	again, faults := manifest.Load("again", raw, nil)
	if len(faults) > 0 || !reflect.DeepEqual(again, cfg) {
		t.Errorf("rendered and read again: %+v, %v", again, faults)
	}
}

func FuzzLoad(f *testing.F) {
	for _, name := range []string{"demo.yaml", "faulty.yaml"} {
		raw, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("a: &a [*a]\nsites: *a\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cfg, faults := manifest.Load("f", raw, nil)
		if (cfg == nil) == (len(faults) == 0) {
			t.Errorf("configuration %v with faults %v", cfg, faults)
		}
	})
}
