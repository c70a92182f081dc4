package httpapi

import (
	"context"
	"errors"
	"net/http"

	"leasehold/engine/envelope"
	"leasehold/internal/errs"
)

// statuses is the one place where an error's code becomes a status of HTTP.
var statuses = map[errs.Code]int{
	errs.Internal:        http.StatusInternalServerError,
	errs.Invalid:         http.StatusBadRequest,
	errs.Unauthenticated: http.StatusForbidden,
	errs.Denied:          http.StatusForbidden,
	errs.NotFound:        http.StatusNotFound,
	errs.Unsupported:     http.StatusMethodNotAllowed,
	errs.Conflict:        http.StatusBadRequest,
	errs.MediaType:       http.StatusUnsupportedMediaType,
	errs.TooLarge:        http.StatusRequestEntityTooLarge,
	errs.RateLimited:     http.StatusTooManyRequests,
	errs.Sealed:          http.StatusServiceUnavailable,
	errs.Unavailable:     http.StatusInternalServerError,
	errs.Fault:           http.StatusInternalServerError,
}

var (
	// errNothing is the refusal without a text: {"errors":[]}.
	errNothing     = errs.New(errs.NotFound, "")
	errBadValue    = errs.New(errs.Invalid, "")
	errBadMethod   = errs.New(errs.Unsupported, "")
	errSealed      = errs.New(errs.Sealed, "Vault is sealed")
	errOutOfTime   = errs.New(errs.Unavailable, "the request took longer than the time limit")
	errInternal    = errs.New(errs.Internal, "internal error")
	errEmptyErrors = []byte(`{"errors":[]}` + "\n")
)

// fail answers an error. What may not be shown is logged under the request's id.
func (x *exchange) fail(ctx context.Context, err error) {
	shown := errs.From(err)
	switch {
	case shown != nil && shown.Code == errs.Sealed:
		shown = errSealed // in the words that clients look for
	case shown != nil && shown.Code != errs.Internal:
		if shown.Cause != nil {
			x.h.log.Warn("request refused", "request_id", x.requestID(), "error", shown.Cause)
		}
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		x.h.log.Warn("request out of time", "request_id", x.requestID(), "error", err)
		shown = errOutOfTime
	case ctx.Err() != nil: // the client has gone: there is nobody to read this
		shown = errInternal
	default:
		x.h.log.Error("request failed", "request_id", x.requestID(), "error", err)
		shown = errInternal
	}
	if shown.Text == "" && shown.Data == nil {
		x.json(statuses[shown.Code], errEmptyErrors)
		return
	}
	buffer := takeBuffer()
	defer buffer.release()
	b := append(buffer.b[:0], `{"errors":[`...)
	if shown.Text != "" {
		b = envelope.AppendText(b, shown.Shown())
	}
	b = append(b, ']')
	if shown.Data != nil {
		var encoding error
		b = append(b, `,"data":`...)
		if b, encoding = envelope.AppendValue(b, shown.Data); encoding != nil {
			x.h.log.Error("encode answer", "request_id", x.requestID(), "error", encoding)
			b = append(b[:0], `{"errors":["internal error"]`...)
		}
	}
	buffer.b = append(b, '}', '\n')
	x.json(statuses[shown.Code], buffer.b)
}
