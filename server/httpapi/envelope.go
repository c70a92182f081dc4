package httpapi

import (
	"net/http"
	"sync"

	"leasehold/engine"
	"leasehold/engine/envelope"
)

// buffer is a piece of memory for one answer. Answers hold secrets, so it is wiped before it is used again.
type buffer struct{ b []byte }

// keptBuffer is how large a buffer may have grown to be kept.
const keptBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 2048)} }}

func takeBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) release() {
	clear(b.b)
	if cap(b.b) <= keptBuffer {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// answer writes what an engine answered.
func (x *exchange) answer(op engine.Operation, resp *engine.Response, mountType string) error {
	if resp == nil {
		resp = &engine.Response{}
	}
	if resp.Raw != nil && resp.Raw.Stream != nil {
		return x.stream(resp.Raw)
	}
	if resp.Raw != nil {
		status := resp.Status
		if status == 0 {
			status = http.StatusOK
		}
		x.respond(status, resp.Raw.ContentType, resp.Raw.Body)
		return nil
	}
	status := resp.Status
	if resp.Empty() && status != http.StatusOK {
		switch {
		case status != 0:
			x.empty(status)
		case op == engine.Read || op == engine.List || op == engine.Scan:
			return errNothing
		default:
			x.empty(http.StatusNoContent)
		}
		return nil
	}
	if (op == engine.List || op == engine.Scan) && status == 0 && resp.Wrap == nil && !hasKeys(resp.Data) {
		return errNothing
	}
	if status == 0 {
		status = http.StatusOK
	}
	buffer := takeBuffer()
	defer buffer.release()
	var err error
	if buffer.b, err = envelope.Append(buffer.b[:0], x.requestID(), resp, mountType); err != nil {
		return err
	}
	x.json(status, buffer.b)
	return nil
}

func hasKeys(data map[string]any) bool {
	switch keys := data["keys"].(type) {
	case []string:
		return len(keys) > 0
	case []any:
		return len(keys) > 0
	default:
		return false
	}
}
