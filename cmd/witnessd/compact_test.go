package main

import "testing"

func TestCompactTarget(t *testing.T) {
	const hour = int64(compactAge / compactEvery)
	var seen []int64
	target := int64(0)
	for tick := int64(1); tick <= hour; tick++ {
		if seen, target = compactTarget(seen, tick*1000, false); target != 0 {
			t.Fatalf("after %d ticks, less than an hour, history up to %d goes", tick, target)
		}
	}
	if seen, target = compactTarget(seen, (hour+1)*1000, false); target != 1000 {
		t.Errorf("after an hour the target is %d, want the revision of then, 1000", target)
	}
	if seen, target = compactTarget(seen, (hour+1)*1000, true); target != (hour+1)*1000-compactRevs || int64(len(seen)) > hour+1 {
		t.Errorf("a full store is compacted to %d with %d samples, want all but %d revisions", target, len(seen), compactRevs)
	}
	quiet := make([]int64, hour+1)
	if _, target = compactTarget(quiet, 20, false); target != 0 {
		t.Errorf("a quiet store is compacted to %d", target)
	}
	if _, target = compactTarget(nil, 20, true); target != 0 {
		t.Errorf("a short history is compacted to %d", target)
	}
}
