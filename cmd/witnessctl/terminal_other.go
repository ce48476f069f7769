//go:build !linux

package main

import (
	"io"
	"os"
)

// isTerminal says whether somebody sits at the other end of f.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// singleKeys does nothing here: keys arrive with the next line.
func singleKeys(io.Reader) (restore func(), err error) { return func() {}, nil }

// screenSize assumes a plain terminal.
func screenSize(any) (cols, rows int) { return 80, 24 }
