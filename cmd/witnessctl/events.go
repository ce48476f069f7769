package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quorate/witness"
	"quorate/witness/httpapi"
	"quorate/witness/manifest"
)

type eventsBody struct {
	httpapi.Meta
	Last   uint64           `json:"last"`
	Gap    bool             `json:"gap"`
	Events []*witness.Event `json:"events"`
}

func eventsCommand(a *app) *cobra.Command {
	var follow bool
	var from int64
	c := &cobra.Command{
		Use: "events", Short: "What happened; --follow shows more as it happens",
		Example: "  witnessctl events\n  witnessctl events --follow\n  witnessctl events --since 1200 -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if follow {
				return a.followEvents(c.Context(), from)
			}
			var body eventsBody
			if err := a.get(c.Context(), "/v1/events", url.Values{"since": {strconv.FormatInt(from, 10)}}, &body); err != nil {
				return err
			}
			return a.print(body, func(w io.Writer) {
				readOnlyNote(w, &body.Meta)
				if body.Gap {
					fmt.Fprintln(w, "(earlier events are no longer kept)")
				}
				for _, ev := range body.Events {
					fmt.Fprintln(w, eventLine(ev))
				}
			})
		},
	}
	c.Flags().BoolVar(&follow, "follow", false, "go on until interrupted; as JSON, one event on a line")
	c.Flags().Int64Var(&from, "since", -50, "events after this number; a negative one shows so many of the newest")
	return c
}

func eventLine(ev *witness.Event) string {
	level := ""
	if ev.Level != witness.LevelInfo {
		level = strings.ToUpper(ev.Level) + " "
	}
	return fmt.Sprintf("%6d  %s  %s%s: %s", ev.Seq, when(ev.Wall), level, ev.Kind, ev.Text)
}

// followEvents shows events until ctx ends. When a witness goes away the next
// one continues where it stopped.
func (a *app) followEvents(ctx context.Context, from int64) error {
	server, failures := 0, 0
	for {
		err := a.streamEvents(ctx, a.servers[server%len(a.servers)], from, func(ev *witness.Event) error {
			from, failures = int64(ev.Seq), 0
			return a.printEvent(ev)
		})
		var api *httpapi.Error
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &api), errors.Is(err, errOutput):
			return err
		}
		server++
		if failures++; failures > 3*len(a.servers) {
			return fmt.Errorf("no witness streams events: %w", reason(err))
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// errOutput says that nobody reads the output any more.
var errOutput = errors.New("output is closed")

func (a *app) printEvent(ev *witness.Event) error {
	if a.format == formatTable {
		if _, err := fmt.Fprintln(a.out, eventLine(ev)); err != nil {
			return errOutput
		}
		return nil
	}
	raw, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	if a.format == formatYAML {
		if raw, err = toYAML(raw); err != nil {
			return err
		}
		raw = append([]byte("---\n"), raw[:len(raw)-1]...)
	}
	if _, err := fmt.Fprintf(a.out, "%s\n", raw); err != nil {
		return errOutput
	}
	return nil
}

// streamEvents reads the event stream of one witness. It returns an error when
// the stream ends; silence for three heartbeats is an end, too.
func (a *app) streamEvents(parent context.Context, server string, from int64, show func(*witness.Event) error) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	silence := time.AfterFunc(45*time.Second, func() { cancel(errors.New("the witness is silent")) })
	defer silence.Stop()
	res, err := request(ctx, server, call{method: http.MethodGet, path: "/v1/events/stream", query: url.Values{"since": {strconv.FormatInt(from, 10)}}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		raw, _ := io.ReadAll(io.LimitReader(res.Body, manifest.MaxBytes))
		return decodeError(res.StatusCode, raw)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		silence.Reset(45 * time.Second)
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var ev witness.Event
		if err := json.Unmarshal([]byte(data), &ev); err != nil {
			return err
		}
		if err := show(&ev); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
