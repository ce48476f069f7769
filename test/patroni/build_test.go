//go:build integration

package patroni

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// root is the folder of the module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// program builds a command of this module and returns the path of its binary.
// Go's cache makes the second build of the same tree a matter of milliseconds.
func program(t *testing.T, pkg string) string {
	t.Helper()
	binary := filepath.Join(root(t), "out", "lab", "bin", filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./"+pkg)
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return binary
}
