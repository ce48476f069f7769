package agent

import (
	"strings"
	"testing"
)

// FuzzMask: whatever an agent prints around a secret, the secret is not in what is kept.
func FuzzMask(f *testing.F) {
	f.Add("login with ", "s3cret", " failed\n")
	f.Add("http://x/?p=", "a b&c/=", "")
	f.Add("\n\n", "x", "\r\n")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		if len(secret) < 4 || strings.ContainsAny(secret, "*\r\n\x00") || strings.Trim(secret, " \t") != secret {
			t.Skip("nothing that the settings allow, or nothing that can be told from its mask")
		}
		m := newMask(map[string]string{"password": secret, "ip": "10.0.0.1"})
		if got := m.hide(lastWords(before + secret + after)); strings.Contains(got, secret) {
			t.Errorf("%q is in %q", secret, got)
		}
	})
}

func TestTail(t *testing.T) {
	t.Parallel()
	var out tail
	for range 100_000 {
		if n, err := out.Write([]byte("0123456789")); n != 10 || err != nil {
			t.Fatal(n, err)
		}
	}
	_, _ = out.Write([]byte("the end"))
	if got := out.String(); len(got) != maxOutput || !strings.HasSuffix(got, "the end") || cap(out.data) > 4*maxOutput {
		t.Errorf("%d bytes in %d", len(got), cap(out.data))
	}
	if got := lastWords("a\nb\n\nc\r\nd\n"); got != "b / c / d" {
		t.Error(got)
	}
}
