package secretfile_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/cli/secretfile"
)

var formats = []secretfile.Format{secretfile.Dotenv, secretfile.JSON, secretfile.YAML, secretfile.Kubernetes}

const name = "app"

// awkward are values that a careless writer or reader changes.
var awkward = []string{
	"", " ", " a ", "a b", "it's", `"`, `say "hi"`, `"quoted"`, `'`, `''`, `\`, `a\`, `\n`, `C:\temp\new`, "$", "$HOME", "${HOME}", "$(id)",
	"pa$$word", `\$X`, "a#b", "a #b", "# no comment", "a # b # c", "`id`", "!", "a=b", "=", ":", "a: b", "- a", "[a]", "{a}", "&a", "*a", "<<",
	"~", "null", "true", "yes", "NO", "on", "0", "007", "1e3", "0x1F", "1_000", "-1", "+1", ".5", "1.0", "12345678901234567890", "2026-01-01",
	"12:30:00", "a\nb", "a\nb\n", "\n", "\na", "a\n\n b", "a\r\nb", "\r", "a\tb", "\t", "a \nb", "\x00", "\x1b[31m", "\u0085", "\u2028", "\ufeff",
	"ü", "日本語", "😀", "\ue000", "\ue001", "|", ">", "%", "@", ",", "?", "--- a", "...", "-----BEGIN KEY-----\nMIIE+/=\n-----END KEY-----\n",
	`{"a":"b","c":[1,"x"]}`, "export A=b", `'"`, `"'\`, `\"`, `\\"`, `a'b"c$D\`, strings.Repeat("long ", 50),
}

// TestRoundTrip: what is written is read as it was, whatever the format, or is refused with its key.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		held := 0
		for _, value := range awkward {
			data := map[string]any{"KEY": value, "OTHER": "x"}
			text, err := secretfile.Encode(f, data, name)
			if err != nil {
				if f != secretfile.Dotenv || !strings.Contains(err.Error(), `"KEY"`) {
					t.Errorf("%s: %q: %v", f, value, err)
				}
				continue
			}
			held++
			got, err := secretfile.Decode(f, text)
			if diff := cmp.Diff(data, got); diff != "" || err != nil {
				t.Errorf("%s: %q: %v (-want +got):\n%s\nfile:\n%s", f, value, err, diff, text)
			}
		}
		if held < len(awkward)*8/10 {
			t.Errorf("%s held only %d of %d values", f, held, len(awkward))
		}
	}
}

