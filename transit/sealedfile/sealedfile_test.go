package sealedfile_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
	"github.com/tink-crypto/tink-go/v2/streamingaead"
	"github.com/tink-crypto/tink-go/v2/streamingaead/aesgcmhkdf"

	"leasehold/internal/secret"
	"leasehold/transit/sealedfile"
)

const wrapped = "vault:v1:AAAA"

func key(fill byte) secret.Bytes {
	return secret.NewBytes(bytes.Repeat([]byte{fill}, sealedfile.KeyBytes))
}

func seal(t testing.TB, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := sealedfile.Encrypt(&out, bytes.NewReader(content), wrapped, key(1)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func open(file io.Reader, k secret.Bytes) ([]byte, error) {
	f, err := sealedfile.Open(file)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = f.Decrypt(&out, k)
	return out.Bytes(), err
}

// TestRoundTrip has the sizes around the ends of segments: the first one is shorter by the stream's own header.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	const first, other = 1<<20 - 40 - 16, 1<<20 - 16
	for _, size := range []int{0, 1, first - 1, first, first + 1, first + other - 1, first + other, first + other + 1} {
		content := bytes.Repeat([]byte("leasehold"), size/9+1)[:size]
		got, err := open(iotest.HalfReader(bytes.NewReader(seal(t, content))), key(1))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes came back as %d, %v", size, len(got), err)
		}
	}
}

// publishedFile is a file that was written once: it is read for ever.
func publishedFile(t testing.TB) []byte {
	t.Helper()
	stream, err := base64.StdEncoding.DecodeString(published)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte("leasehold-sealed-file/1\nvault:v1:AAAA\n"), stream...)
}

func TestPublishedForm(t *testing.T) {
	t.Parallel()
	got, err := open(bytes.NewReader(publishedFile(t)), key(1))
	if err != nil || string(got) != "kept for ever" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestTinkReadsIt has the ordinary interface of Tink read a file with a key of the parameters that the package comment names.
func TestTinkReadsIt(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("leasehold"), 300_000)
	header := []byte("leasehold-sealed-file/1\n" + wrapped + "\n")
	stream, ok := bytes.CutPrefix(seal(t, content), header)
	if !ok {
		t.Fatal("the file does not begin with its header")
	}
	got, err := readWithTink(stream, header, key(1))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(content))
	}
}

func readWithTink(stream, header []byte, k secret.Bytes) ([]byte, error) {
	params, err := aesgcmhkdf.NewParameters(aesgcmhkdf.ParametersOpts{
		KeySizeInBytes: 32, DerivedKeySizeInBytes: 32, HKDFHashType: aesgcmhkdf.SHA256, SegmentSizeInBytes: 1 << 20,
	})
	if err != nil {
		return nil, err
	}
	tinkKey, err := aesgcmhkdf.NewKey(params, secretdata.NewBytesFromData(k.Reveal(), insecuresecretdataaccess.Token{}))
	if err != nil {
		return nil, err
	}
	manager := keyset.NewManager()
	id, err := manager.AddKey(tinkKey)
	if err != nil {
		return nil, err
	}
	if err := manager.SetPrimary(id); err != nil {
		return nil, err
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, err
	}
	aead, err := streamingaead.New(handle)
	if err != nil {
		return nil, err
	}
	r, err := aead.NewDecryptingReader(bytes.NewReader(stream), header)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// TestAltered changes every byte, cuts at every place and adds bytes: nothing of it passes.
func TestAltered(t *testing.T) {
	t.Parallel()
	file := seal(t, []byte("the content of the file"))
	refused := func(name string, i int, file []byte, k secret.Bytes) {
		t.Helper()
		if _, err := open(bytes.NewReader(file), k); !errors.Is(err, sealedfile.ErrAltered) && !errors.Is(err, sealedfile.ErrFormat) {
			t.Errorf("%s at %d: error %v", name, i, err)
		}
	}
	for i := range file {
		changed := bytes.Clone(file)
		changed[i] ^= 1
		refused("changed", i, changed, key(1))
		refused("cut", i, file[:i], key(1))
	}
	refused("continued", len(file), append(bytes.Clone(file), 0), key(1))
	refused("other key", 0, file, key(2))

	// A whole segment gone from the end, or in the place of another.
	long := seal(t, bytes.Repeat([]byte{7}, 3<<20))
	start := len("leasehold-sealed-file/1\n" + wrapped + "\n")
	const segment = 1 << 20
	refused("cut between segments", 0, long[:start+2*segment], key(1))
	swapped := bytes.Clone(long)
	copy(swapped[start+segment:], long[start+2*segment:start+3*segment])
	refused("repeated segment", 0, swapped, key(1))
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x", "leasehold-sealed-file/1", "leasehold-sealed-file/1\n", "leasehold-sealed-file/1\n\nabc",
		"leasehold-sealed-file/2\nvault:v1:AAAA\n", "leasehold-sealed-file/1\nvault:v1:A A\n",
		"leasehold-sealed-file/1\n" + strings.Repeat("a", 20_000) + "\n", strings.Repeat("a", 1<<20)} {
		if _, err := sealedfile.Open(strings.NewReader(text)); !errors.Is(err, sealedfile.ErrFormat) {
			t.Errorf("%.40q: error %v", text, err)
		}
	}
	for _, bad := range []string{"", "a\nb", "a b", strings.Repeat("a", 20_000)} {
		if err := sealedfile.Encrypt(io.Discard, strings.NewReader(""), bad, key(1)); err == nil {
			t.Errorf("the wrapped key %.20q was accepted", bad)
		}
	}
	if err := sealedfile.Encrypt(io.Discard, strings.NewReader(""), wrapped, secret.NewBytes(make([]byte, 16))); err == nil {
		t.Error("a short key was accepted")
	}
}

