package memnet

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestCutHoldsAndHealDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		ln, err := n.Listen("b")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen("b"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener: %v", err)
		}
		dial := n.Dialer("a")
		c, err := dial(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		n.Isolate("b")
		if _, err := c.Write([]byte("held")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 8)
		_ = s.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := s.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read across a cut link: %v", err)
		}
		_ = s.SetReadDeadline(time.Time{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := dial(ctx, "b"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial across a cut link: %v", err)
		}
		n.Rejoin("b")
		if k, err := s.Read(buf); err != nil || string(buf[:k]) != "held" {
			t.Errorf("after healing: %q, %v", buf[:k], err)
		}
		_ = c.Close()
		if _, err := s.Read(buf); err != io.EOF {
			t.Errorf("after the close: %v", err)
		}
		_ = ln.Close()
		if _, err := dial(t.Context(), "b"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to a closed host: %v", err)
		}
	})
}

func TestDelayKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		ln, err := n.Listen("b")
		if err != nil {
			t.Fatal(err)
		}
		c, err := n.Dialer("a")(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		delay := 100 * time.Millisecond
		n.Delay(func(from, to string) time.Duration { return delay })
		start := time.Now()
		_, _ = c.Write([]byte("one"))
		delay = time.Millisecond // the second must not overtake
		_, _ = c.Write([]byte("two"))
		_ = c.Close()
		got, err := io.ReadAll(s)
		if string(got) != "onetwo" || err != nil || time.Since(start) != 100*time.Millisecond {
			t.Errorf("%q, %v after %s", got, err, time.Since(start))
		}
	})
}
