package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"leasehold/internal/secret"
)

// format is how a device writes its lines.
type format struct {
	prefix         string
	raw            bool // hash nothing
	clearAccessors bool
	elideLists     bool
	jsonx          bool
	writers        sync.Pool // of *writer, whose MACs have the device's key
}

func newFormat(key secret.Bytes) *format {
	f := &format{}
	f.writers.New = func() any { return &writer{format: f, mac: hmac.New(sha256.New, key.Reveal())} }
	return f
}

// maxKept is the size in bytes of a buffer that is kept for the next line.
const maxKept = 1 << 18

func (f *format) take() *writer { return f.writers.Get().(*writer) }

func (f *format) giveBack(w *writer) {
	if cap(w.buf) <= maxKept {
		f.writers.Put(w)
	}
}

// hash is how text stands in this device's lines.
func (f *format) hash(text string) string {
	w := f.take()
	defer f.giveBack(w)
	w.buf = w.buf[:0]
	w.hashed(text)
	return strings.Trim(string(w.buf), `"`)
}

// writer appends one line to buf. It is not safe for concurrent use.
type writer struct {
	*format
	mac     hash.Hash
	buf     []byte
	scratch []byte   // what is being hashed
	keys    []string // of the objects that are being written, for sorting
}

// line writes an entry. The result is valid until the writer is used again.
func (w *writer) line(kind string, e *Entry, headers map[string]bool) []byte {
	w.buf = append(append(w.buf[:0], w.prefix...), '{')
	w.key("time")
	w.quoted(e.Time.UTC().Format(time.RFC3339Nano))
	w.text("type", kind)
	w.open("auth")
	w.auth(&e.Auth)
	w.close()
	w.open("request")
	w.request(&e.Request, headers)
	w.close()
	if e.Response != nil {
		w.open("response")
		w.response(e.Response, &e.Request)
		w.close()
	}
	w.text("error", e.Error)
	w.close()
	if w.jsonx {
		at := len(w.prefix)
		w.buf = append(w.buf[:at], jsonx(w.buf[at:])...)
	}
	w.buf = append(w.buf, '\n')
	return w.buf
}

func (w *writer) auth(a *Auth) {
	w.secret("client_token", a.ClientToken)
	w.accessor("accessor", a.Accessor)
	w.text("display_name", a.DisplayName)
	w.list("policies", a.Policies)
	w.list("token_policies", a.TokenPolicies)
	w.list("identity_policies", a.IdentityPolicies)
	w.flag("no_default_policy", a.NoDefaultPolicy)
	if r := a.Results; r != nil {
		w.open("policy_results")
		w.key("allowed") // also when false
		w.buf = strconv.AppendBool(w.buf, r.Allowed)
		if len(r.Granting) > 0 {
			w.key("granting_policies")
			w.buf = append(w.buf, '[')
			for _, name := range r.Granting {
				w.comma()
				w.buf = append(w.buf, '{')
				w.text("name", name)
				w.text("namespace_id", "root")
				w.text("type", "acl")
				w.close()
			}
			w.buf = append(w.buf, ']')
		}
		w.close()
	}
	if len(a.Metadata) > 0 {
		w.open("metadata")
		for _, key := range slices.Sorted(maps.Keys(a.Metadata)) {
			w.key(key)
			w.quoted(a.Metadata[key])
		}
		w.close()
	}
	w.number("num_uses", a.NumUses)
	w.number("remaining_uses", a.RemainingUses)
	w.text("entity_id", a.EntityID)
	w.flag("entity_created", a.EntityCreated)
	if a.TokenType == "" {
		w.text("token_type", "default")
	} else {
		w.text("token_type", a.TokenType)
	}
	w.number("token_ttl", int(a.TTL/time.Second))
	w.time("token_issue_time", a.IssuedAt, time.RFC3339)
}