// TestBrokenEnds tells a broken disk from an altered file.
func TestBrokenEnds(t *testing.T) {
	t.Parallel()
	disk := errors.New("disk")
	file := seal(t, make([]byte, 3<<20))
	for _, n := range []int{0, 30, 50, 1 << 20, len(file) - 1} {
		if _, err := open(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(disk)), key(1)); !errors.Is(err, disk) {
			t.Errorf("after %d bytes: error %v", n, err)
		}
	}
	if err := sealedfile.Encrypt(io.Discard, iotest.ErrReader(disk), wrapped, key(1)); !errors.Is(err, disk) {
		t.Errorf("reading the content: error %v", err)
	}
	if err := sealedfile.Encrypt(&full{room: 2 << 20, err: disk}, bytes.NewReader(make([]byte, 3<<20)), wrapped, key(1)); !errors.Is(err, disk) {
		t.Errorf("writing the file: error %v", err)
	}
	f, err := sealedfile.Open(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Decrypt(&full{room: 2 << 20, err: disk}, key(1)); !errors.Is(err, disk) {
		t.Errorf("writing the content: error %v", err)
	}
}

type full struct {
	room int
	err  error
}

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, f.err
	}
	return len(p), nil
}

// TestMemory encrypts and decrypts 256 MiB on the fly. It is not parallel: it looks at the heap of the process.
func TestMemory(t *testing.T) {
	const size, allowed = 256 << 20, 16 << 20
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)

	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := sealedfile.Encrypt(w, io.LimitReader(zeros{}, size), wrapped, key(1))
		done <- errors.Join(err, w.CloseWithError(err))
	}()
	f, err := sealedfile.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{}
	if err := errors.Join(f.Decrypt(m, key(1)), <-done); err != nil {
		t.Fatal(err)
	}
	if m.written != size {
		t.Errorf("%d bytes came out, want %d", m.written, size)
	}
	if grown := int64(m.heap) - int64(before.HeapAlloc); grown > allowed {
		t.Errorf("the heap grew by %d bytes, allowed are %d", grown, allowed)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// meter looks at the heap every 16 MiB.
type meter struct {
	written int
	heap    uint64
}

func (m *meter) Write(p []byte) (int, error) {
	before := m.written >> 24
	if m.written += len(p); m.written>>24 != before {
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		m.heap = max(m.heap, now.HeapAlloc)
	}
	return len(p), nil
}

// FuzzOpen: nothing is read but what was written.
func FuzzOpen(f *testing.F) {
	file := publishedFile(f)
	f.Add(file)
	f.Add(file[:len(file)-1])
	f.Add([]byte("leasehold-sealed-file/1\nvault:v1:AAAA\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := open(bytes.NewReader(text), key(1))
		if err == nil && !bytes.Equal(text, file) {
			t.Fatalf("%q was read as %q", text, got)
		}
	})
}

// BenchmarkSeal asks what a file costs beside reading and writing it.
func BenchmarkSeal(b *testing.B) {
	const size = 64 << 20
	file := seal(b, make([]byte, size))
	b.Run("encrypt", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if err := sealedfile.Encrypt(io.Discard, io.LimitReader(zeros{}, size), wrapped, key(1)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decrypt", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			f, err := sealedfile.Open(bytes.NewReader(file))
			if err != nil {
				b.Fatal(err)
			}
			if err := f.Decrypt(io.Discard, key(1)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

const published = `KCgMBkHK3F/w34S3cfLdeEBFoQntrN5sRj/cbDEOqnS1WzMO518ioAEiwUviiU1HaLOwlLEayCxoN55TGK3EnsP7XpkZ`
