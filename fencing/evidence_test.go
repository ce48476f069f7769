package fencing

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func TestClip(t *testing.T) {
	for in, want := range map[string]string{
		"short":          "short",
		"exactly ten":    "exactly…",
		"a\nb\x00c":      "a b c",
		"éééééé":         "ééé…",
		"<<<<":           "<…",
		"bad \xff":       "bad ?",
		"0123456789":     "0123456789",
		"\u2028\u2028 x": "\u2028…",
	} {
		if got := clip(in, 10); got != want {
			t.Errorf("clip(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClip(f *testing.F) {
	f.Add("409: <html>\n\"no\"", 20)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 10 || limit > 2000 {
			return
		}
		got := clip(s, limit)
		data, err := json.Marshal(got)
		if err != nil || len(data)-2 > limit || !utf8.ValidString(got) {
			t.Errorf("clip(%q, %d) = %q: %d bytes, %v", s, limit, got, len(data)-2, err)
		}
	})
}
