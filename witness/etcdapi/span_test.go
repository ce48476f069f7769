package etcdapi

import "testing"

// The rights of a user are ranges of keys; a request must lie in one of them whole.
func TestRightsCoverWholeRequestsOnly(t *testing.T) {
	acc := newAccount("x", User{Rules: []Rule{
		{Prefix: "/service/a", Read: true, Write: true},
		{Prefix: "/service/b", Read: true},
		{Prefix: "\xff\xff", Read: true},
		{Prefix: "/service/a/b", Read: true},
	}})
	for _, c := range []struct {
		key, end string
		want     bool
	}{
		{"/service/a", "", true},
		{"/service/a/leader", "", true},
		{"/service/", "", false},
		{"/service/c", "", false},
		{"/service/a", "/service/b", true},
		{"/service/a", "/service/c", true}, // the two prefixes touch
		{"/service/a", "/service/c\x00", false},
		{"/service/a", "\x00", false},
		{"/service/a", "a", false},
		{"/service/a5", "/service/a1", true}, // an empty range inside
		{"/service/x", "/service/a", false},  // and outside
		{"\xff\xff", "\x00", true},           // nothing comes after it
		{"", "\x00", false},
	} {
		if got := acc.read.cover([]byte(c.key), []byte(c.end)); got != c.want {
			t.Errorf("read %q to %q: %v", c.key, c.end, got)
		}
	}
	if acc.write.cover([]byte("/service/b"), nil) || !acc.write.cover([]byte("/service/a"), nil) {
		t.Error("write rights are not those of the rules")
	}
	all := newAccount("root", User{Admin: true})
	if !all.write.cover([]byte("a"), []byte("\x00")) || !all.read.cover([]byte{0}, []byte{0}) {
		t.Error("an administrator cannot reach everything")
	}
}
