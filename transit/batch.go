package transit

import (
	"context"
	"encoding/json"
	"fmt"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// item is one message of a request, and what became of it.
type item struct {
	input      string // plaintext, ciphertext or input, as the request calls it
	given      bool   // input was there, if only as ""
	context    string
	associated string
	signature  string
	hmac       string
	reference  string
	version    int // as asked for; 0: not

	index  int // in the batch; 0 where there is none
	failed *errs.Error
}

// fail notes why the item has no result. Errors that are not for the client are returned.
func (it *item) fail(err error) error {
	if it.failed = errs.From(err); it.failed == nil {
		return err
	}
	return nil
}

// batch is the messages of a request: one that is made of the request's own fields, or many.
type batch struct {
	items []*item
	many  bool
}

// readBatch reads the messages of a request, whose inputs are in the fields called input. A batch hides the request's own
// fields. An item of a batch has the input, or the text missing says what is wrong; missing may be empty.
//
// Errors: Invalid, and Fault for a batch that is not one. Source: recording transit-batch.
func readBatch(f *engine.Fields, input, missing string) (*batch, error) {
	raw := f.Raw("batch_input")
	if raw == nil {
		return &batch{items: []*item{{
			input: f.Text(input), given: f.Has(input), context: f.Text("context"), associated: f.Text("associated_data"),
			signature: f.Text("signature"), hmac: f.Text("hmac"), reference: f.Text("reference"), version: f.Int("key_version"),
		}}}, nil
	}
	list, ok := raw.([]any)
	if !ok {
		return nil, badBatch("source data must be an array or slice, got %s", typeName(raw))
	}
	if len(list) == 0 {
		return nil, errs.New(errs.Invalid, "missing batch input to process")
	}
	b := &batch{items: make([]*item, 0, len(list)), many: true}
	for i, element := range list {
		fields, ok := element.(map[string]any)
		if !ok {
			return nil, badBatch("[%d] expected a map, got '%s'", i, typeName(element))
		}
		it, err := readItem(i, fields, input)
		if err != nil {
			return nil, err
		}
		if !it.given && missing != "" {
			return nil, badBatch("'[%d].%s' %s", i, input, missing)
		}
		b.items = append(b.items, it)
	}
	return b, nil
}

func badBatch(format string, args ...any) error {
	return errs.Framed(errs.Fault, "failed to parse batch input: "+format, args...)
}

func readItem(i int, fields map[string]any, input string) (*item, error) {
	it := &item{index: i}
	var err error
	text := func(name string) (value string, given bool) {
		v := fields[name]
		if v == nil || err != nil {
			return "", false
		}
		value, given = v.(string)
		if !given {
			err = badBatch("'[%d].%s' expected type 'string', got unconvertible type '%s'", i, name, typeName(v))
		}
		return value, given
	}
	it.input, it.given = text(input)
	it.context, _ = text("context")
	it.associated, _ = text("associated_data")
	it.signature, _ = text("signature")
	it.hmac, _ = text("hmac")
	it.reference, _ = text("reference")
	if value := fields["key_version"]; value != nil && err == nil {
		number, ok := value.(json.Number)
		if ok {
			n, failed := number.Int64()
			it.version, ok = int(n), failed == nil
		}
		if !ok {
			err = badBatch("'[%d].key_version' expected type 'int', got unconvertible type '%s'", i, typeName(value))
		}
	}
	return it, err
}

// typeName names the type of a decoded JSON value.
func typeName(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case json.Number:
		return "json.Number"
	case bool:
		return "bool"
	case []any:
		return "slice"
	case map[string]any:
		return "map"
	default:
		return "nil"
	}
}

// sameContext demands that all items have a context, or none.
func (b *batch) sameContext() error {
	for _, it := range b.items {
		if (it.context == "") != (b.items[0].context == "") {
			return errs.New(errs.Invalid, "context should be set either in all the request blocks or in none")
		}
	}
	return nil
}

// each runs fn for the items that have not failed yet, and notes those that fail.
func (b *batch) each(ctx context.Context, fn func(*item) error) error {
	for _, it := range b.items {
		if it.failed != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := it.fail(fn(it)); err != nil {
			return err
		}
	}
	return nil
}

// answer makes the answer of a request to encrypt, decrypt or rewrap of the results of its items.
func (b *batch) answer(results []map[string]any, f *engine.Fields) (*engine.Response, error) {
	if !b.many {
		if failed := b.items[0].failed; failed != nil {
			return nil, failed
		}
		return &engine.Response{Data: results[0]}, nil
	}
	resp := &engine.Response{Data: map[string]any{"batch_results": b.list(results)}}
	faults, failures := 0, 0
	for _, it := range b.items {
		if it.failed != nil {
			failures++
			if it.failed.Code == errs.Fault {
				faults++
			}
		}
	}
	switch {
	case failures == 0:
		return resp, nil
	case failures == faults:
		resp.Status = statusFault
	default:
		resp.Status = statusInvalid
	}
	if failures < len(b.items) && f.Has("partial_failure_response_code") {
		if code := f.Int("partial_failure_response_code"); code >= statusFirst && code <= statusLast {
			resp.Status = code
		} else {
			resp.Warn(fmt.Sprintf("invalid HTTP response code override from partial_failure_response_code, reverting to %d", resp.Status))
		}
	}
	return resp, nil
}

// Statuses of answers that hold results and failures. Others may be asked for, of those that end a request.
const (
	statusInvalid = 400
	statusFault   = 500
	statusFirst   = 200
	statusLast    = 599
)

// list is the results in the order of the items, with the references and what went wrong.
func (b *batch) list(results []map[string]any) []any {
	list := make([]any, len(results))
	for i, it := range b.items {
		if results[i] == nil {
			results[i] = map[string]any{}
		}
		results[i]["reference"] = it.reference
		if it.failed != nil {
			results[i]["error"] = it.failed.Text
		}
		list[i] = results[i]
	}
	return list
}
