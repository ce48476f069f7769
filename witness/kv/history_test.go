package kv_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"quorate/witness/kv"
)

// history shows the events since rev as rev:put(key) with <prev in front.
func history(t *testing.T, s *kv.Store, from int64, lo, hi string) string {
	t.Helper()
	var b strings.Builder
	err := s.Events(from, lo, hi, func(rev int64, evs []kv.Event) bool {
		fmt.Fprintf(&b, "%d:", rev)
		for _, ev := range evs {
			if ev.KV.ModRevision != rev {
				t.Fatalf("event of revision %d under %d", ev.KV.ModRevision, rev)
			}
			fmt.Fprintf(&b, "%s", map[kv.EventType]string{kv.Put: "+", kv.Delete: "-"}[ev.Type])
			b.Write(ev.KV.Key)
			if ev.Prev != nil {
				fmt.Fprintf(&b, "<%s", ev.Prev.Value)
			}
		}
		b.WriteByte(' ')
		return true
	})
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

func sample(t *testing.T) *world {
	w := newWorld(t)
	w.put("a", "1", 0) // 2
	w.put("b", "2", 0) // 3
	w.put("a", "3", 0) // 4
	w.del("a", "c")    // 5
	w.put("a", "4", 0) // 6
	return w
}

func TestEventsInOrder(t *testing.T) {
	w := sample(t)
	for _, c := range []struct {
		from         int64
		lo, hi, want string
	}{
		{0, "a", "\x00", "2:+a 3:+b 4:+a<1 5:-a<3-b<2 6:+a"},
		{4, "a", "", "4:+a<1 5:-a<3 6:+a"},
		{0, "b", "c", "3:+b 5:-b<2"},
		{7, "a", "\x00", ""},
		{99, "a", "\x00", ""},
		{-5, "z", "", kv.ErrCompacted.Error()},
	} {
		if got := history(t, w.s, c.from, c.lo, c.hi); got != c.want {
			t.Errorf("from %d, %q to %q: %s, want %s", c.from, c.lo, c.hi, got, c.want)
		}
	}
}

func TestCompaction(t *testing.T) {
	w := sample(t)
	size := w.s.Size()
	for _, c := range []struct {
		rev  int64
		want error
	}{{7, kv.ErrFutureRevision}, {0, kv.ErrCompacted}} {
		if _, err := w.s.Compact(c.rev); !errors.Is(err, c.want) {
			t.Fatalf("compact to %d: %v", c.rev, err)
		}
	}
	old := w.s
	next, err := w.s.Compact(5)
	if err != nil {
		t.Fatal(err)
	}
	w.s = next
	if w.s.CompactRevision() != 5 || w.s.Size() >= size || w.s.Digest() == old.Digest() {
		t.Fatalf("compacted to %d, size %d of %d", w.s.CompactRevision(), w.s.Size(), size)
	}
	if _, err := w.s.Compact(5); !errors.Is(err, kv.ErrCompacted) {
		t.Fatalf("compacted twice: %v", err)
	}
	// The deletions of revision 5 itself are kept, without their past (etcd#18089, etcd#19179).
	if got := history(t, w.s, 5, "a", "\x00"); got != "5:-a-b 6:+a" {
		t.Fatalf("history %s", got)
	}
	if got := history(t, w.s, 4, "a", "\x00"); got != kv.ErrCompacted.Error() {
		t.Fatalf("history of a compacted revision: %s", got)
	}
	w.want("", kv.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: 5})
	w.want("a=4@6/6/1/0", all)
	if got := history(t, old, 2, "a", ""); got != "2:+a 4:+a<1 5:-a<3 6:+a" {
		t.Fatalf("compaction changed the older state: %s", got)
	}
}

