package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"quorate/witness/httpapi"
)

func watchCommand(a *app) *cobra.Command {
	var interval time.Duration
	c := &cobra.Command{
		Use: "watch", Short: "Status, clusters and events on one screen, until q",
		Long: `watch shows status, clusters and the latest events, and refreshes them until q or
Ctrl-C. When the output is no terminal it prints them once for each change.`,
		Example: "  witnessctl watch\n  witnessctl watch --interval 5s",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if interval < 100*time.Millisecond {
				return fmt.Errorf("--interval %s is too short: 100ms or more", interval)
			}
			ctx, cancel := context.WithCancel(c.Context())
			defer cancel()
			if a.format != formatTable || !isTerminal(a.out) {
				return a.watchPlain(ctx, interval)
			}
			return a.watchScreen(ctx, cancel, interval)
		},
	}
	c.Flags().DurationVar(&interval, "interval", time.Second, "pause between two looks")
	return c
}

// view is what watch shows.
type view struct {
	Status   httpapi.StatusBody    `json:"status"`
	Clusters []httpapi.ClusterView `json:"clusters"`
	Events   eventsBody            `json:"events"`
}

func (a *app) look(ctx context.Context) (*view, error) {
	v := &view{}
	var list clusterList
	if err := a.get(ctx, "/v1/status", nil, &v.Status); err != nil {
		return nil, err
	}
	if err := a.get(ctx, "/v1/clusters", nil, &list); err != nil {
		return nil, err
	}
	v.Clusters = list.Clusters
	return v, a.get(ctx, "/v1/events", url.Values{"since": {"-20"}}, &v.Events)
}

func (v *view) write(w io.Writer) {
	writeStatus(w, &v.Status)
	writeClusters(w, v.Clusters)
	for _, ev := range v.Events.Events {
		fmt.Fprintln(w, eventLine(ev))
	}
}

// same is what has to differ for a change: indexes and ages always move on.
func (v *view) same() string {
	c := *v
	c.Status.Meta, c.Status.Digest, c.Events.Meta = httpapi.Meta{ReadOnly: v.Status.ReadOnly}, "", httpapi.Meta{}
	c.Status.Role, c.Status.Term, c.Status.Text = "", 0, v.Status.Protection
	var b bytes.Buffer
	c.write(&b)
	return b.String()
}

// watchPlain prints what it sees whenever it changes.
func (a *app) watchPlain(ctx context.Context, interval time.Duration) error {
	last := ""
	for {
		v, err := a.look(ctx)
		now := ""
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			now = err.Error()
			if now != last {
				fmt.Fprintln(a.err, "witnessctl:", err)
			}
		default:
			if now = v.same(); now != last {
				if err := a.print(v, v.write); err != nil {
					return nil // nobody reads it any more
				}
			}
		}
		last = now
		if !pause(ctx, interval) {
			return nil
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // other screen, no cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// watchScreen draws on the whole terminal until q or the end of ctx.
func (a *app) watchScreen(ctx context.Context, cancel context.CancelFunc, interval time.Duration) error {
	if restore, err := singleKeys(a.stdin); err == nil {
		defer restore()
		// The reader of keys ends with the program: a read of a terminal
		// cannot be interrupted.
		go func() {
			key := make([]byte, 1)
			for {
				if n, err := a.stdin.Read(key); err != nil || n == 1 && (key[0] == 'q' || key[0] == 'Q' || key[0] == 3) {
					cancel()
					return
				}
			}
		}()
	}
	fmt.Fprint(a.out, enterScreen)
	defer fmt.Fprint(a.out, leaveScreen)
	for {
		var b bytes.Buffer
		if v, err := a.look(ctx); err != nil {
			fmt.Fprintln(&b, "witnessctl:", err)
		} else {
			v.write(&b)
		}
		if ctx.Err() != nil {
			return nil
		}
		cols, rows := screenSize(a.out)
		fmt.Fprint(a.out, frame(b.String(), cols, rows, time.Now().Format(time.TimeOnly)))
		if !pause(ctx, interval) {
			return nil
		}
	}
}

// frame fits text on a screen: long lines are cut, and of too many lines the
// last ones, the newest events, are kept below the first ones.
func frame(text string, cols, rows int, clock string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if room := max(rows-1, 1); len(lines) > room {
		top := room / 2
		lines = append(lines[:top:top], lines[len(lines)-(room-top):]...)
	}
	lines = append(lines, clock+"  q quits")
	var b strings.Builder
	b.WriteString(home)
	for i, line := range lines {
		if utf8.RuneCountInString(line) > cols {
			line = string([]rune(line)[:max(cols-1, 0)]) + "…"
		}
		b.WriteString(line + clearLine)
		if i < len(lines)-1 {
			b.WriteString("\r\n")
		}
	}
	b.WriteString(clearBelow)
	return b.String()
}
