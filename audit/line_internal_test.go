package audit

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/secret"
)

var (
	testKey  = secret.NewBytes(bytes.Repeat([]byte{7}, 32))
	testTime = time.Date(2030, 1, 2, 3, 4, 5, 600700800, time.FixedZone("", 3600))
)

// lineOf is the line that a device with these options writes.
func lineOf(t testing.TB, options map[string]string, kind string, e *Entry, headers map[string]bool) string {
	t.Helper()
	all := map[string]string{"file_path": "discard"}
	for k, v := range options {
		all[k] = v
	}
	d, err := New("file", all, testKey)
	if err != nil {
		t.Fatal(err)
	}
	w := d.format.take()
	defer d.format.giveBack(w)
	return string(w.line(kind, e, headers))
}

var hashPattern = regexp.MustCompile(`^hmac-sha256:[0-9a-f]{64}$`)

// masked decodes a line and shows each hash as "#".
func masked(t testing.TB, line string) any {
	t.Helper()
	if !strings.HasSuffix(line, "}\n") || strings.Count(line, "\n") != 1 {
		t.Fatalf("not one line: %q", line)
	}
	var v any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	var mask func(any) any
	mask = func(v any) any {
		switch v := v.(type) {
		case string:
			if hashPattern.MatchString(v) {
				return "#"
			}
		case []any:
			for i := range v {
				v[i] = mask(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = mask(v[k])
			}
		}
		return v
	}
	return mask(v)
}

func wantLine(t *testing.T, got, want string) {
	t.Helper()
	if diff := cmp.Diff(masked(t, want+"\n"), masked(t, got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func rootAuth() Auth {
	return Auth{
		ClientToken: secret.NewText("hvs.root"), Accessor: "acc-root", DisplayName: "token",
		Policies: []string{"root"}, TokenPolicies: []string{"root"},
		Results: &PolicyResults{Allowed: true, Granting: []string{"root"}}, TokenType: "service", IssuedAt: testTime,
	}
}

func kvRequest(operation string, data map[string]any) Request {
	return Request{
		ID: "id-1", Operation: operation, Mount: Mount{Path: "kv1/", Type: "kv", Accessor: "kv_1", Class: "secret"},
		ClientToken: secret.NewText("hvs.root"), TokenAccessor: "acc-root", Path: "kv1/a", Data: data,
		RemoteAddr: "127.0.0.1", RemotePort: 4711,
	}
}

const (
	rootAuthLine = `{"client_token":"#","accessor":"#","display_name":"token","policies":["root"],"token_policies":["root"],
		"policy_results":{"allowed":true,"granting_policies":[{"name":"root","namespace_id":"root","type":"acl"}]},
		"token_type":"service","token_issue_time":"2030-01-02T02:04:05Z"}`
	lineHead = `{"time":"2030-01-02T02:04:05.6007008Z",`
	mount    = `"mount_point":"kv1/","mount_type":"kv","mount_class":"secret"`
	reached  = mount + `,"mount_accessor":"kv_1"`
	asked    = `"id":"id-1","client_token":"#","client_token_accessor":"#","namespace":{"id":"root"},"path":"kv1/a",
		"remote_address":"127.0.0.1","remote_port":4711,`
)

func TestLines(t *testing.T) {
	t.Parallel()
	reach := func(r Request) Request { r.Mount.Reached = true; return r }
	body := map[string]any{
		"password": "hunter2", "n": json.Number("5"), "flag": true, "list": []any{"x", "y", json.Number("1"), nil},
		"obj": map[string]any{"k": "v", "deep": []any{map[string]any{"k": "v"}}}, "nothing": nil,
		"at": "2030-01-01T00:00:00Z", "at_fraction": "2030-01-01T00:00:00.5+01:00", "day": "2030-01-01", "almost": "2030-13-01T00:00:00Z",
	}
	hashedBody := `{"password":"#","n":5,"flag":true,"list":["#","#",1,null],"obj":{"k":"#","deep":[{"k":"#"}]},"nothing":null,
		"at":"2030-01-01T00:00:00Z","at_fraction":"2030-01-01T00:00:00.5+01:00","day":"#","almost":"#"}`
	login := Auth{
		ClientToken: secret.NewText("hvs.new"), Accessor: "acc-new", DisplayName: "userpass-ann", Policies: []string{"default", "dev"},
		TokenPolicies: []string{"default", "dev"}, IdentityPolicies: []string{"team"}, NoDefaultPolicy: true,
		Metadata: map[string]string{"username": "ann", "a\"b": "c\nd"}, EntityID: "e-1", EntityCreated: true, TokenType: "service",
		TTL: 768 * time.Hour, NumUses: 3, RemainingUses: 2,
	}
	loginLine := `{"client_token":"#","accessor":"#","display_name":"userpass-ann","policies":["default","dev"],"token_policies":["default","dev"],
		"identity_policies":["team"],"no_default_policy":true,"metadata":{"username":"ann","a\"b":"c\nd"},"entity_id":"e-1","entity_created":true,
		"token_type":"service","token_ttl":2764800,"num_uses":3,"remaining_uses":2}`
	list := kvRequest("list", nil)
	list.Path = "kv1/"
	header := kvRequest("read", nil)
	header.Header = http.Header{"X-Trace": {"abc"}, "X-Plain": {"def", "2"}, "X-Other": {"ghi"}}
	header.CertSerial, header.WrapTTL = "0a:1b", time.Minute
	exempt := kvRequest("create", map[string]any{
		"v": "clear", "w": "hidden", "deep": map[string]any{"v": "clear too", "w": "hidden"},
		"both": []any{map[string]any{"v": []any{"clear", map[string]any{"x": "hidden", "v": "clear"}}}},
	})
	exempt.Mount.ClearRequestKeys, exempt.Mount.ClearResponseKeys = []string{"v"}, []string{"w"}

	for _, c := range []struct {
		name    string
		options map[string]string
		kind    string
		entry   Entry
		headers map[string]bool
		want    string
	}{
		{"test line", nil, "request", Entry{Request: Request{ID: "id-1", Operation: "update", Path: "sys/audit/test"}}, nil,
			`"type":"request","auth":{"token_type":"default"},"request":{"id":"id-1","operation":"update","namespace":{"id":"root"},"path":"sys/audit/test"}}`},
		{"write", nil, "request", Entry{Auth: rootAuth(), Request: kvRequest("create", body)}, nil,
			`"type":"request","auth":` + rootAuthLine + `,"request":{` + asked + reached + `,"operation":"create","data":` + hashedBody + `}}`},
		{"write, response", nil, "response", Entry{Auth: rootAuth(), Request: reach(kvRequest("create", nil)), Response: &Response{}}, nil,
			`"type":"response","auth":` + rootAuthLine + `,"request":{` + asked + reached + `,"operation":"create"},"response":{` + reached + `}}`},
		{"read", nil, "request", Entry{Auth: rootAuth(), Request: kvRequest("read", map[string]any{"x": "1"})}, nil,
			`"type":"request","auth":` + rootAuthLine + `,"request":{` + asked + mount + `,"operation":"read","data":{"x":"#"}}}`},
		{"read, response", nil, "response", Entry{Auth: rootAuth(), Request: reach(kvRequest("read", nil)), Response: &Response{Secret: &Secret{}, Data: body}}, nil,
			`"type":"response","auth":` + rootAuthLine + `,"request":{` + asked + reached + `,"operation":"read"},"response":{` + reached + `,"secret":{},"data":` + hashedBody + `}}`},
		{"lease and warnings", nil, "response", Entry{Request: reach(kvRequest("read", nil)), Response: &Response{Secret: &Secret{"kv1/a/1"}, Warnings: []string{"w 1"}}}, nil,
			`"type":"response","auth":{"token_type":"default"},"request":{` + asked + reached + `,"operation":"read"},
			"response":{` + reached + `,"secret":{"lease_id":"kv1/a/1"},"warnings":["w 1"]}}`},
		{"refused", nil, "response", Entry{Auth: Auth{Results: &PolicyResults{}}, Request: kvRequest("delete", nil), Response: &Response{Data: map[string]any{"error": "e"}},
			Error: "1 error occurred:\n\t* permission denied\n\n"}, nil,
			`"type":"response","auth":{"policy_results":{"allowed":false},"token_type":"default"},"request":{` + asked + mount + `,"operation":"delete"},
			"response":{` + mount + `,"data":{"error":"#"}},"error":"1 error occurred:\n\t* permission denied\n\n"}`},
		{"no mount", nil, "response", Entry{Request: Request{ID: "id-1", Operation: "read", Path: "none/x"}, Response: &Response{}, Error: "unsupported path"}, nil,
			`"type":"response","auth":{"token_type":"default"},"request":{"id":"id-1","operation":"read","namespace":{"id":"root"},"path":"none/x"},"response":{},"error":"unsupported path"}`},
		{"login", nil, "response", Entry{Auth: login, Request: Request{ID: "i", Operation: "update", Path: "auth/userpass/login/ann"}, Response: &Response{Auth: &login}}, nil,
			`"type":"response","auth":` + loginLine + `,"request":{"id":"i","operation":"update","namespace":{"id":"root"},"path":"auth/userpass/login/ann"},"response":{"auth":` + loginLine + `}}`},
		{"wrapped", nil, "response", Entry{Request: kvRequest("read", nil), Response: &Response{Wrap: &Wrap{TTL: time.Minute, Token: secret.NewText("hvs.w"),
			Accessor: "acc-w", CreatedAt: testTime, CreationPath: "kv1/a", WrappedAccessor: "acc-in"}}}, nil,
			`"type":"response","auth":{"token_type":"default"},"request":{` + asked + mount + `,"operation":"read"},"response":{` + mount + `,
			"wrap_info":{"ttl":60,"token":"#","accessor":"#","creation_time":"2030-01-02T02:04:05.6007008Z","creation_path":"kv1/a","wrapped_accessor":"#"}}}`},
		{"headers", nil, "request", Entry{Request: header}, map[string]bool{"x-trace": true, "x-plain": false, "x-absent": false},
			`"type":"request","auth":{"token_type":"default"},"request":{` + asked + mount + `,"operation":"read","wrap_ttl":60,
			"headers":{"x-plain":["def","2"],"x-trace":["#"]},"client_certificate_serial_number":"0a:1b"}}`},
		{"exempt keys", nil, "response", Entry{Request: exempt, Response: &Response{Data: map[string]any{"v": "hidden", "w": "clear"}}}, nil,
			`"type":"response","auth":{"token_type":"default"},"request":{` + asked + reached + `,"operation":"create",
			"data":{"v":"clear","w":"#","deep":{"v":"clear too","w":"#"},"both":[{"v":["clear",{"x":"#","v":"clear"}]}]}},
			"response":{` + reached + `,"data":{"v":"#","w":"clear"}}}`},
		{"list", nil, "response", Entry{Request: reach(list), Response: &Response{Data: map[string]any{"keys": []string{"a", "b"}}}}, nil,
			`"type":"response","auth":{"token_type":"default"},"request":{` + strings.Replace(asked, "kv1/a", "kv1/", 1) + reached + `,"operation":"list"},
			"response":{` + reached + `,"data":{"keys":["#","#"]}}}`},
		{"elided list", map[string]string{"elide_list_responses": "true"}, "response", Entry{Request: reach(list), Response: &Response{Data: map[string]any{
			"keys": []string{"a", "b"}, "key_info": map[string]any{"a": 1}, "other": []string{"x"}}}}, nil,
			`"type":"response","auth":{"token_type":"default"},"request":{` + strings.Replace(asked, "kv1/a", "kv1/", 1) + reached + `,"operation":"list"},
			"response":{` + reached + `,"data":{"keys":2,"key_info":1,"other":["#"]}}}`},
		{"only lists are elided", map[string]string{"elide_list_responses": "true"}, "response", Entry{Request: reach(kvRequest("read", nil)), Response: &Response{Data: map[string]any{
			"keys": []string{"a", "b"}}}}, nil,
			`"type":"response","auth":{"token_type":"default"},"request":{` + asked + reached + `,"operation":"read"},"response":{` + reached + `,"data":{"keys":["#","#"]}}}`},
		{"clear accessors", map[string]string{"hmac_accessor": "false"}, "response", Entry{Auth: rootAuth(), Request: kvRequest("read", nil),
			Response: &Response{Data: map[string]any{"accessor": "in data"}, Wrap: &Wrap{Accessor: "acc-w", WrappedAccessor: "acc-in"}}}, nil,
			`"type":"response","auth":` + strings.Replace(rootAuthLine, `"accessor":"#"`, `"accessor":"acc-root"`, 1) + `,
			"request":{` + strings.Replace(asked, `"client_token_accessor":"#"`, `"client_token_accessor":"acc-root"`, 1) + mount + `,"operation":"read"},
			"response":{` + mount + `,"data":{"accessor":"#"},"wrap_info":{"accessor":"acc-w","wrapped_accessor":"acc-in"}}}`},
		{"raw", map[string]string{"log_raw": "true"}, "request", Entry{Auth: Auth{ClientToken: secret.NewText("hvs.root"), Accessor: "acc"},
			Request: Request{ID: "i", Operation: "update", ClientToken: secret.NewText("hvs.root"), Path: "p", Data: map[string]any{"a": "x", "b": []any{"y"}, "c": map[string]any{"d": "z"}},
				Header: http.Header{"X-Trace": {"abc"}}}}, map[string]bool{"x-trace": true},
			`"type":"request","auth":{"client_token":"hvs.root","accessor":"acc","token_type":"default"},"request":{"id":"i","operation":"update","client_token":"hvs.root",
			"namespace":{"id":"root"},"path":"p","data":{"a":"x","b":["y"],"c":{"d":"z"}},"headers":{"x-trace":["abc"]}}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.entry.Time = testTime
			want := regexp.MustCompile(`\n\t+`).ReplaceAllString(lineHead+c.want, "")
			wantLine(t, lineOf(t, c.options, c.kind, &c.entry, c.headers), want)
		})
	}
}

// Engines answer with more types than JSON decoding makes.
func TestDataTypes(t *testing.T) {
	t.Parallel()
	type named string
	type inner struct {
		Name string `json:"name"`
		Skip string `json:"-"`
	}
	e := Entry{Time: testTime, Request: Request{Data: map[string]any{
		"strings": []string{"a"}, "nil_strings": []string(nil), "map": map[string]string{"k": "v"}, "nil_map": map[string]string(nil),
		"nil_object": map[string]any(nil), "nil_list": []any(nil), "maps": []map[string]any{{"k": "v", "n": 1}}, "named": named("x"),
		"struct": &inner{"n", "s"}, "bytes": []byte("x"), "int": 5, "int64": int64(-6), "uint8": uint8(7), "float": 1.5, "nan": math.NaN(),
		"time": testTime, "duration": time.Second, "secret": secret.NewText("x"), "raw": json.RawMessage(`{"a":["b",1]}`),
		"bad_number": json.Number("not a number"), "func": func() {},
	}}}
	wantLine(t, lineOf(t, nil, "request", &e, nil), lineHead+`"type":"request","auth":{"token_type":"default"},"request":{"namespace":{"id":"root"},"data":{`+
		`"strings":["#"],"nil_strings":null,"map":{"k":"#"},"nil_map":null,"nil_object":null,"nil_list":null,"maps":[{"k":"#","n":1}],"named":"#",`+
		`"struct":{"name":"#"},"bytes":"#","int":5,"int64":-6,"uint8":7,"float":1.5,"nan":"#","time":"2030-01-02T03:04:05.6007008+01:00",`+
		`"duration":1000000000,"secret":"#","raw":{"a":["#",1]},"bad_number":"#","func":"#"}}}`)
}

func TestHashes(t *testing.T) {
	t.Parallel()
	one, err := New("file", map[string]string{"file_path": "discard"}, testKey)
	if err != nil {
		t.Fatal(err)
	}
	two, err := New("file", map[string]string{"file_path": "discard"}, secret.NewBytes(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	// printf abc | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707...
	const want = "hmac-sha256:127da4ced6a839b8f6118bc244684d2663e70cb5ff0adeefca89d7e74d5a0525"
	if got := one.Hash("abc"); got != one.Hash("abc") || !hashPattern.MatchString(got) || got == two.Hash("abc") || got == one.Hash("abd") {
		t.Errorf("hashes are not the device's own, or not of the text: %s", got)
	} else if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	line := lineOf(t, nil, "request", &Entry{Request: Request{Data: map[string]any{"deep": []any{map[string]any{"k": "abc"}}}}}, nil)
	if !strings.Contains(line, `"`+one.Hash("abc")+`"`) {
		t.Errorf("the hash in the line is not that of Hash: %s", line)
	}
}

func TestPrefixAndJSONx(t *testing.T) {
	t.Parallel()
	e := Entry{Time: testTime, Auth: Auth{Results: &PolicyResults{}}, Request: Request{Path: "a<b", Data: map[string]any{
		"a\"&": nil, "n": 1, "l": []any{"2030-01-01T00:00:00Z", true}}}}
	line := lineOf(t, map[string]string{"prefix": "@cee: "}, "request", &e, nil)
	if !strings.HasPrefix(line, `@cee: {"time":`) {
		t.Errorf("got %q", line)
	}
	line = lineOf(t, map[string]string{"prefix": "@cee: ", "format": "jsonx"}, "request", &e, nil)
	want := `@cee: <json:object xmlns:json="http://www.ibm.com/xmlns/prod/2009/jsonx"><json:string name="time">2030-01-02T02:04:05.6007008Z</json:string>` +
		`<json:string name="type">request</json:string><json:object name="auth"><json:object name="policy_results"><json:boolean name="allowed">false</json:boolean>` +
		`</json:object><json:string name="token_type">default</json:string></json:object><json:object name="request"><json:object name="namespace">` +
		`<json:string name="id">root</json:string></json:object><json:string name="path">a&lt;b</json:string><json:object name="data"><json:null name="a&#34;&amp;"/>` +
		`<json:array name="l"><json:string>2030-01-01T00:00:00Z</json:string><json:boolean>true</json:boolean></json:array><json:number name="n">1</json:number>` +
		`</json:object></json:object></json:object>` + "\n"
	if diff := cmp.Diff(want, line); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzCanary marks every text in a body and looks for the mark in the line, which otherwise keeps the body's shape.
func FuzzCanary(f *testing.F) {
	for _, body := range []string{
		`{"a":"b","c":["d",{"e":"f"}],"g":1,"h":null,"i":true}`, `{"\u0000":"\ud800","x\"y":["\\"]}`, `{"at":"2030-01-01T00:00:00Z"}`, `{"":{"":{"":""}}}`,
	} {
		f.Add(body, "header")
	}
	device, err := New("file", map[string]string{"file_path": "discard"}, testKey)
	if err != nil {
		f.Fatal(err)
	}
	const canary = "canary-3f9c"
	f.Fuzz(func(t *testing.T, body, header string) {
		var data map[string]any
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		if d.Decode(&data) != nil || strings.Contains(strings.ToLower(body), canary) {
			return
		}
		mark(data, canary)
		e := Entry{
			Auth:    Auth{ClientToken: secret.NewText(canary + header), Accessor: canary},
			Request: Request{ClientToken: secret.NewText(header + canary), TokenAccessor: canary, Data: data, Header: http.Header{"X-A": {canary + header}, "X-B": {canary}}},
			Response: &Response{Auth: &Auth{ClientToken: secret.NewText(canary), Accessor: canary}, Data: data,
				Wrap: &Wrap{Token: secret.NewText(canary), Accessor: canary, WrappedAccessor: canary}},
		}
		w := device.format.take()
		defer device.format.giveBack(w)
		line := w.line("response", &e, map[string]bool{"x-a": true})
		if bytes.Contains(bytes.ToLower(line), []byte(canary)) {
			t.Fatalf("a marked text is in the line: %s", line)
		}
		var back struct {
			Request, Response struct{ Data map[string]any }
		}
		d = json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&back); err != nil || bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("not one line of JSON: %v: %s", err, line)
		}
		for _, got := range []map[string]any{back.Request.Data, back.Response.Data} {
			if len(data) > 0 && !sameShape(data, got) {
				t.Fatalf("body %s became %v", body, got)
			}
		}
	})
}

// mark puts the mark before every text below v.
func mark(v any, with string) any {
	switch v := v.(type) {
	case string:
		return with + v
	case []any:
		for i := range v {
			v[i] = mark(v[i], with)
		}
	case map[string]any:
		for k := range v {
			v[k] = mark(v[k], with)
		}
	}
	return v
}

// sameShape holds a body against what is left of it: hashes in place of text, everything else as it was.
func sameShape(was, is any) bool {
	switch was := was.(type) {
	case string:
		text, ok := is.(string)
		return ok && hashPattern.MatchString(text)
	case []any:
		list, ok := is.([]any)
		if !ok || len(list) != len(was) {
			return false
		}
		for i := range was {
			if !sameShape(was[i], list[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		object, ok := is.(map[string]any)
		if !ok || len(object) != len(was) {
			return false
		}
		for k := range was {
			if v, ok := object[k]; !ok || !sameShape(was[k], v) {
				return false
			}
		}
		return true
	default:
		return reflect.DeepEqual(was, is)
	}
}
