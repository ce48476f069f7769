package kv_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"quorate/witness/kv"
)

// randomStore makes a store that has seen a bit of everything.
func randomStore(r *rand.Rand, steps int) *kv.Store {
	s := kv.New()
	key := func() []byte { return fmt.Appendf(nil, "k%02d", r.IntN(20)) }
	for range steps {
		lease := int64(r.IntN(4))
		switch r.IntN(12) {
		case 0:
			s, _ = s.Grant(lease, 10)
		case 1:
			s, _, _ = s.Revoke(lease)
		case 2:
			s, _ = s.Kill(lease)
		case 3:
			s, _ = s.Revive(lease)
		case 4:
			s, _, _, _ = s.Txn(kv.DeleteTxn(kv.DeleteRequest{Key: key(), RangeEnd: key()}))
		case 5:
			if r.IntN(10) == 0 {
				s, _ = s.Compact(r.Int64N(s.Revision() + 1))
			}
		default:
			s, _, _, _ = s.Txn(kv.TxnRequest{Success: []kv.Op{
				{Put: &kv.PutRequest{Key: key(), Value: key(), Lease: lease}},
				{Put: &kv.PutRequest{Key: append(key(), 'x')}},
			}})
		}
	}
	return s
}

// A restored store must be the same value: not only look the same now, but answer
// every later change with the same bytes.
func TestSnapshotRoundTrip(t *testing.T) {
	for n := range uint64(60) {
		r := rand.New(rand.NewPCG(n, 1))
		s := randomStore(r, 400)
		first, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		back := kv.New()
		if err := json.Unmarshal(first, back); err != nil {
			t.Fatalf("seed %d: %v", n, err)
		}
		if second, _ := json.Marshal(back); !bytes.Equal(first, second) {
			t.Fatalf("seed %d:\n%s\n%s", n, first, second)
		}
		if back.Size() != s.Size() || back.Digest() != s.Digest() || back.Len() != s.Len() {
			t.Fatalf("seed %d: size %d and %d", n, s.Size(), back.Size())
		}
		from := max(s.CompactRevision(), 1)
		if a, b := history(t, s, from, "\x00", "\x00"), history(t, back, from, "\x00", "\x00"); a != b {
			t.Fatalf("seed %d: history\n%s\n%s", n, a, b)
		}
		for l := range s.Leases() {
			b, ok := back.Lease(l.ID)
			if !ok || b.Epoch != l.Epoch || b.Dead != l.Dead || !reflect.DeepEqual(b.Keys(), l.Keys()) {
				t.Fatalf("seed %d: lease %+v became %+v", n, l, b)
			}
		}
		put := kv.PutTxn(kv.PutRequest{Key: []byte("k01"), Value: []byte("later")})
		s1, r1, e1, _ := s.Txn(put)
		s2, r2, e2, _ := back.Txn(put)
		if !reflect.DeepEqual(r1, r2) || !reflect.DeepEqual(e1, e2) || s1.Digest() != s2.Digest() {
			t.Fatalf("seed %d: stores part after the restore", n)
		}
	}
}

func TestSizeIsWhatIsThere(t *testing.T) {
	w := newWorld(t)
	empty := w.s.Size()
	w.grant(7)
	for i := range 100 {
		w.put("a", strings.Repeat("x", i), 7)
	}
	w.s, _, _ = w.s.Revoke(7)
	w.put("a", "", 0)
	w.del("a", "")
	w.s, _ = w.s.Compact(w.s.Revision())
	// One tombstone of one byte is left, at the compacted revision.
	if got := w.s.Size() - empty; got <= 0 || got > 400 {
		t.Fatalf("%d bytes are left of nothing", got)
	}
}

func TestDigestTellsHistoriesApart(t *testing.T) {
	seen := map[uint64]string{}
	note := func(name string, s *kv.Store) {
		if other, dup := seen[s.Digest()]; dup {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[s.Digest()] = name
	}
	w := newWorld(t)
	note("empty", w.s)
	for _, v := range []string{"", "1", "12345678", "123456789"} {
		w := newWorld(t)
		w.put("a", v, 0)
		note("put "+v, w.s)
		w.del("a", "")
		note("put and delete "+v, w.s)
	}
	w.grant(1)
	note("grant", w.s)
	s, _ := w.s.Kill(1)
	note("kill", s)
	s, _ = s.Revive(1)
	note("revive", s)
	s, _, _ = w.s.Revoke(1)
	note("revoke", s)
}

func TestDamagedSnapshots(t *testing.T) {
	w := newWorld(t)
	w.grant(7)
	w.put("a", "1", 7)
	w.put("b", "2", 0)
	w.put("a", "3", 0)
	w.s, _ = w.s.Compact(3)
	good, _ := json.Marshal(w.s)
	for name, change := range map[string][2]string{
		"format":            {`"format":1`, `"format":2`},
		"revision":          {`"revision":4`, `"revision":5`},
		"compacted":         {`"compacted":3`, `"compacted":2`},
		"negative":          {`"compacted":3`, `"compacted":-3`},
		"lease gone":        {`"leases":[{`, `"leases":[],"x":[{`},
		"lease epoch":       {`"epoch":1,"digest"`, `"epoch":0,"digest"`},
		"null key":          {`"keys":[`, `"keys":[null,`},
		"null event":        {`"boundary":[`, `"boundary":[null,`},
		"empty revision":    {`"log":[[`, `"log":[[],[`},
		"version":           {`"n":2`, `"n":3`},
		"type":              {`"log":[[{`, `"log":[[{"t":2,`},
		"delete with value": {`"log":[[{`, `"log":[[{"t":1,`},
		"unknown field":     {`{"format"`, `{"future":1,"format"`},
		"mod of boundary":   {`"m":3`, `"m":2`},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if bad == string(good) {
			t.Errorf("%s: %s is not in %s", name, change[0], good)
		}
		s := kv.New()
		if err := json.Unmarshal([]byte(bad), s); err == nil {
			t.Errorf("%s: taken: %s", name, bad)
		} else if s.Revision() != 1 || s.Len() != 0 {
			t.Errorf("%s: a refused snapshot changed the store", name)
		}
	}
	if err := json.Unmarshal(good, kv.New()); err != nil {
		t.Fatal(err)
	}
}

// Whatever UnmarshalJSON takes must be a store that works and that writes the same
// snapshot again after reading its own.
func FuzzUnmarshalJSON(f *testing.F) {
	for n := range uint64(4) {
		b, err := json.Marshal(randomStore(rand.New(rand.NewPCG(n, 2)), 30))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := kv.New()
		if s.UnmarshalJSON(data) != nil {
			return
		}
		first, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		back := kv.New()
		if err := json.Unmarshal(first, back); err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		if second, _ := json.Marshal(back); !bytes.Equal(first, second) {
			t.Fatalf("\n%s\n%s", first, second)
		}
		for l := range s.Leases() {
			s, _, _ = s.Revoke(l.ID)
		}
		s, _, _, _ = s.Txn(kv.DeleteTxn(kv.DeleteRequest{Key: []byte{0}, RangeEnd: []byte{0}}))
		if s.Len() != 0 {
			t.Fatal("keys are left after deleting all")
		}
	})
}
