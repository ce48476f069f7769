// Package house checks the rules of the house: who may import whom, and how
// long a file may be.
package house

import (
	"bufio"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "quorate"

// rule says what the packages below a folder may import of the module, and
// whether they may import anything but the standard library besides.
type rule struct {
	folder string
	allow  []string // folders of the module
	pure   bool     // nothing else but the standard library
	forbid []string // import path prefixes of others
}

// The longest matching folder wins.
var rules = []rule{
	{folder: "witness", allow: []string{"witness/kv", "witness/vote"}, pure: true},
	{folder: "witness/kv", pure: true},
	{folder: "witness/vote", pure: true},
	{folder: "witness/sim", allow: []string{"witness", "witness/kv", "witness/vote", "witness/sim"}, pure: true},
	{folder: "witness/node", allow: []string{"witness", "witness/kv", "witness/node"}},
	{folder: "witness/reconcile", allow: []string{"witness", "witness/kv", "fencing"}, forbid: raftish},
	{folder: "witness/probe", allow: []string{"witness", "witness/kv"}, forbid: raftish},
	{folder: "witness/seal", allow: []string{"witness"}, forbid: raftish},
	{folder: "witness/manifest", allow: []string{"witness"}, forbid: raftish},
	{folder: "witness/report", allow: []string{"witness"}, forbid: raftish},
	{folder: "witness/etcdapi", allow: []string{"witness", "witness/kv"}, forbid: raftish},
	{folder: "witness/qnetd", allow: []string{"witness", "witness/vote", "witness/qnetd/wire"}, forbid: raftish},
	{folder: "witness/qnetd/wire", pure: true},
	{folder: "witness/qnetd/proxy", allow: []string{"witness/qnetd/wire", "witness/qnetd/client"}, pure: true},
	{folder: "witness/qnetd/authority", allow: []string{"witness/qnetd/wire"}, pure: true},
	{folder: "witness/qnetd/client", allow: []string{"witness/qnetd/wire"}, pure: true},
	{folder: "witness/httpapi", allow: []string{"witness", "witness/kv", "witness/vote", "witness/manifest", "witness/report"}, forbid: raftish},
	{folder: "fencing", forbid: raftish},
	{folder: "fencing/redfish", allow: []string{"fencing"}, forbid: raftish},
	{folder: "fencing/pdu", allow: []string{"fencing"}, forbid: raftish},
	{folder: "fencing/ipmi", allow: []string{"fencing"}, forbid: raftish},
	{folder: "fencing/agent", allow: []string{"fencing"}, forbid: raftish},
	{folder: "fencing/relay", allow: []string{"fencing"}, forbid: raftish},
	{folder: "fencing/watchdog", allow: []string{"fencing"}, forbid: raftish},
	{folder: "fencing/manual", allow: []string{"fencing"}, forbid: raftish},
	{folder: "fencing/simulated", allow: []string{"fencing"}, forbid: raftish},
	{folder: "dnsfailover", allow: []string{"dnsfailover"}, forbid: raftish},
	{folder: "hw"},
	{folder: "image"},
	{folder: "cmd", allow: []string{"witness", "fencing", "dnsfailover", "hw", "image", "cmd"}},
	{folder: "test", allow: []string{"witness", "fencing", "dnsfailover", "test", "cmd"}},
}

var raftish = []string{"github.com/hashicorp/raft"}

func TestImports(t *testing.T) {
	files := goFiles(t)
	seen := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		folder := filepath.ToSlash(filepath.Dir(file))
		r := ruleFor(folder)
		if r == nil {
			t.Errorf("%s: no import rule covers its folder; the top-level folders are fixed", file)
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", file), nil, parser.ImportsOnly)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		seen++
		for _, imp := range parsed.Imports {
			if why := r.refuses(folder, strings.Trim(imp.Path.Value, `"`)); why != "" {
				t.Errorf("%s imports %s: %s", file, imp.Path.Value, why)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d files seen: this test looks in the wrong place", seen)
	}
}

func ruleFor(folder string) *rule {
	var best *rule
	for i := range rules {
		r := &rules[i]
		if folder != r.folder && !strings.HasPrefix(folder, r.folder+"/") {
			continue
		}
		if best == nil || len(r.folder) > len(best.folder) {
			best = r
		}
	}
	return best
}

func (r *rule) refuses(folder, path string) string {
	own, ours := strings.CutPrefix(path, module+"/")
	if !ours {
		if r.pure && strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
			return r.folder + " is pure: the standard library only"
		}
		for _, f := range r.forbid {
			if strings.HasPrefix(path, f) {
				return r.folder + " must not know " + f
			}
		}
		return ""
	}
	if own == folder {
		return ""
	}
	for _, a := range r.allow {
		deep := r.folder == "cmd" || r.folder == "test" || a == r.folder
		if own == a || deep && strings.HasPrefix(own, a+"/") {
			return ""
		}
	}
	return "imports point down, and adapters do not import each other"
}

// TestFileLength keeps files short enough to be read in one go.
func TestFileLength(t *testing.T) {
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := os.Open(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for sc := bufio.NewScanner(f); sc.Scan(); {
			lines++
		}
		_ = f.Close()
		if lines > 500 {
			t.Errorf("%s has %d lines; the limit is 500: there is a second thing in it", file, lines)
		}
	}
}

func goFiles(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel("../..", path)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || rel == "out" || rel == "bin" || rel == "vendor") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