func (w *writer) request(r *Request, headers map[string]bool) {
	w.text("id", r.ID)
	w.text("operation", r.Operation)
	w.mount(r)
	w.secret("client_token", r.ClientToken)
	w.accessor("client_token_accessor", r.TokenAccessor)
	w.open("namespace")
	w.text("id", "root")
	w.close()
	w.text("path", r.Path)
	w.data(r.Data, r.Mount.ClearRequestKeys, false)
	w.text("remote_address", r.RemoteAddr)
	w.number("remote_port", r.RemotePort)
	w.number("wrap_ttl", int(r.WrapTTL/time.Second))
	w.headers(r.Header, headers)
	w.text("client_certificate_serial_number", r.CertSerial)
}

func (w *writer) response(r *Response, asked *Request) {
	if r.Auth != nil {
		w.open("auth")
		w.auth(r.Auth)
		w.close()
	}
	w.mount(asked)
	if r.Secret != nil {
		w.open("secret")
		w.text("lease_id", r.Secret.LeaseID)
		w.close()
	}
	w.data(r.Data, asked.Mount.ClearResponseKeys, w.elideLists && asked.Operation == "list")
	w.list("warnings", r.Warnings)
	if i := r.Wrap; i != nil {
		w.open("wrap_info")
		w.number("ttl", int(i.TTL/time.Second))
		w.secret("token", i.Token)
		w.accessor("accessor", i.Accessor)
		w.time("creation_time", i.CreatedAt, time.RFC3339Nano)
		w.text("creation_path", i.CreationPath)
		w.accessor("wrapped_accessor", i.WrappedAccessor)
		w.close()
	}
}

func (w *writer) mount(r *Request) {
	m := &r.Mount
	w.text("mount_point", m.Path)
	w.text("mount_type", m.Type)
	switch r.Operation {
	case "read", "list", "delete":
		if !m.Reached {
			break
		}
		fallthrough
	default:
		w.text("mount_accessor", m.Accessor)
	}
	w.text("mount_class", m.Class)
}

// headers writes those that are asked for, by lower-case name; the value says whether to hash.
func (w *writer) headers(sent http.Header, asked map[string]bool) {
	opened := false
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		values := sent.Values(name)
		if len(values) == 0 {
			continue
		}
		if !opened {
			w.open("headers")
			opened = true
		}
		w.key(name)
		w.texts(values, !asked[name])
	}
	if opened {
		w.close()
	}
}

// data writes the members of a body. With elide, the lists of a list answer become their lengths.
func (w *writer) data(data map[string]any, exempt []string, elide bool) {
	if len(data) == 0 {
		return
	}
	w.key("data")
	w.object(data, exempt, func(key string, v any) any {
		if elide && (key == "keys" || key == "key_info") {
			if r := reflect.ValueOf(v); r.Kind() == reflect.Slice || r.Kind() == reflect.Map {
				return r.Len()
			}
		}
		return v
	})
}

// object writes a JSON object with its keys in order. Text under one of the exempt keys is not hashed.
func (w *writer) object(o map[string]any, exempt []string, replace func(string, any) any) {
	if o == nil {
		w.null()
		return
	}
	w.buf = append(w.buf, '{')
	first := len(w.keys)
	for key := range o {
		w.keys = append(w.keys, key)
	}
	slices.Sort(w.keys[first:])
	for i := range len(o) {
		key := w.keys[first+i] // nested objects append behind, and may move the slice
		v := o[key]
		if replace != nil {
			v = replace(key, v)
		}
		w.key(key)
		w.value(v, slices.Contains(exempt, key), exempt)
	}
	w.keys = w.keys[:first]
	w.buf = append(w.buf, '}')
}

// value writes any JSON value. isClear exempts text, and the text in lists, but not nested objects: there the key
// beside each value decides.
func (w *writer) value(v any, isClear bool, exempt []string) {
	switch v := v.(type) {
	case nil:
		w.null()
	case string:
		w.dataText(v, isClear)
	case bool:
		w.buf = strconv.AppendBool(w.buf, v)
	case int:
		w.buf = strconv.AppendInt(w.buf, int64(v), 10)
	case int64:
		w.buf = strconv.AppendInt(w.buf, v, 10)
	case []string:
		w.texts(v, isClear)
	case []any:
		if v == nil {
			w.null()
			return
		}
		w.buf = append(w.buf, '[')
		for _, item := range v {
			w.comma()
			w.value(item, isClear, exempt)
		}
		w.buf = append(w.buf, ']')
	case map[string]any:
		w.object(v, exempt, nil)
	case json.Number:
		if json.Valid([]byte(v)) { // always, when it was decoded from JSON
			w.buf = append(w.buf, v...)
		} else {
			w.dataText(string(v), isClear)
		}
	default:
		w.value(generic(v), isClear, exempt)
	}
}

