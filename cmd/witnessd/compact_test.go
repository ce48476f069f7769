package main

import "testing"

func TestCompactTarget(t *testing.T) {
	var seen []int64
	target := int64(0)
	for tick := int64(1); tick <= 12; tick++ {
		if seen, target = compactTarget(seen, tick*5000); target != 0 {
			t.Fatalf("after %d ticks, less than an hour, history up to %d goes", tick, target)
		}
	}
	if seen, target = compactTarget(seen, 13*5000); target != 5000 {
		t.Errorf("after an hour the target is %d, want the revision of then, 5000", target)
	}
	if _, target = compactTarget(seen, 13*5000); target > 13*5000-compactRevs {
		t.Errorf("the target %d leaves fewer than %d revisions", target, compactRevs)
	}
	quiet := make([]int64, 13)
	if _, target = compactTarget(quiet, 20); target != 0 {
		t.Errorf("a quiet store is compacted to %d", target)
	}
}
