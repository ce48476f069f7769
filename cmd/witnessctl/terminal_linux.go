package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal says whether somebody sits at the other end of f.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// singleKeys lets each key press be read at once, without echo, until restore
// is called. Interrupts still work.
func singleKeys(f io.Reader) (restore func(), err error) {
	file, ok := f.(*os.File)
	if !ok {
		return nil, os.ErrInvalid
	}
	fd := int(file.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	raw := *old
	raw.Lflag &^= unix.ICANON | unix.ECHO
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, old) }, nil
}

// screenSize returns the columns and rows of a terminal, or 80 and 24.
func screenSize(f any) (cols, rows int) {
	if file, ok := f.(*os.File); ok {
		if ws, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err == nil && ws.Col > 0 {
			return int(ws.Col), int(ws.Row)
		}
	}
	return 80, 24
}
