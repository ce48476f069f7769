//go:build integration

package etcd

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// kind of an operation on one key.
type kind int

const (
	read kind = iota
	put
	remove
	swap // put if the value is Expect; otherwise read
)

// operation is one call of one client as far as it concerns one key. Every put
// and swap writes a value of its own, and every answer carries the value that
// was there before, so that a write without an answer took effect only if
// somebody met its value.
type operation struct {
	Client int
	Kind   kind
	Key    string
	Expect string // of a swap; "" means that there is no such key
	Value  string // written

	Call, Return int64 // ns since the start; Return is never for an unknown outcome
	Unknown      bool
	Before       string // value before the operation (for a read: the value); "" for none
	Swapped      bool
	Revision     int64 // of the answer
	Mod          int64 // revision at which Before was written, 0 for none
}

const never = math.MaxInt64

// wrote says whether a known operation changed its key.
func (o *operation) wrote() bool {
	switch o.Kind {
	case put:
		return true
	case remove:
		return o.Before != ""
	case swap:
		return o.Swapped
	}
	return false
}

// history collects operations.
type history struct {
	start time.Time

	mu  sync.Mutex
	ops []operation
}

func (h *history) now() int64 { return int64(time.Since(h.start)) }

func (h *history) add(ops ...operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, ops...)
}

// step is the model of one key: its state is the value, "" for none.
func step(state, input, _ any) (bool, any) {
	value, o := state.(string), input.(operation)
	if o.Unknown {
		switch {
		case o.Kind == remove:
			return true, ""
		case o.Kind == swap && value != o.Expect:
			return true, value
		}
		return true, o.Value
	}
	if value != o.Before {
		return false, state
	}
	switch {
	case o.Kind == put, o.Kind == swap && o.Swapped:
		return o.Kind == put || o.Before == o.Expect, o.Value
	case o.Kind == remove:
		return true, ""
	case o.Kind == swap:
		return o.Before != o.Expect, value
	}
	return true, value
}

// settle drops the writes of unknown outcome that nobody met, which is the same
// as never having happened, and ends the others at the first answer that shows
// them. What stays open is removals only: the search is exponential in them.
func settle(ops []operation) []operation {
	met := map[string]int64{}
	for _, o := range ops {
		if o.Unknown || o.Before == "" {
			continue
		}
		if at, ok := met[o.Before]; !ok || o.Return < at {
			met[o.Before] = o.Return
		}
	}
	var out []operation
	for _, o := range ops {
		if o.Unknown && o.Kind != remove {
			at, ok := met[o.Value]
			if !ok {
				continue
			}
			o.Return = max(at, o.Call)
		}
		out = append(out, o)
	}
	return out
}

// linearizable asks porcupine, key by key.
func linearizable(ops []operation) porcupine.CheckResult {
	byKey := map[string][]porcupine.Operation{}
	for _, o := range settle(ops) {
		byKey[o.Key] = append(byKey[o.Key], porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Return: o.Return})
	}
	model := porcupine.Model{Init: func() any { return "" }, Step: step}
	for _, one := range byKey {
		if r := porcupine.CheckOperationsTimeout(model, one, 2*time.Minute); r != porcupine.Ok {
			return r
		}
	}
	return porcupine.Ok
}

// checkRevisions checks the order that the store itself claims: revisions never
// run back in real time, a write has a revision of its own, and what a revision
// shows of a key is its last write at or below it. It finds across keys what
// porcupine cannot, which looks at one key at a time.
func checkRevisions(ops []operation) error {
	byReturn, byCall := known(ops), known(ops)
	slices.SortFunc(byReturn, func(a, b operation) int { return cmp.Compare(a.Return, b.Return) })
	slices.SortFunc(byCall, func(a, b operation) int { return cmp.Compare(a.Call, b.Call) })
	var newest operation
	next := 0
	for _, o := range byCall {
		for ; next < len(byReturn) && byReturn[next].Return < o.Call; next++ {
			if byReturn[next].Revision > newest.Revision {
				newest = byReturn[next]
			}
		}
		if o.Revision < newest.Revision || o.Revision == newest.Revision && o.wrote() {
			return fmt.Errorf("revision %d after revision %d had been answered:\n%+v\n%+v", o.Revision, newest.Revision, newest, o)
		}
	}
	return checkContents(byCall, ops)
}

