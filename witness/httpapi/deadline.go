package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"quorate/witness/manifest"
)

// deadlineWriter gives the client a fresh, limited time for each piece of the
// answer. One deadline for the whole answer would end waiting requests and
// event streams; none would let a stalled client hold a connection for ever.
type deadlineWriter struct {
	http.ResponseWriter
	ctl *http.ResponseController
}

func (w *deadlineWriter) Write(p []byte) (int, error) {
	if err := w.ctl.SetWriteDeadline(time.Now().Add(writeTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets a response controller find what is underneath.
func (w *deadlineWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// takeBody reads the body of a request, which has to arrive in time, before
// anything else: a read deadline that is still set while a handler waits would
// end its context. A body above the limit is cut one byte later, for the
// handler to refuse.
func (w *deadlineWriter) takeBody(r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	set := func(t time.Time) error {
		if err := w.ctl.SetReadDeadline(t); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		return nil
	}
	if err := set(time.Now().Add(bodyTime)); err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, manifest.MaxBytes+1))
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return set(time.Time{})
}