// generic is how a value of any other type looks in JSON.
func generic(v any) any {
	encoded, err := json.Marshal(v)
	if err != nil {
		return "unencodable" // hashed like all text
	}
	d := json.NewDecoder(bytes.NewReader(encoded))
	d.UseNumber()
	var out any
	if d.Decode(&out) != nil {
		return "unencodable"
	}
	return out
}

func (w *writer) texts(list []string, isClear bool) {
	if list == nil {
		w.null()
		return
	}
	w.buf = append(w.buf, '[')
	for _, item := range list {
		w.comma()
		w.dataText(item, isClear)
	}
	w.buf = append(w.buf, ']')
}

// dataText writes text from a body or a header.
func (w *writer) dataText(v string, isClear bool) {
	if isClear || w.raw || isTime(v) {
		w.quoted(v)
	} else {
		w.hashed(v)
	}
}

func isTime(v string) bool {
	if len(v) < len("2006-01-02T15:04:05Z") || v[4] != '-' || v[10] != 'T' {
		return false
	}
	_, err := time.Parse(time.RFC3339, v) // fractions of a second included
	return err == nil
}

// The methods below write one member of an object, and nothing when it has no value.

func (w *writer) secret(key string, v secret.Text) {
	if v.Empty() {
		return
	}
	w.key(key)
	if w.raw {
		w.quoted(v.Reveal())
	} else {
		w.hashed(v.Reveal())
	}
}

func (w *writer) accessor(key, v string) {
	if v == "" {
		return
	}
	w.key(key)
	if w.raw || w.clearAccessors {
		w.quoted(v)
	} else {
		w.hashed(v)
	}
}

func (w *writer) text(key, v string) {
	if v != "" {
		w.key(key)
		w.quoted(v)
	}
}

func (w *writer) list(key string, v []string) {
	if len(v) > 0 {
		w.key(key)
		w.texts(v, true)
	}
}

func (w *writer) number(key string, v int) {
	if v != 0 {
		w.key(key)
		w.buf = strconv.AppendInt(w.buf, int64(v), 10)
	}
}

func (w *writer) flag(key string, v bool) {
	if v {
		w.key(key)
		w.buf = append(w.buf, "true"...)
	}
}

func (w *writer) time(key string, v time.Time, layout string) {
	if !v.IsZero() {
		w.key(key)
		w.quoted(v.UTC().Format(layout))
	}
}

// The methods below write JSON.

func (w *writer) open(key string) {
	w.key(key)
	w.buf = append(w.buf, '{')
}

func (w *writer) close() { w.buf = append(w.buf, '}') }

func (w *writer) key(name string) {
	w.comma()
	w.quoted(name)
	w.buf = append(w.buf, ':')
}

// comma separates a member or element from the one before.
func (w *writer) comma() {
	switch w.buf[len(w.buf)-1] {
	case '{', '[':
	default:
		w.buf = append(w.buf, ',')
	}
}

func (w *writer) null() { w.buf = append(w.buf, "null"...) }

func (w *writer) quoted(v string) {
	for i := range len(v) {
		if c := v[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			encoded, _ := json.Marshal(v) // text always has an encoding
			w.buf = append(w.buf, encoded...)
			return
		}
	}
	w.buf = append(append(append(w.buf, '"'), v...), '"')
}

func (w *writer) hashed(v string) {
	w.scratch = append(w.scratch[:0], v...)
	w.mac.Reset()
	w.mac.Write(w.scratch)
	clear(w.scratch)
	w.scratch = w.mac.Sum(w.scratch[:0])
	w.buf = append(w.buf, `"hmac-sha256:`...)
	w.buf = hex.AppendEncode(w.buf, w.scratch)
	w.buf = append(w.buf, '"')
}