func TestReadsAtARevision(t *testing.T) {
	w := sample(t)
	at := func(rev int64) kv.RangeRequest {
		return kv.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev}
	}
	w.want("", at(1))
	w.want("a=1@2/2/1/0", at(2))
	w.want("a=1@2/2/1/0 b=2@3/3/1/0", at(3))
	w.want("a=3@2/4/2/0 b=2@3/3/1/0", at(4))
	w.want("", at(5))
	w.want("a=4@6/6/1/0", at(6))
	w.want("a=4@6/6/1/0", at(-1))
	if _, err := w.s.Range(at(7)); !errors.Is(err, kv.ErrFutureRevision) {
		t.Fatalf("future revision: %v", err)
	}
	w.s, _ = w.s.Compact(4)
	w.want("a=3@2/4/2/0 b=2@3/3/1/0", at(4))
	if _, err := w.s.Range(at(3)); !errors.Is(err, kv.ErrCompacted) {
		t.Fatalf("compacted revision: %v", err)
	}
	// Inside a transaction an old revision is read as it was, and checked before anything is written.
	r3, r4 := at(3), at(4)
	put := kv.Op{Put: &kv.PutRequest{Key: []byte("q")}}
	w.wantTxnErr(kv.ErrCompacted, kv.TxnRequest{Success: []kv.Op{put, {Range: &r3}}})
	res, _ := w.txn(kv.TxnRequest{Success: []kv.Op{put, {Range: &r4}}})
	if got := res.Responses[1].Range; dump(got.KVs) != "a=3@2/4/2/0 b=2@3/3/1/0" || got.Revision != 7 {
		t.Fatalf("read at 4 in a transaction: %s at %d", dump(got.KVs), got.Revision)
	}
}

func TestRangeOptions(t *testing.T) {
	w := newWorld(t)
	for _, p := range []string{"a=3", "b=1", "c=2", "b=1", "d=0"} {
		w.put(p[:1], p[2:], 0)
	}
	keys := func(r kv.RangeRequest) string {
		r.Key, r.RangeEnd = []byte{0}, []byte{0}
		res, err := w.s.Range(r)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, k := range res.KVs {
			b.Write(k.Key)
		}
		return fmt.Sprintf("%s %d %v", b.String(), res.Count, res.More)
	}
	for want, r := range map[string]kv.RangeRequest{
		"abcd 4 false": {},
		"ab 4 true":    {Limit: 2},
		" 4 false":     {CountOnly: true},
		"dcba 4 false": {SortOrder: kv.SortDescend},
		"dc 4 true":    {SortOrder: kv.SortDescend, Limit: 2},
		"acdb 4 false": {SortTarget: kv.SortByVersion},
		"bacd 4 false": {SortTarget: kv.SortByVersion, SortOrder: kv.SortDescend},
		"b 4 true":     {SortTarget: kv.SortByValue, Limit: 1}, // etcd sorts the first two only
		"d 4 true":     {SortTarget: kv.SortByValue, SortOrder: kv.SortAscend, Limit: 1},
		"acb 4 true":   {SortTarget: kv.SortByMod, SortOrder: kv.SortAscend, Limit: 3},
		"dbca 4 false": {SortTarget: kv.SortByValue, SortOrder: kv.SortAscend},
		"cbd 4 false":  {MinCreateRevision: 3, SortTarget: kv.SortByMod},
		"ac 4 false":   {MaxModRevision: 4},
		"d 4 false":    {MinModRevision: 6},
		"abc 4 false":  {MaxCreateRevision: 4},
	} {
		if got := keys(r); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
	res, _ := w.s.Range(kv.RangeRequest{Key: []byte("a"), KeysOnly: true})
	if res.KVs[0].Value != nil || string(w.s.Get("a").Value) != "3" {
		t.Error("keys_only shows a value, or removed it from the store")
	}
}

func TestPrefixEnd(t *testing.T) {
	for prefix, want := range map[string]string{"a": "b", "a\xff": "b", "\xff\xff": "\x00", "": "\x00", "/service/x/": "/service/x0"} {
		if got := kv.PrefixEnd(prefix); got != want {
			t.Errorf("%q: %q, want %q", prefix, got, want)
		}
	}
}
