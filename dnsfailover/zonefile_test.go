package dnsfailover

import (
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestWriteZoneRoundTrip reads the text back and compares it with what is served.
func TestWriteZoneRoundTrip(t *testing.T) {
	c := benchCluster()
	c.Members[0].Fenced = true
	view := mustBuild(t, benchZones(), c)
	var text strings.Builder
	if err := view.WriteZone(&text, "Example.TEST"); err != nil {
		t.Fatal(err)
	}
	want := make(map[string]bool)
	for _, n := range mustCompile(t, view).zones["example.test."].nodes {
		for _, s := range n.sets {
			for _, rr := range s.rrs {
				want[rr.String()] = true
			}
		}
	}
	zp := dns.NewZoneParser(strings.NewReader(text.String()), "", "")
	first := true
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if first && rr.Header().Rrtype != dns.TypeSOA {
			t.Errorf("the first record is %v, want the SOA", rr)
		}
		first = false
		if !want[rr.String()] {
			t.Errorf("record %v is not served, or is written twice", rr)
		}
		delete(want, rr.String())
	}
	if err := zp.Err(); err != nil {
		t.Fatal(err)
	}
	for rr := range want {
		t.Errorf("record %v is served and not written", rr)
	}
	for _, line := range []string{
		"; zone example.test. at log index 42, serial 42\n",
		"; managed: cluster=pg role=primary epoch=7 when-empty=nodata when-stale=servfail max-stale=10s\n",
		"; primary.pg.example.test. A has no values\n",
	} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("no line %q in:\n%s", line, text.String())
		}
	}
}

func TestWriteZoneUnknown(t *testing.T) {
	err := mustBuild(t, benchZones()).WriteZone(new(strings.Builder), "other.test")
	if !errors.Is(err, ErrNoZone) {
		t.Errorf("error %v", err)
	}
}

func TestCompareNames(t *testing.T) {
	// The example of RFC 4034 section 6.1.
	ordered := []string{"example.", "a.example.", "yljkjljk.a.example.", "z.a.example.", "zabc.a.example.", "z.example.", "*.z.example."}
	for i := range ordered {
		for j := range ordered {
			got := compareNames(ordered[i], ordered[j])
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("compareNames(%s, %s) = %d", ordered[i], ordered[j], got)
			}
		}
	}
}
