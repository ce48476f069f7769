package witness_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"quorate/witness"
)

// scenarioLogs returns the log of each scenario; they seed the fuzzers.
func scenarioLogs(t testing.TB) [][]witness.Entry {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	var logs [][]witness.Entry
	for _, file := range files {
		script, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t)
		w.run(string(script))
		if len(w.log) > 0 {
			logs = append(logs, w.log)
		}
	}
	return logs
}

// FuzzApply decodes a stream of commands and applies what can be decoded, with
// the leader's decision after each. An entry that panics would stop every
// witness at the same place, so nothing that decodes may. It also compares
// with a witness that is restored from a snapshot on the way.
func FuzzApply(f *testing.F) {
	for _, log := range scenarioLogs(f) {
		f.Add(encoded(f, log), uint8(len(log)/2))
	}
	f.Fuzz(func(t *testing.T, stream []byte, cut uint8) {
		s, other := witness.New(), witness.New()
		dec := json.NewDecoder(bytes.NewReader(stream))
		for i := uint64(1); i < 120; i++ {
			var raw json.RawMessage
			if dec.Decode(&raw) != nil {
				break
			}
			cmd, stamp, err := witness.DecodeCommand(raw)
			if err != nil {
				continue
			}
			e := witness.Entry{Index: i, Term: 1 + i/40, Stamp: stamp, Cmd: cmd}
			next, _, _ := s.Apply(e)
			for _, v := range witness.Violations(s, next) {
				t.Fatalf("entry %d, %s: invariant broken: %s", i, raw, v)
			}
			if uint64(cut) == i {
				other = restored(t, other)
			}
			other, _, _ = other.Apply(e)
			s = next
			judgeAll(s)
		}
		if s.Digest() != other.Digest() || s.Hash() != other.Hash() {
			t.Fatalf("a witness that was restored before entry %d differs", cut)
		}
	})
}

// judgeAll asks for every decision and explanation; none may panic.
func judgeAll(s *witness.State) {
	v := witness.View{State: s, Now: s.Now, Voters: []string{"w1", "w2", "w3"}, Alive: []string{"w1", "w2"}}
	if p := witness.Decide(v); p != nil {
		_, _, _ = s.Apply(witness.Entry{Index: s.Index + 1, Term: s.Term, Cmd: witness.PlanCmd{Plan: *p}})
	}
	for name := range s.Clusters() {
		witness.Judge(v, name)
	}
	for _, r := range s.Requests() {
		witness.JudgeRequest(v, r)
	}
}

func encoded(t testing.TB, log []witness.Entry) []byte {
	t.Helper()
	var out []byte
	for _, e := range log {
		raw, err := witness.EncodeCommand(e.Cmd, e.Stamp)
		if err != nil {
			t.Fatal(err)
		}
		out = append(append(out, raw...), '\n')
	}
	return out
}

// FuzzUnmarshal: a state that is accepted must be usable and must come back
// unchanged from a second round.
func FuzzUnmarshal(f *testing.F) {
	for _, log := range scenarioLogs(f) {
		s := witness.New()
		for _, e := range log {
			s, _, _ = s.Apply(e)
		}
		raw, err := s.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := witness.Unmarshal(raw)
		if err != nil {
			return
		}
		again, err := s.Marshal()
		if err != nil {
			t.Fatalf("a state that was read cannot be written: %v", err)
		}
		back, err := witness.Unmarshal(again)
		if err != nil {
			t.Fatalf("a state that was written cannot be read: %v", err)
		}
		if back.Hash() != s.Hash() {
			t.Fatal("the hash changes by writing and reading")
		}
	})
}

// FuzzDecodeCommand: any bytes give a command or an error.
func FuzzDecodeCommand(f *testing.F) {
	for _, log := range scenarioLogs(f) {
		for _, e := range log {
			raw, err := witness.EncodeCommand(e.Cmd, e.Stamp)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		cmd, stamp, err := witness.DecodeCommand(raw)
		if err != nil {
			return
		}
		if _, err := witness.EncodeCommand(cmd, stamp); err != nil {
			t.Fatalf("a command that was decoded cannot be encoded: %v", err)
		}
	})
}
