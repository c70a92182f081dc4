package audit

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"leasehold/internal/errs"
)

func TestOptionErrors(t *testing.T) {
	t.Parallel()
	file := func(options ...string) map[string]string {
		m := map[string]string{"file_path": "discard"}
		for i := 0; i < len(options); i += 2 {
			m[options[i]] = options[i+1]
		}
		return m
	}
	for _, c := range []struct {
		typ     string
		options map[string]string
		want    string
	}{
		{"nope", nil, `unknown backend type: "nope"`},
		{"", nil, `unknown backend type: ""`},
		{"file", nil, `file_path is required`},
		{"file", file("log_raw", "maybe"), `strconv.ParseBool: parsing "maybe": invalid syntax`},
		{"file", file("hmac_accessor", ""), `strconv.ParseBool: parsing "": invalid syntax`},
		{"file", file("elide_list_responses", "2"), `strconv.ParseBool: parsing "2": invalid syntax`},
		{"file", file("skip_test", "no"), `strconv.ParseBool: parsing "no": invalid syntax`},
		{"file", file("mode", "abc"), `strconv.ParseUint: parsing "abc": invalid syntax`},
		{"file", file("mode", "4777"), `strconv.ParseUint: parsing "4777": value out of range`},
		{"file", file("format", "xml"), `unknown format type "xml"`},
		{"socket", nil, `address is required`},
		{"socket", map[string]string{"address": "a", "socket_type": "raw"}, `unknown socket type "raw"`},
		{"socket", map[string]string{"address": "a", "write_timeout": "x"}, `unreadable write_timeout "x"`},
		{"socket", map[string]string{"address": "a", "write_timeout": "-1s"}, `unreadable write_timeout "-1s"`},
		{"syslog", map[string]string{"facility": "nobody"}, `unknown syslog facility "nobody"`},
	} {
		_, err := New(c.typ, c.options, testKey)
		if shown := errs.From(err); shown == nil || shown.Code != errs.Invalid || shown.Shown() != c.want {
			t.Errorf("%s %v: got %v, want %q", c.typ, c.options, err, c.want)
		}
	}
	for _, options := range []map[string]string{
		file("mode", "0644"), file("format", "json"), file("format", "jsonx"), file("exclude", "unknown options do not matter"),
	} {
		if _, err := New("file", options, testKey); err != nil {
			t.Errorf("%v: %v", options, err)
		}
	}
}

func mustNew(t *testing.T, typ string, options map[string]string) *Device {
	t.Helper()
	d, err := New(typ, options, testKey)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestCheck(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "new", "folder", "audit.log")
	if err := mustNew(t, "file", map[string]string{"file_path": path}).Check(t.Context(), "id-1", testTime); err != nil {
		t.Error(err)
	}
	line, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantLine(t, string(line), lineHead+`"type":"request","auth":{"token_type":"default"},"request":{"id":"id-1","operation":"update","namespace":{"id":"root"},"path":"sys/audit/test"}}`)

	silent := filepath.Join(folder, "silent.log")
	if err := mustNew(t, "file", map[string]string{"file_path": silent, "skip_test": "true"}).Check(t.Context(), "id-1", testTime); err != nil {
		t.Error(err)
	}
	if line, err = os.ReadFile(silent); err != nil || len(line) > 0 {
		t.Errorf("with skip_test: got %q, %v; want the file made and left empty", line, err)
	}

	full := mustNew(t, "file", map[string]string{"file_path": "/dev/full"})
	err = full.Check(t.Context(), "id-1", testTime)
	if shown := errs.From(err); shown == nil || shown.Shown() != "audit backend failed test message: write /dev/full: file already closed" || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full device: %v", err)
	}
	if err := mustNew(t, "file", map[string]string{"file_path": "/dev/full", "skip_test": "true"}).Check(t.Context(), "id-1", testTime); err != nil {
		t.Errorf("full device with skip_test: %v", err)
	}
	if err := mustNew(t, "file", map[string]string{"file_path": folder, "skip_test": "true"}).Check(t.Context(), "id-1", testTime); errs.From(err) == nil {
		t.Errorf("a folder: got %v, want a refusal", err)
	}
	unused := filepath.Join(folder, "nobody.sock")
	err = mustNew(t, "socket", map[string]string{"address": unused, "socket_type": "unix"}).Check(t.Context(), "id-1", testTime)
	if shown := errs.From(err); shown == nil || !strings.HasPrefix(shown.Shown(), "audit backend failed test message: dial unix ") {
		t.Errorf("socket that nobody serves: %v", err)
	}
}

