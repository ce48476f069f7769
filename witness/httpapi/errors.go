package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
	"quorate/witness/manifest"
)

// status is the one table from the code of an error to the status of HTTP.
var status = map[witness.Code]int{
	witness.CodeInvalid:   http.StatusBadRequest,
	witness.CodeKV:        http.StatusBadRequest,
	witness.CodeNotFound:  http.StatusNotFound,
	witness.CodeConflict:  http.StatusConflict,
	witness.CodeRefused:   http.StatusUnprocessableEntity, // 403 is for who asks, not for what
	witness.CodeGuarded:   http.StatusLocked,
	witness.CodeExhausted: http.StatusTooManyRequests,
	witness.CodeInternal:  http.StatusInternalServerError,
	witness.CodeUnproven:  http.StatusBadGateway, // the device behind us gave no proof
	witness.CodeNoQuorum:  http.StatusServiceUnavailable,
}

// Status returns the HTTP status for a code; 500 for one that it does not know.
func Status(c witness.Code) int {
	if s, ok := status[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Error is the body of every answer that is not a success.
type Error struct {
	Meta
	Code    witness.Code    `json:"code" doc:"kind of failure; the HTTP status follows from it" enum:"invalid,kv,not-found,conflict,refused,guarded,exhausted,internal,unproven,no-quorum"`
	Rule    string          `json:"rule,omitempty" doc:"id of the rule that refused; a request may override it by name"`
	Message string          `json:"message" doc:"what happened, what it means, what to do next"`
	Explain string          `json:"explain,omitempty" doc:"command that shows the whole reason"`
	Request uint64          `json:"request,omitempty" doc:"id of the request that ended so"`
	Faults  manifest.Faults `json:"faults,omitempty" doc:"all faults of a configuration"`

	status int // 0: as the table says
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// GetStatus returns the HTTP status.
func (e *Error) GetStatus() int {
	if e.status != 0 {
		return e.status
	}
	return Status(e.Code)
}

// fail turns any error into the body that answers it. subject is the cluster
// that it is about, or "".
func (a *API) fail(err error, subject string) *Error {
	out := &Error{Meta: a.meta(a.b.State()), Code: witness.ErrorCode(err), Message: err.Error()}
	var own *Error
	var domain *witness.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &domain):
		out.Rule, out.Message = domain.Rule, domain.Msg
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		out.Code = witness.CodeNoQuorum
		out.Message = "no majority of the witnesses answered in time; what was asked may or may not be done: look before asking again, or ask again with the same key"
	default:
		a.log.Error("request failed", "err", err)
		out.Message = "this witness failed at the request; its log says why"
	}
	switch out.Code {
	case witness.CodeNoQuorum:
		out.Explain = "witnessctl status"
	case witness.CodeRefused, witness.CodeUnproven, witness.CodeGuarded, witness.CodeConflict:
		if subject != "" {
			out.Explain = "witnessctl cluster explain " + subject
		}
	}
	return out
}

func errorf(code witness.Code, format string, args ...any) error {
	return &witness.Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// errorResponse describes Error in the OpenAPI document.
func errorResponse(h huma.API) *huma.Response {
	schema := h.OpenAPI().Components.Schemas.Schema(errorType, true, "Error")
	return &huma.Response{
		Description: "The code says what kind of failure it is.",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: schema}},
	}
}

// humaContext is huma.Context under a name that leaves its method Context alone.
type humaContext = huma.Context

// plainContext is a request whose malformed parameters and bodies are answered
// with 400 and our own body: 422 is for refusals by a rule.
type plainContext struct {
	humaContext
	invalid bool
}

func (c *plainContext) SetStatus(code int) {
	if c.invalid && code == http.StatusUnprocessableEntity {
		code = http.StatusBadRequest
	}
	c.humaContext.SetStatus(code)
}

func (c *plainContext) SetHeader(name, value string) {
	if value == "application/problem+json" {
		value = "application/json"
	}
	c.humaContext.SetHeader(name, value)
}

// Unwrap gives the adapter its own context back.
func (c *plainContext) Unwrap() huma.Context { return c.humaContext }

func plainErrors(ctx huma.Context, next func(huma.Context)) {
	next(&plainContext{humaContext: ctx})
}

// ownErrors turns the framework's own errors into ours.
func (a *API) ownErrors(ctx huma.Context, _ string, v any) (any, error) {
	model, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	if c, ok := ctx.(*plainContext); ok {
		c.invalid = true
	}
	out := &Error{Meta: a.meta(a.b.State()), Code: witness.CodeInvalid, Message: model.Detail}
	if model.Status >= 500 {
		out.Code = witness.CodeInternal
	}
	var details []string
	for _, d := range model.Errors {
		if d.Location != "" {
			details = append(details, d.Location+": "+d.Message)
		} else {
			details = append(details, d.Message)
		}
	}
	if len(details) > 0 {
		out.Message = strings.Join(details, "; ")
	}
	return out, nil
}
