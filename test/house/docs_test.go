package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"quorate/witness/manifest"
)

// pages returns the markdown pages of the project by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../*/*/README.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			raw, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			out[p] = string(raw)
		}
	}
	if len(out) < 8 {
		t.Fatalf("only %d pages found: this test looks in the wrong place", len(out))
	}
	return out
}

var link = regexp.MustCompile(`\]\(([^)#: ]+)(#[^)]*)?\)`)

// TestLinks finds links to pages and files that do not exist.
func TestLinks(t *testing.T) {
	for page, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			}
		}
	}
}

var makeCall = regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)")

// TestMakeTargets finds commands in the pages that the Makefile does not have.
func TestMakeTargets(t *testing.T) {
	raw, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for page, text := range pages(t) {
		for _, m := range makeCall.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(raw), "\n"+m[1]+":") {
				t.Errorf("%s says `make %s`, which is no target", page, m[1])
			}
		}
	}
}

var fence = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestExampleConfiguration loads every example of a declared configuration.
func TestExampleConfiguration(t *testing.T) {
	seen := 0
	for page, text := range pages(t) {
		for _, m := range fence.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(m[1], "clusters:") || !strings.Contains(m[1], "hosts:") {
				continue
			}
			seen++
			if _, faults := manifest.Load(page, []byte(m[1]), map[string]bool{"redfish": true}); len(faults) > 0 {
				t.Errorf("%s has an example that cannot be applied: %v", page, faults)
			}
		}
	}
	if seen == 0 {
		t.Error("no page has an example configuration")
	}
}
