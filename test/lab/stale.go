package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// runDir holds one file per living lab, locked by the process that owns it. The
// kernel drops the lock when that process ends, however it ends.
const (
	runDir         = "/run/quoratelab"
	unlockedPrefix = "new-"
)

// register creates and locks the lab's file; the returned function removes it.
func register(id string) (func(), error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(runDir, id)
	// Locked first and named afterwards: nobody may find it without its lock.
	unlocked := filepath.Join(runDir, unlockedPrefix+id)
	f, err := os.OpenFile(unlocked, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", unlocked, err), f.Close())
	}
	if err := os.Rename(unlocked, path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		_ = os.Remove(path)
		_ = f.Close()
	}, nil
}

// removeStale removes the labs whose file nobody holds locked.
func removeStale(ctx context.Context, log *slog.Logger) error {
	files, err := filepath.Glob(filepath.Join(runDir, "*"))
	if err != nil {
		return err
	}
	for _, path := range files {
		if strings.HasPrefix(filepath.Base(path), unlockedPrefix) {
			continue
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its owner has just finished
		}
		if err != nil {
			return err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			log.Info("remove the leftovers of a lab that did not end well", "id", filepath.Base(path))
			err = removeRun(ctx, filepath.Base(path))
			if err == nil {
				err = os.Remove(path)
			}
		} else if errors.Is(err, syscall.EWOULDBLOCK) {
			err = nil // its owner lives
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// removeRun kills the processes of a lab's namespaces and removes the
// namespaces and the data directory.
func removeRun(ctx context.Context, id string) error {
	entries, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	var own []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), namespacePrefix+id+"-") {
			own = append(own, e.Name())
		}
	}
	// All processes first: one that is left alive keeps its namespace's
	// devices, and a BMC could start a process in a host already emptied.
	for range 2 {
		for _, ns := range own {
			if err := KillNamespace(ctx, ns); err != nil {
				errs = append(errs, err)
			}
		}
	}
	for _, ns := range own {
		if _, err := command(ctx, "", "ip", "netns", "del", ns); err != nil {
			errs = append(errs, err)
		}
	}
	if err := os.RemoveAll(dataDirOf(id)); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
