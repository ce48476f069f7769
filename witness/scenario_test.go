package witness_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"quorate/witness"
)

// The scenarios in testdata/*.txt are the readable specification of Apply and
// Decide. Text at the beginning of a line is an input, indented text is what
// the state machine answers.
//
// `go test ./witness -run TestScenarios -update` writes the answers anew.
// Do so only when you can explain every changed line from the change that you
// made on purpose; a changed line that you cannot explain is a bug.
var update = flag.Bool("update", false, "rewrite the answers in testdata/*.txt; see scenario_test.go for when you may")

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			got := w.run(string(want))
			w.checkRestores()
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s: the answers changed; if you can explain each line, run with -update\n%s", file, firstDifference(string(want), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\n want %s\n got  %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(w), len(g))
}

// world is one run of a scenario.
type world struct {
	t       testing.TB
	s       *witness.State
	stamp   witness.Stamp
	index   uint64
	term    uint64
	voters  []string
	alive   []string
	saved   *witness.Plan // what `decide hold` came to
	log     []witness.Entry
	out     strings.Builder
	summary string
	devices map[string]qdevice // of corosync clusters
	conns   uint64
}

func newWorld(t testing.TB) *world {
	all := []string{"w1", "w2", "w3"}
	return &world{t: t, s: witness.New(), term: 1, voters: all, alive: all, stamp: witness.Stamp{Wall: 1_800_000_000_000}}
}

// run carries out a script and returns it with fresh answers.
func (w *world) run(script string) string {
	lines := strings.Split(strings.TrimRight(script, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, "    "):
			continue // an old answer
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
			w.out.WriteString(line + "\n")
			continue
		}
		w.out.WriteString(line + "\n")
		var body []string
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "|") {
			i++
			w.out.WriteString(lines[i] + "\n")
			body = append(body, lines[i][1:])
		}
		args := words(line)
		do, ok := inputs[args[0]]
		if !ok {
			w.t.Fatalf("line %d: there is no input %q", i+1, args[0])
		}
		do(w, input{args: args[1:], body: strings.Join(body, "\n")})
	}
	return w.out.String()
}

func (w *world) say(format string, args ...any) {
	fmt.Fprintf(&w.out, "    "+format+"\n", args...)
}

// apply puts a command into the log, the way it travels in real life: encoded.
func (w *world) apply(cmd witness.Command) witness.Result {
	w.t.Helper()
	raw, err := witness.EncodeCommand(cmd, w.stamp)
	if err != nil {
		w.t.Fatal(err)
	}
	cmd, stamp, err := witness.DecodeCommand(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	w.index++
	e := witness.Entry{Index: w.index, Term: w.term, Stamp: stamp, Cmd: cmd}
	w.log = append(w.log, e)
	next, res, evs := w.s.Apply(e)
	for _, v := range witness.Violations(w.s, next) {
		w.t.Errorf("entry %d: invariant broken: %s", w.index, v)
	}
	w.s = next
	if res.Err != nil {
		w.say("error %s: %s", res.Err.Code, res.Err.Error())
	}
	if res.Txn != nil && !res.Txn.Succeeded {
		w.say("compare failed")
	}
	for _, ev := range evs {
		w.say("%s %s: %s", strings.ToUpper(ev.Level), ev.Kind, ev.Text)
	}
	w.sayState()
	return res
}

// sayState tells where the clusters stand, when that has changed.
func (w *world) sayState() {
	var b strings.Builder
	for name, c := range w.s.Clusters() {
		holder := c.Holder
		if holder == "" {
			holder = "nobody"
		}
		fmt.Fprintf(&b, "= %s: holder %s, epoch %d", name, holder, c.Epoch)
		if g := c.Guard; g != nil {
			fmt.Fprintf(&b, ", guarded since %s", g.Since)
			if g.Action != "" {
				b.WriteString(", fence pending")
			}
			if g.Held != "" {
				b.WriteString(", held by " + g.Held)
			}
		}
		for _, m := range c.Spec.Members {
			if w.s.Host(m.Host).Fenced {
				b.WriteString(", " + m.Host + " is fenced")
			}
		}
		b.WriteString("; keys:")
		prefix := c.Spec.Prefix()
		for _, key := range w.keys() {
			if rest, ok := strings.CutPrefix(key, prefix); ok {
				b.WriteString(" " + rest)
			}
		}
		b.WriteString("\n")
	}
	if b.String() != w.summary {
		w.summary = b.String()
		for _, line := range strings.Split(strings.TrimRight(w.summary, "\n"), "\n") {
			w.say("%s", line)
		}
	}
}

// checkRestores replays the log of the scenario and restores the state from a
// snapshot at every place: all replicas must end alike.
func (w *world) checkRestores() {
	w.t.Helper()
	want := w.s.Hash()
	for cut := range w.log {
		s := witness.New()
		for i, e := range w.log {
			if i == cut {
				s = restored(w.t, s)
			}
			s, _, _ = s.Apply(e)
		}
		if s.Digest() != w.s.Digest() || s.Hash() != want {
			w.t.Fatalf("a witness restored from a snapshot before entry %d ends in another state", cut+1)
		}
	}
}

func restored(t testing.TB, s *witness.State) *witness.State {
	t.Helper()
	raw, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := witness.Unmarshal(raw)
	if err != nil {
		t.Fatalf("snapshot does not restore: %v", err)
	}
	again, err := back.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, again) {
		t.Fatalf("snapshot changes when it is restored:\n%s\n%s", raw, again)
	}
	return back
}

// words splits a line at spaces, except inside double quotes; \xff and the like
// stand for bytes.
func words(line string) []string {
	var out []string
	quoted, some, cur := false, false, ""
	for _, r := range line {
		switch {
		case r == '"':
			quoted, some = !quoted, true
		case r == ' ' && !quoted:
			if cur != "" || some {
				out = append(out, cur)
			}
			some, cur = false, ""
		default:
			cur += string(r)
		}
	}
	if cur != "" {
		out = append(out, cur)
	}
	for i, w := range out {
		if raw, err := strconv.Unquote(`"` + w + `"`); err == nil && strings.Contains(w, `\x`) {
			out[i] = raw
		}
	}
	return out
}