// TestEveryValue has JSON and YAML hold all that a secret can be, and the others refuse what is not text.
func TestEveryValue(t *testing.T) {
	t.Parallel()
	values := map[string]any{
		"null": nil, "yes": true, "off": false, "n": json.Number("12345678901234567890123"), "f": json.Number("1.10"), "e": json.Number("1E400"),
		"z": json.Number("-0"), "list": []any{"a", json.Number("1"), nil, []any{}, map[string]any{}}, "": "empty", "a b": "x", "é": "y", "1": "one",
		"<<": "merge", "~": "tilde", "deep": map[string]any{"k": map[string]any{"true": []any{map[string]any{"x": "y\nz"}}}},
	}
	for _, f := range []secretfile.Format{secretfile.JSON, secretfile.YAML} {
		text, err := secretfile.Encode(f, values, "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := secretfile.Decode(f, text)
		if diff := cmp.Diff(values, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s\nfile:\n%s", f, err, diff, text)
		}
	}
	for value, want := range map[string]string{
		"1": "a number", "true": "a boolean", "null": "null", `["canary"]`: "a list", `{"canary":"canary"}`: "an object",
	} {
		data, err := secretfile.Decode(secretfile.JSON, []byte(`{"KEY":`+value+`}`))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []secretfile.Format{secretfile.Dotenv, secretfile.Kubernetes} {
			_, err := secretfile.Encode(f, data, name)
			if want := `the value of key "KEY" is ` + want + ", and " + string(f) + " holds text alone: use json or yaml"; err == nil || err.Error() != want {
				t.Errorf("%s: %s: error %v, want %s", f, value, err, want)
			}
		}
	}
}

// TestRandom makes secrets of awkward pieces.
func TestRandom(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	piece := func() string { return awkward[random.IntN(len(awkward))] }
	for range 300 {
		data := map[string]any{}
		for i := range 1 + random.IntN(3) {
			data[string(rune('A'+i))] = piece() + piece() + piece()
		}
		for _, f := range formats {
			text, err := secretfile.Encode(f, data, name)
			if err != nil {
				if f != secretfile.Dotenv {
					t.Fatalf("seed %d: %s: %q: %v", seed, f, data, err)
				}
				continue
			}
			got, err := secretfile.Decode(f, text)
			if diff := cmp.Diff(data, got); diff != "" || err != nil {
				t.Fatalf("seed %d: %s: %v (-want +got):\n%s\nfile:\n%s", seed, f, err, diff, text)
			}
		}
	}
}

// TestFiles pins how files look.
func TestFiles(t *testing.T) {
	t.Parallel()
	data := map[string]any{"USER": "app", "PASSWORD": "it's $ecret\n", "EMPTY": "", "NOTE": "two words", "KEY": "-----BEGIN-----\nAA==\n-----END-----\n", "yes": "no"}
	for f, want := range map[secretfile.Format]string{
		secretfile.Dotenv: "EMPTY=\nKEY='-----BEGIN-----\nAA==\n-----END-----\n'\nNOTE='two words'\n" + `PASSWORD="it's \$ecret\n"` + "\nUSER=app\nyes=no\n",
		secretfile.JSON: `{
  "EMPTY": "",
  "KEY": "-----BEGIN-----\nAA==\n-----END-----\n",
  "NOTE": "two words",
  "PASSWORD": "it's $ecret\n",
  "USER": "app",
  "yes": "no"
}
`,
		secretfile.YAML: `EMPTY: ""
KEY: |
  -----BEGIN-----
  AA==
  -----END-----
NOTE: "two words"
PASSWORD: |
  it's $ecret
USER: "app"
"yes": "no"
`,
		secretfile.Kubernetes: `apiVersion: v1
kind: Secret
metadata:
  name: "app"
type: Opaque
data:
  EMPTY: ""
  KEY: "LS0tLS1CRUdJTi0tLS0tCkFBPT0KLS0tLS1FTkQtLS0tLQo="
  NOTE: "dHdvIHdvcmRz"
  PASSWORD: "aXQncyAkZWNyZXQK"
  USER: "YXBw"
  "yes": "bm8="
`,
	} {
		text, err := secretfile.Encode(f, data, name)
		if diff := cmp.Diff(want, string(text)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", f, err, diff)
		}
	}
}

// TestDecode reads what others write.
func TestDecode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		format secretfile.Format
		text   string
		want   map[string]any
	}{
		{"dotenv", secretfile.Dotenv, "# comment\nexport A=b # why\n\nB = \"x\\ny\"\r\nC='$HOME # \"'\nD=\nE=\"a\\$b \\\"c\\\" d\"\nF=pa$$word\nG: h\nH=$(id)\n",
			map[string]any{"A": "b", "B": "x\ny", "C": `$HOME # "`, "D": "", "E": `a$b "c" d`, "F": "pa$$word", "G": "h", "H": "$(id)"}},
		{"dotenv with many lines", secretfile.Dotenv, "A=\"x\ny\"\nB='x\n\ny'", map[string]any{"A": "x\ny", "B": "x\n\ny"}},
		{"byte order mark", secretfile.Dotenv, "\xef\xbb\xbfA=b", map[string]any{"A": "b"}},
		{"json", secretfile.JSON, ` {"a":1.50,"b":{"a":[null,true]},"c":"\u00e9"} `,
			map[string]any{"a": json.Number("1.50"), "b": map[string]any{"a": []any{nil, true}}, "c": "é"}},
		{"empty object", secretfile.JSON, "{}", map[string]any{}},
		{"yaml", secretfile.YAML, "---\na: &x 1.50\nb: *x\nc: 2026-01-01\nd: yes\ne: [~, !!str 1, True]\nf: >\n  two\n  lines\n8080: p\n# end\n",
			map[string]any{"a": json.Number("1.50"), "b": json.Number("1.50"), "c": "2026-01-01", "d": "yes", "e": []any{nil, "1", true},
				"f": "two lines\n", "8080": "p"}},
		{"manifest", secretfile.Kubernetes, "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nimmutable: true\ndata:\n  a: YQ==\n  b: |\n    Yg\n    ==\n  e: \"\"\nstringData:\n  b: two\n  c: \"3\"\n",
			map[string]any{"a": "a", "b": "two", "c": "3", "e": ""}},
		{"manifest in JSON", secretfile.Kubernetes, `{"apiVersion":"v1","kind":"Secret","data":{"a":"YQ=="}}`, map[string]any{"a": "a"}},
		{"manifest without data", secretfile.Kubernetes, "apiVersion: v1\nkind: Secret\ndata:\n", map[string]any{}},
	} {
		got, err := secretfile.Decode(tc.format, []byte(tc.text))
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tc.name, err, diff)
		}
	}
}

