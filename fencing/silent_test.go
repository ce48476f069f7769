package fencing_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"quorate/fencing"
)

// TestNoCommandIntoSilence: a command that was not answered may have been carried out. Nothing more is sent before the
// device has told its state.
func TestNoCommandIntoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{state: offAfter(0), offErr: func(int) error { return errors.New("not answered") }}
		m.readErr = func(since time.Duration) error {
			if since >= 0 && since < 4*time.Second {
				return errors.New("not answered")
			}
			return nil
		}
		r := fencing.Off(t.Context(), host(fencing.Level{m}), fencing.Timing{})
		if r.Outcome != fencing.Confirmed || len(m.commands) != 1 {
			t.Errorf("%s, commands at %v: %s", r.Outcome, m.commands, r.Reason)
		}
	})
}
