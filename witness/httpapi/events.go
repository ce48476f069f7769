package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"quorate/witness"
)

type eventsBody struct {
	Meta
	Last   uint64           `json:"last" doc:"sequence number of the newest event"`
	Gap    bool             `json:"gap" doc:"events after since are no longer kept"`
	Events []*witness.Event `json:"events" doc:"oldest first"`
}

type eventsInput struct {
	Since  int64 `query:"since" default:"-100" doc:"events after this sequence number; a negative number asks for so many of the newest"`
	Limit  int   `query:"limit" default:"1000" minimum:"1" maximum:"1000" doc:"most events in the answer"`
	Follow bool  `query:"follow" doc:"answer with the stream of /v1/events/stream instead"`
	ReadInput
}

type streamInput struct {
	Since  int64  `query:"since" default:"-10" doc:"as for the list; the header Last-Event-ID goes before it"`
	Follow string `query:"follow" doc:"ignored here"`
	LastID string `header:"Last-Event-ID"`
}

// heartbeat is the pause after which a silent stream shows that it is alive.
const heartbeat = 15 * time.Second

func (a *API) routeEvents(h huma.API) {
	register(a, h, huma.Operation{OperationID: "list-events", Method: "GET", Path: "/v1/events", Summary: "What happened; with follow=1 the stream of /v1/events/stream", Tags: []string{"events"}},
		func(ctx context.Context, in *eventsInput) (*answer[eventsBody], error) {
			s, err := a.read(ctx, in.Consistent)
			if err != nil {
				return nil, err
			}
			from, gap := start(s, in.Since)
			out := eventsBody{Meta: a.meta(s), Last: s.LastEvent(), Gap: gap, Events: []*witness.Event{}}
			for _, ev := range s.Events(from) {
				if len(out.Events) == in.Limit {
					break
				}
				out.Events = append(out.Events, ev)
			}
			return &answer[eventsBody]{out}, nil
		}, nil)
	register(a, h, huma.Operation{OperationID: "follow-events", Method: "GET", Path: "/v1/events/stream", Summary: "Events as they happen, as server-sent events: id is the sequence number, data the event", Tags: []string{"events"}},
		func(_ context.Context, in *streamInput) (*huma.StreamResponse, error) {
			since := in.Since
			if in.LastID != "" {
				id, err := strconv.ParseInt(in.LastID, 10, 64)
				if err != nil || id < 0 {
					return nil, errorf(witness.CodeInvalid, "Last-Event-ID: %q is not a sequence number", in.LastID)
				}
				since = id
			}
			release, err := a.slot()
			if err != nil {
				return nil, err
			}
			return &huma.StreamResponse{Body: func(ctx huma.Context) {
				defer release()
				r, w := humago.Unwrap(ctx)
				a.stream(r.Context(), w, since)
			}}, nil
		}, nil)
}

// followEvents sends a request for the list with follow=1 to the stream.
func followEvents(r *http.Request) *http.Request {
	if r.URL.Path != "/v1/events" || !r.URL.Query().Has("follow") {
		return r
	}
	if follow, err := strconv.ParseBool(r.URL.Query().Get("follow")); err == nil && !follow {
		return r
	}
	to := r.Clone(r.Context())
	to.URL.Path = "/v1/events/stream"
	return to
}

// start returns the sequence number of the first event to show, and whether
// some before it are lost.
func start(s *witness.State, since int64) (from uint64, gap bool) {
	last := s.LastEvent()
	if since < 0 {
		if n := uint64(-since); n < last {
			return last - n + 1, false
		}
		return 1, false
	}
	from = uint64(since) + 1
	for seq := range s.Events(0) {
		return from, seq > from
	}
	return from, false
}

// stream sends events until the client or the server goes. It keeps nothing
// for the client but a number, so a slow one costs no memory.
func (a *API) stream(ctx context.Context, w http.ResponseWriter, since int64) {
	next, gap := start(a.b.State(), since)
	if gap {
		w = &prefaced{w, ": events before the next one are no longer kept\n\n"}
	}
	a.streamWhere(ctx, w, next, nil, nil)
}

// prefaced writes a comment before the first event.
type prefaced struct {
	http.ResponseWriter
	text string
}

// WriteHeader sends the header and the comment.
func (p *prefaced) WriteHeader(status int) {
	p.ResponseWriter.WriteHeader(status)
	_, _ = io.WriteString(p.ResponseWriter, p.text) // a client that is gone is noticed at the next event
}

// Unwrap lets a response controller find what is underneath.
func (p *prefaced) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// streamWhere sends the events that keep wants, all without it, and ends when
// over says so.
func (a *API) streamWhere(ctx context.Context, w http.ResponseWriter, next uint64, keep func(*witness.State, *witness.Event) bool, over func(*witness.State) bool) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // proxies must not collect it
	w.WriteHeader(http.StatusOK)
	ctl := http.NewResponseController(w)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		changed := a.b.Changed()
		s := a.b.State()
		for seq, ev := range s.Events(next) {
			next = seq + 1
			if keep != nil && !keep(s, ev) {
				continue
			}
			if sendEvent(w, ev) != nil {
				return
			}
		}
		if ctl.Flush() != nil || over != nil && over(s) {
			return
		}
		select {
		case <-changed:
		case <-beat.C:
			n := a.b.Node()
			if _, err := fmt.Fprintf(w, ": %s, age %s\n\n", n.Name, ago(n.Contact)); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func sendEvent(w http.ResponseWriter, ev *witness.Event) error {
	raw, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", ev.Seq, raw)
	return err
}