// TestRefusals: an error names the key or the line, never a value.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		format     secretfile.Format
		text, want string
	}{
		{secretfile.Dotenv, "", "there are no keys in it"},
		{secretfile.Dotenv, "# nothing\n", "there are no keys in it"},
		{secretfile.Dotenv, "A=b\ncanary\nC=d\n", "not dotenv, in line 2"},
		{secretfile.Dotenv, "canary", "is not a name for a variable"},
		{secretfile.Dotenv, "A=b\nB=\"canary\n", "not dotenv, in line 2"},
		{secretfile.Dotenv, "A-B=canary", "not dotenv, in line 1"},
		{secretfile.Dotenv, "1A=canary", `"1A" is not a name for a variable`},
		{secretfile.Dotenv, "A=canary$B", `the value of key "A" is ambiguous`},
		{secretfile.Dotenv, `A="canary${B}"`, `the value of key "A" is ambiguous`},
		{secretfile.Dotenv, `A="canary \"x\""`, `the value of key "A" is ambiguous`},
		{secretfile.Dotenv, "A=canary # one # two", `the value of key "A" is ambiguous`},
		{secretfile.JSON, "", "not JSON"},
		{secretfile.JSON, "{\n\"a\": canary}", "not JSON, in line 2"},
		{secretfile.JSON, `{"a":"canary"} {}`, "there is more than one JSON value"},
		{secretfile.JSON, `["canary"]`, "a list, not an object of keys and values"},
		{secretfile.JSON, `"canary"`, "text, not an object of keys and values"},
		{secretfile.JSON, `{"a":"canary","b":[{"x":1},{"x":{"y":1,"y":2}}]}`, `key "y" stands twice in one object`},
		{secretfile.JSON, "{\"a\":\"\xff\"}", "not UTF-8 text"},
		{secretfile.YAML, "", "there are no keys in it"},
		{secretfile.YAML, "a: b\nc: [canary\n", "not YAML, in line"},
		{secretfile.YAML, "a: b\n---\nc: canary\n", "there is more than one YAML document"},
		{secretfile.YAML, "- canary", "a list, not a mapping"},
		{secretfile.YAML, "a: canary\na: b\n", `key "a" stands twice`},
		{secretfile.YAML, "a: 0x1F", `the value of key "a" is a number in a form that a secret cannot hold`},
		{secretfile.YAML, "b: {a: 007}", `the value of key "a" is a number in a form`},
		{secretfile.YAML, "a: .inf", `the value of key "a" is a number in a form`},
		{secretfile.YAML, "a: !vault canary", `the value of key "a" has a tag that is not read`},
		{secretfile.YAML, "a: !!binary Y2FuYXJ5", `the value of key "a" has a tag that is not read`},
		{secretfile.YAML, "a: !!set {canary}", `the value of key "a" has a tag that is not read`},
		{secretfile.YAML, "x: &x {a: canary}\ny:\n  <<: *x\n", "merge keys (<<) are not read, in line 3"},
		{secretfile.YAML, "? [canary]\n: b\n", "in line 1 a key is not text"},
		{secretfile.YAML, "a: &a [*a]", "too much comes of its aliases"},
		{secretfile.YAML, bomb(), "too much comes of its aliases"},
		{secretfile.Kubernetes, "apiVersion: v1\nkind: ConfigMap\ndata: {a: canary}", "not the manifest of a Secret"},
		{secretfile.Kubernetes, "apiVersion: v1\nkind: Secret\ndata: {a: canary}", `the value of key "a" in data is not base64`},
		{secretfile.Kubernetes, "apiVersion: v1\nkind: Secret\ndata: {a: /w==}", `the value of key "a" in data is not text`},
		{secretfile.Kubernetes, "apiVersion: v1\nkind: Secret\ndata: [canary]", "data is a list, not a mapping"},
		{secretfile.Kubernetes, "apiVersion: v1\nkind: Secret\nstringData: {a: 5}", `the value of key "a" in stringData is a number, not text`},
	} {
		got, err := secretfile.Decode(tc.format, []byte(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %q: %v, error %v; want %q", tc.format, tc.text, got, err, tc.want)
		} else if strings.Contains(err.Error(), "canary") && !strings.Contains(tc.want, "variable") {
			t.Errorf("%s: %q: the error quotes the value: %v", tc.format, tc.text, err)
		}
	}
	for _, tc := range []struct {
		format    secretfile.Format
		key, name string
		want      string
	}{
		{secretfile.Dotenv, "a-b", "", `"a-b" is not a name for a variable: use json or yaml`},
		{secretfile.Dotenv, "export A", "", `"export A" is not a name for a variable`},
		{secretfile.Kubernetes, "a/b", name, `"a/b" is not a name for a key of a Kubernetes Secret`},
		{secretfile.Kubernetes, strings.Repeat("a", 254), name, "is not a name for a key"},
		{secretfile.Kubernetes, "a", "My_App", `"My_App" is not a name for a Kubernetes Secret`},
		{secretfile.Kubernetes, "a", "", "is not a name for a Kubernetes Secret"},
	} {
		if _, err := secretfile.Encode(tc.format, map[string]any{tc.key: "canary"}, tc.name); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %q: error %v, want %q", tc.format, tc.key, err, tc.want)
		}
	}
}