// checkContents compares every answer with the writes that are known.
func checkContents(answers, all []operation) error {
	type write struct {
		rev   int64
		value string
	}
	writes, lost, author := map[string][]write{}, map[string]bool{}, map[string]int64{}
	for _, o := range all {
		if o.Unknown {
			lost[o.Key] = lost[o.Key] || o.Kind == remove
			continue
		}
		if o.Mod > 0 {
			writes[o.Key] = append(writes[o.Key], write{o.Mod, o.Before})
		}
		if o.wrote() {
			writes[o.Key] = append(writes[o.Key], write{o.Revision, o.Value})
			author[o.Value] = o.Revision
		}
	}
	for key := range writes {
		slices.SortFunc(writes[key], func(a, b write) int { return cmp.Compare(a.rev, b.rev) })
		for i, w := range writes[key][1:] {
			if p := writes[key][i]; p.rev == w.rev && p.value != w.value {
				return fmt.Errorf("%s has two values at revision %d: %q and %q", key, w.rev, p.value, w.value)
			}
		}
	}
	for _, o := range answers {
		at := o.Revision
		if o.wrote() {
			at-- // Before is what its own write replaced
		}
		list := writes[o.Key]
		i, _ := slices.BinarySearchFunc(list, at+1, func(w write, rev int64) int { return cmp.Compare(w.rev, rev) })
		switch {
		case o.Before != "" && i > 0 && list[i-1].rev != o.Mod:
			return fmt.Errorf("%+v: there was a write at %d since", o, list[i-1].rev)
		case o.Before != "" && author[o.Before] != 0 && author[o.Before] != o.Mod:
			return fmt.Errorf("%+v: that value was written at %d", o, author[o.Before])
		case o.Before == "" && i > 0 && list[i-1].value != "" && !lost[o.Key]:
			return fmt.Errorf("%+v: the key is missing, but was written at %d", o, list[i-1].rev)
		}
	}
	return nil
}

func known(ops []operation) []operation {
	return slices.DeleteFunc(slices.Clone(ops), func(o operation) bool { return o.Unknown })
}

// TestChecksBite feeds both checks with small histories that no correct store
// produces. Without it a check that accepts everything would look like success.
func TestChecksBite(t *testing.T) {
	w := func(kind kind, key, before string, mod int64, value string, call, ret, rev int64) operation {
		return operation{Kind: kind, Key: key, Before: before, Mod: mod, Value: value, Call: call, Return: ret, Revision: rev, Swapped: true, Expect: before}
	}
	good := []operation{
		w(put, "k", "", 0, "a", 0, 10, 2), w(put, "k", "a", 2, "b", 20, 30, 3), w(read, "k", "b", 3, "", 40, 50, 3),
		w(swap, "k", "b", 3, "c", 60, 70, 4), w(remove, "k", "c", 4, "", 80, 90, 5), w(read, "k", "", 0, "", 100, 110, 5),
		{Kind: put, Key: "k", Value: "x", Call: 112, Return: never, Unknown: true},
		w(read, "k", "x", 6, "", 120, 130, 6),
		{Kind: put, Key: "k", Value: "never-seen", Call: 131, Return: never, Unknown: true},
	}
	if r := linearizable(good); r != porcupine.Ok {
		t.Errorf("a right history is called %s", r)
	}
	if err := checkRevisions(good); err != nil {
		t.Errorf("a right history: %v", err)
	}
	for name, change := range map[string]func([]operation) []operation{
		"stale read":   func(o []operation) []operation { o[2].Before, o[2].Mod, o[2].Revision = "a", 2, 2; return o },
		"lost write":   func(o []operation) []operation { o[2].Before, o[2].Mod = "a", 2; return o },
		"swap without": func(o []operation) []operation { o[3].Before, o[3].Expect, o[3].Mod = "a", "a", 2; return o },
		"undead":       func(o []operation) []operation { o[5].Before, o[5].Mod = "c", 4; return o },
		"from the future": func(o []operation) []operation {
			o[6].Call, o[6].Return = 125, never
			o[6].Unknown = false
			o[6].Revision = 6
			o[7].Return = 121
			return o
		},
	} {
		bad := change(slices.Clone(good))
		if r := linearizable(bad); r != porcupine.Illegal {
			t.Errorf("%s: porcupine says %s", name, r)
		}
		if err := checkRevisions(bad); err == nil {
			t.Errorf("%s: the revisions are called right", name)
		}
	}
}
