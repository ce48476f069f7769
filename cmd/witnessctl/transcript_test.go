package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
)

var update = flag.Bool("update", false, "rewrite the transcripts; commit the change only if you can explain it")

// TestTranscripts runs testdata/*.txt again and compares. In them
//
//	## …           is a comment
//	$ witnessctl … is a command; $UP, $ALONE and $DOWN are witnesses that have a
//	               quorum, have none, or do not answer; < TEXT is its input
//	@ …            makes something happen to the witnesses; see event below
//
// and all other lines are what the command printed, errors after "!", and its
// exit code unless that is 0. Regenerate with -update.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(raw))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(raw) {
				t.Errorf("got:\n%s\nwant:\n%s", got, raw)
			}
		})
	}
}

var volatile = regexp.MustCompile(`(state |"digest": "|digest: "?)[0-9a-f]{16}`)

func replay(t *testing.T, script string) string {
	tr := newTrio(t)
	t.Setenv("QUORATE_SERVER", tr.urls["UP"])
	var out strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "## "):
			fmt.Fprintln(&out, line)
		case strings.HasPrefix(line, "@ "):
			fmt.Fprintln(&out, line)
			tr.event(strings.Fields(line)[1:])
			tr.work()
		case strings.HasPrefix(line, "$ witnessctl"):
			if out.Len() > 0 && !strings.HasSuffix(out.String(), "\n\n") {
				fmt.Fprintln(&out)
			}
			fmt.Fprintln(&out, line)
			out.WriteString(tr.command(strings.TrimPrefix(line, "$ witnessctl")))
		}
	}
	return out.String()
}

func (tr *trio) command(line string) string {
	line, input, _ := strings.Cut(line, " < ")
	args := words(line)
	for i := range args {
		for name, url := range tr.urls {
			args[i] = strings.ReplaceAll(args[i], "$"+name, url)
		}
	}
	var stdout, stderr, out bytes.Buffer
	code := 0
	tr.while(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		code = Run(ctx, args, strings.NewReader(strings.ReplaceAll(input, `\n`, "\n")), &stdout, &stderr)
	})
	out.Write(stdout.Bytes())
	for line := range strings.Lines(stderr.String()) {
		out.WriteString("! " + line)
	}
	if code != 0 {
		fmt.Fprintf(&out, "[exit %d]\n", code)
	}
	text := volatile.ReplaceAllString(out.String(), "${1}…")
	for name, url := range tr.urls {
		text = strings.ReplaceAll(text, url, "$"+name)
		text = strings.ReplaceAll(text, strings.TrimPrefix(url, "http://"), "$"+name)
	}
	return text
}

// words splits a line at blanks; single quotes hold words together.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

// event makes something happen.
func (tr *trio) event(what []string) {
	tr.t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	switch strings.Join(what, " ") {
	case "bmc silent":
		tr.silent = true
	case "bmc answers":
		tr.silent = false
	case "leader asleep":
		tr.asleep = true
	case "patroni disobeys":
		tr.patroni = false
	case "pg1 dies":
		tr.apply(witness.LeaseExpire{IDs: []int64{1}, Term: 3})
	case "pg2 takes over":
		tr.grant("pg2", 2)
	case "a minute passes":
		tr.mem.Advance(time.Minute)
	case "w2 and w3 die":
		tr.mem.Describe(func(n *httpapi.NodeInfo) { n.Members[1].Alive, n.Members[2].Alive = false, false })
	case "policy two-person":
		cfg := *tr.mem.State().Config
		cfg.Clusters = append([]witness.ClusterSpec(nil), cfg.Clusters...)
		cfg.Clusters[0].Approval = witness.ApprovalTwoPerson
		tr.apply(witness.Configure{Config: cfg, By: "anna"})
	case "w1 loses bmc1":
		tr.apply(witness.Observe{Witness: "w2", Items: []witness.Observation{{Host: "db1", Kind: witness.SignalFence, Device: "bmc1"}}})
		tr.apply(witness.Observe{Witness: "w1", Items: []witness.Observation{{Host: "db1", Kind: witness.SignalFence, Device: "bmc1", Down: true, Detail: "401: the password was changed"}}})
	case "w2 loses bmc1":
		tr.apply(witness.Observe{Witness: "w2", Items: []witness.Observation{{Host: "db1", Kind: witness.SignalFence, Device: "bmc1", Down: true, Detail: "no route"}}})
	case "w2 dies":
		tr.mem.Describe(func(n *httpapi.NodeInfo) { n.Members[1].Alive = false })
	default:
		tr.t.Fatalf("no such event: %q", what)
	}
}
