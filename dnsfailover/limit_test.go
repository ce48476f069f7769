package dnsfailover

import (
	"net/netip"
	"testing"
)

func TestLimiter(t *testing.T) {
	l := newLimiter(100)
	a := limitKey(netip.MustParseAddr("192.0.2.1"), 7)
	count := func(key uint64, n int, now uint32) (passed, cut, dropped int) {
		for range n {
			switch l.judge(key, now) {
			case pass:
				passed++
			case truncate:
				cut++
			case drop:
				dropped++
			}
		}
		return
	}
	if passed, cut, dropped := count(a, 300, 5); passed != 100 || cut != 100 || dropped != 100 {
		t.Errorf("at once: %d passed, %d truncated, %d dropped", passed, cut, dropped)
	}
	if passed, _, _ := count(a, 300, 505); passed != 50 {
		t.Errorf("after half a second %d passed, want 50", passed)
	}
	if passed, _, _ := count(a, 300, 60505); passed != 100 {
		t.Errorf("after a minute %d passed, want a second's worth", passed)
	}
	for name, key := range map[string]uint64{
		"another name":    limitKey(netip.MustParseAddr("192.0.2.1"), 8),
		"another network": limitKey(netip.MustParseAddr("192.0.3.1"), 7),
	} {
		if passed, _, _ := count(key, 100, 60505); passed != 100 {
			t.Errorf("%s: %d passed", name, passed)
		}
	}
	if limitKey(netip.MustParseAddr("192.0.2.1"), 7) != limitKey(netip.MustParseAddr("192.0.2.254"), 7) ||
		limitKey(netip.MustParseAddr("2001:db8:0:100::1"), 7) != limitKey(netip.MustParseAddr("2001:db8:0:1ff::2"), 7) {
		t.Error("addresses of one network are told apart")
	}
	if limitKey(netip.MustParseAddr("2001:db8:0:100::1"), 7) == limitKey(netip.MustParseAddr("2001:db8:0:200::1"), 7) {
		t.Error("two networks are one")
	}
}

// Slow gains must not be lost to rounding: one query every 15 ms against 100/s.
func TestLimiterCountsSlowQueries(t *testing.T) {
	l, key := newLimiter(100), uint64(1)<<60
	for i := range 5000 {
		if l.judge(key, uint32(i*15)) != pass {
			t.Fatalf("query %d was limited", i)
		}
	}
	passed := 0
	for i := range 5000 {
		if l.judge(key, uint32(75_000+i*4)) == pass {
			passed++
		}
	}
	if passed < 1900 || passed > 2200 { // 20 s at 100/s, and a second's worth
		t.Errorf("%d of 5000 passed in 20 s at 100/s", passed)
	}
}