func TestFileMode(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, c := range []struct {
		mode     string
		existing os.FileMode // 0: no file yet
		want     os.FileMode
	}{
		{"", 0, 0o600}, {"", 0o644, 0o600}, {"0640", 0, 0o640}, {"640", 0o600, 0o640}, {"0000", 0, 0o600}, {"0000", 0o644, 0o644},
	} {
		path := filepath.Join(folder, c.mode+c.existing.String())
		if c.existing != 0 {
			if err := os.WriteFile(path, nil, c.existing); err != nil {
				t.Fatal(err)
			}
		}
		options := map[string]string{"file_path": path}
		if c.mode != "" {
			options["mode"] = c.mode
		}
		if err := mustNew(t, "file", options).Check(t.Context(), "id", testTime); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != c.want {
			t.Errorf("mode %q on %v: got %v, %v; want %v", c.mode, c.existing, info.Mode(), err, c.want)
		}
	}
	if err := mustNew(t, "file", map[string]string{"file_path": "/dev/null"}).Check(t.Context(), "id", testTime); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("the mode of /dev/null: %v, %v", info.Mode(), err)
	}
}

// A file whose folder is gone fails, and works again as soon as it can be made.
func TestFileRecovers(t *testing.T) {
	t.Parallel()
	obstacle := filepath.Join(t.TempDir(), "folder")
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(obstacle, "audit.log")
	d := mustNew(t, "file", map[string]string{"file_path": path})
	if err := d.write(t.Context(), "request", &Entry{}, nil); err == nil {
		t.Error("a line was written below a file")
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	if err := d.write(t.Context(), "request", &Entry{}, nil); err != nil {
		t.Error(err)
	}
}

// What a disk that ran full has left of a line does not spoil the next one.
func TestFileTornLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	sink, err := newFile(map[string]string{"file_path": path})
	if err != nil {
		t.Fatal(err)
	}
	f := sink.(*file)
	for _, step := range []struct {
		line string
		torn bool
	}{{"half a li", false}, {"one\n", true}, {"two\n", false}} {
		f.broken.Store(step.torn)
		if err := f.Write(t.Context(), []byte(step.line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "half a li\none\ntwo\n" {
		t.Errorf("got %q", got)
	}
}

func TestStreamSocket(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "s")
		}
		listener, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		s := mustNew(t, "socket", map[string]string{"address": listener.Addr().String(), "socket_type": network, "write_timeout": "30"})
		// The receiver goes away after each line. Writing again finds that out at the first or second try.
		for range 2 {
			received := make(chan string, 1)
			go func() {
				defer close(received)
				conn, err := listener.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				line, err := bufio.NewReader(conn).ReadString('\n')
				if err != nil {
					t.Error(err)
				}
				received <- line
			}()
			var line string
			for waiting := true; waiting; {
				if err := s.write(t.Context(), "request", &Entry{Time: testTime}, nil); err != nil {
					t.Fatal(err)
				}
				select {
				case line = <-received:
					waiting = false
				default:
				}
			}
			if !strings.Contains(line, `"type":"request"`) {
				t.Errorf("%s: received %q", network, line)
			}
		}
		_ = listener.Close()
	}
}

// A receiver that does not read costs the timeout and no more.
func TestSocketTimeout(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := mustNew(t, "socket", map[string]string{"address": listener.Addr().String(), "socket_type": "unix", "write_timeout": "20ms"})
	err = s.write(t.Context(), "request", &Entry{Error: strings.Repeat("x", 1<<24)}, nil)
	if err == nil || !strings.HasSuffix(err.Error(), "no answer in 20ms") {
		t.Errorf("when nobody reads: got %v", err)
	}
	busy := s.sink.(*socket)
	conn := <-busy.turn // somebody else is sending
	if err := s.write(t.Context(), "request", &Entry{}, nil); err == nil || !strings.HasSuffix(err.Error(), "no answer in 20ms") {
		t.Errorf("while another sends: got %v", err)
	}
	busy.turn <- conn
}

func TestDatagrams(t *testing.T) {
	t.Parallel()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	local, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	sys := mustNew(t, "syslog", map[string]string{"facility": "local3", "tag": "tagged"})
	target := sys.sink.(*system)
	target.network, target.address = "unixgram", local.LocalAddr().String()
	for _, c := range []struct {
		device *Device
		conn   net.PacketConn
		want   []string
	}{
		{mustNew(t, "socket", map[string]string{"address": udp.LocalAddr().String(), "socket_type": "udp"}), udp, []string{`{"time":`}},
		{sys, local, []string{"<158>", " tagged[", `{"time":`}}, // local3 is 19, info is 6
	} {
		for range 2 {
			if err := c.device.write(t.Context(), "request", &Entry{Time: testTime}, nil); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 4096)
			n, _, err := c.conn.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			got := string(buf[:n])
			if !strings.HasPrefix(got, c.want[0]) || !strings.HasSuffix(got, "}}\n") {
				t.Errorf("received %q", got)
			}
			for _, part := range c.want {
				if !strings.Contains(got, part) {
					t.Errorf("received %q, want %q in it", got, part)
				}
			}
		}
	}
}