// bomb is a short text whose aliases stand for a billion values.
func bomb() string {
	text := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'j'; c++ {
		text += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+string(c-1)+", ", 10), ", ") + "]\n"
	}
	return text
}

func TestFormatNames(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]secretfile.Format{
		".env": secretfile.Dotenv, "dir/app.env": secretfile.Dotenv, ".env.production": secretfile.Dotenv, "a.JSON": secretfile.JSON,
		"a.yaml": secretfile.YAML, "a.yml": secretfile.YAML, "a": "", "-": "", "env": "", "a.txt": "",
	} {
		if got, known := secretfile.OfFile(file); known != (want != "") || known && got != want {
			t.Errorf("%s: %q, %v; want %q", file, got, known, want)
		}
	}
	for text, want := range map[string]secretfile.Format{
		"dotenv": secretfile.Dotenv, "env": secretfile.Dotenv, "JSON": secretfile.JSON, "yml": secretfile.YAML, "k8s": secretfile.Kubernetes, "table": "",
	} {
		if got, known := secretfile.Named(text); got != want || known != (want != "") {
			t.Errorf("%s: %q, %v; want %q", text, got, known, want)
		}
	}
}

// FuzzDecode: whatever was read can be written as JSON and YAML and read back the same, and in the other formats too or
// not at all.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{"A=b", "A=\"x\\ny\" # c\nB='$x'", `{"a":[1,{"b":null}]}`, "a: |\n  x\n  y\nb: *c", "a: !!float 1", "? a\n: b",
		"apiVersion: v1\nkind: Secret\ndata: {a: YQ==}", "\"\\x85\": \"\\u2028\"", "a: \"\\0\"", "a: >-\n\n  x\n   y\n"} {
		for i := range formats {
			f.Add(i, []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, i int, text []byte) {
		data, err := secretfile.Decode(formats[uint(i)%uint(len(formats))], text)
		if err != nil {
			return
		}
		for _, format := range formats {
			written, err := secretfile.Encode(format, data, name)
			if err != nil {
				if format == secretfile.JSON || format == secretfile.YAML {
					t.Fatalf("%q cannot be written as %s: %v", data, format, err)
				}
				continue
			}
			back, err := secretfile.Decode(format, written)
			if diff := cmp.Diff(data, back); diff != "" || err != nil {
				t.Fatalf("%s: %v (-want +got):\n%s\nfile:\n%s", format, err, diff, written)
			}
		}
	})
}
