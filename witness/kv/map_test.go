package kv

import (
	"flag"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

var seed = flag.Uint64("seed", 0, "seed of the random tests; 0 picks one and prints it")

func newRand(t *testing.T) *rand.Rand {
	n := *seed
	if n == 0 {
		n = rand.Uint64()
	}
	t.Logf("to repeat: -seed %d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// Every version of the map must stay what it was, sorted and balanced.
func TestMapAgainstGoMap(t *testing.T) {
	r := newRand(t)
	type version struct {
		m    Map[int, int]
		want map[int]int
	}
	v := version{want: map[int]int{}}
	var kept []version
	for step := range 4000 {
		k := r.IntN(300)
		want := maps.Clone(v.want)
		if r.IntN(3) == 0 {
			v.m = v.m.Delete(k)
			delete(want, k)
		} else {
			v.m = v.m.Set(k, step)
			want[k] = step
		}
		v.want = want
		checkBalance(t, v.m.root)
		if step%100 == 0 {
			kept = append(kept, v)
		}
	}
	for _, v := range kept {
		keys := slices.Sorted(maps.Keys(v.want))
		if got := maps.Collect(v.m.All()); !maps.Equal(got, v.want) || v.m.Len() != len(keys) {
			t.Fatalf("map of %d entries has changed under a later write", len(keys))
		}
		lo, hi := r.IntN(300), r.IntN(300)
		var inside, above, all []int
		for k := range v.m.Range(lo, hi) {
			inside = append(inside, k)
		}
		for k := range v.m.From(lo) {
			above = append(above, k)
		}
		for k := range v.m.All() {
			all = append(all, k)
		}
		i, _ := slices.BinarySearch(keys, lo)
		j, _ := slices.BinarySearch(keys, hi)
		if !slices.Equal(all, keys) || !slices.Equal(above, keys[i:]) || !slices.Equal(inside, keys[i:max(i, j)]) {
			t.Fatalf("iteration from %d to %d: %v, %v", lo, hi, inside, above)
		}
		if v.m.Rank(lo) != i {
			t.Fatalf("rank of %d is %d, want %d", lo, v.m.Rank(lo), i)
		}
	}
}

func TestMapStaysShallowOnSortedInput(t *testing.T) {
	var m Map[int, int]
	for i := range 1 << 12 {
		m = m.Set(i, i)
	}
	if d := depth(m.root); d > 24 {
		t.Fatalf("depth %d for 4096 sorted keys", d)
	}
}

func depth(n *node[int, int]) int {
	if n == nil {
		return 0
	}
	return 1 + max(depth(n.left), depth(n.right))
}

func checkBalance(t *testing.T, n *node[int, int]) {
	if n == nil {
		return
	}
	l, r := n.left.len(), n.right.len()
	if n.size != l+r+1 || l+r > 1 && (l > balanceDelta*r || r > balanceDelta*l) {
		t.Fatalf("node %d: size %d, subtrees %d and %d", n.key, n.size, l, r)
	}
	checkBalance(t, n.left)
	checkBalance(t, n.right)
}

func TestEventLogAcrossChunks(t *testing.T) {
	for _, cut := range []int64{1, 2, 31, 32, 33, 63, 64, 95, 96, 99, 100} {
		var l eventLog
		for rev := int64(2); rev <= 100; rev++ {
			l = l.add(rev, []Event{{KV: &KeyValue{ModRevision: rev}}})
		}
		before := l
		l = l.cut(cut, []Event{{KV: &KeyValue{ModRevision: cut}}})
		l = l.add(101, []Event{{KV: &KeyValue{ModRevision: 101}}})
		want := max(cut, 1)
		for rev, evs := range l.from(0) {
			if rev != want || evs[0].KV.ModRevision != rev {
				t.Fatalf("cut at %d: revision %d, want %d", cut, rev, want)
			}
			want++
		}
		if want != 102 {
			t.Fatalf("cut at %d: the log ends at %d", cut, want-1)
		}
		n := 0
		for range before.from(50) {
			n++
		}
		if n != 51 {
			t.Fatalf("cut at %d changed the older log: %d revisions from 50 on", cut, n)
		}
	}
}
