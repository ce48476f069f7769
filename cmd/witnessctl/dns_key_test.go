package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A key file is private, is never overwritten, and gives the same DS record again.
func TestDNSKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zone.key")
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		a := &app{out: &out, format: "table"}
		c := dnsKeyCommand(a)
		c.SetArgs(args)
		c.SetOut(&out)
		c.SetErr(&out)
		err := c.Execute()
		return out.String(), err
	}
	made, err := run("new", "db.example.org", "--out", file)
	if err != nil || !strings.Contains(made, "\tDS\t") {
		t.Fatalf("%q, %v", made, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if again, err := run("ds", "DB.example.org.", file); err != nil || again != made {
		t.Errorf("%q, then %q, %v", made, again, err)
	}
	if _, err := run("new", "db.example.org", "--out", file); err == nil {
		t.Error("a key was overwritten")
	}
	if got, err := run("new", "db.example.org", "--zsk", "--out", file+".zsk"); err != nil || strings.Contains(got, "DS") {
		t.Errorf("%q, %v", got, err)
	}
}
