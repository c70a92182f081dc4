// Package sealedfile encrypts a stream of any length under a key that travels in front of it, itself encrypted.
//
// A file is two lines and a stream:
//
//	leasehold-sealed-file/1
//	vault:v3:...               the file's key of 32 bytes, as the transit engine encrypted it
//	(binary)                   the content, in Tink's streaming AEAD
//
// The stream is Tink's AES256_GCM_HKDF_1MB: segments of 1 MiB, keys by HKDF-SHA256, the last segment marked as such.
// Its associated data are the two lines with their newlines. So no byte can be changed, added or taken away unnoticed.
// Memory does not grow with the content. docs/file-encryption.md shows how other programs read it.
//
// Source of the stream: the public description of Tink's streaming AEAD, "AES-GCM-HKDF".
package sealedfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"

	"leasehold/internal/secret"
)

// KeyBytes is the size of a file's key.
const KeyBytes = 32

const (
	magic        = "leasehold-sealed-file/1"
	maxWrapped   = 8 << 10 // bytes of the second line; under the largest RSA key it has some 700
	segmentBytes = 1 << 20
	copyBytes    = 64 << 10
)

var (
	// ErrFormat means that the input does not begin like a file of ours.
	ErrFormat = errors.New("not an encrypted file of this program")
	// ErrAltered means that the input is not what was once written under that key: cut, changed or continued.
	ErrAltered = errors.New("truncated, altered, or not encrypted with this key")
)

// Encrypt reads src to its end and writes the file to dst. wrapped is key as the transit engine encrypted it.
//
// Errors: those of src and dst, wrapped; what dst has got by then is of no use.
func Encrypt(dst io.Writer, src io.Reader, wrapped string, key secret.Bytes) error {
	header, err := headerOf(wrapped)
	if err != nil {
		return err
	}
	aead, err := stream(key)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(dst, header); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	w, err := aead.NewEncryptingWriter(dst, []byte(header))
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	in := &source{r: src}
	if _, err := io.CopyBuffer(plainWriter{w}, in, make([]byte, copyBytes)); err != nil {
		if in.err != nil {
			return fmt.Errorf("read: %w", in.err)
		}
		return fmt.Errorf("write: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// File is an encrypted file whose header was read.
type File struct {
	// Wrapped is the file's key, encrypted. Nothing vouches for it before Decrypt has succeeded.
	Wrapped string

	header string
	body   *source
}

// Open reads the header of src, and more of src than that.
//
// Errors: ErrFormat; those of src, wrapped.
func Open(src io.Reader) (*File, error) {
	in := &source{r: src}
	buffered := bufio.NewReaderSize(in, len(magic)+maxWrapped+2)
	first, err := buffered.ReadSlice('\n')
	if err == nil && string(first) == magic+"\n" {
		var second []byte
		if second, err = buffered.ReadSlice('\n'); err == nil {
			wrapped := strings.TrimSuffix(string(second), "\n")
			header, malformed := headerOf(wrapped)
			if malformed != nil {
				return nil, ErrFormat
			}
			return &File{Wrapped: wrapped, header: header, body: &source{r: buffered}}, nil
		}
	}
	if in.err != nil {
		return nil, fmt.Errorf("read: %w", in.err)
	}
	return nil, ErrFormat
}

// Decrypt writes the content to dst. It can be called once.
//
// Each segment is written as soon as it has proved genuine. The whole is known to be so only when Decrypt returns no
// error: until then, whoever reads dst must be ready to throw it away.
//
// Errors: ErrAltered; those of the source and of dst, wrapped.
func (f *File) Decrypt(dst io.Writer, key secret.Bytes) error {
	aead, err := stream(key)
	if err != nil {
		return err
	}
	r, err := aead.NewDecryptingReader(f.body, []byte(f.header))
	if err != nil {
		return f.broken()
	}
	for buf := make([]byte, copyBytes); ; {
		n, err := r.Read(buf)
		if err != nil && !errors.Is(err, io.EOF) {
			return f.broken()
		}
		if _, failed := dst.Write(buf[:n]); failed != nil {
			return fmt.Errorf("write: %w", failed)
		}
		if err != nil {
			return nil
		}
	}
}

// broken is why the stream cannot be read further.
func (f *File) broken() error {
	if f.body.err != nil {
		return fmt.Errorf("read: %w", f.body.err)
	}
	return ErrAltered
}

func headerOf(wrapped string) (string, error) {
	if wrapped == "" || len(wrapped) > maxWrapped || strings.ContainsFunc(wrapped, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("the encrypted key is not one short line")
	}
	return magic + "\n" + wrapped + "\n", nil
}

func stream(key secret.Bytes) (*subtle.AESGCMHKDF, error) {
	if len(key.Reveal()) != KeyBytes {
		return nil, fmt.Errorf("the file's key has to have %d bytes", KeyBytes)
	}
	return subtle.NewAESGCMHKDF(key.Reveal(), "SHA256", KeyBytes, segmentBytes, 0)
}

// source remembers why reading failed: the stream's reader takes the end of a file and a broken disk for one.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// plainWriter hides every other method, so that io.CopyBuffer uses the buffer that it is given.
type plainWriter struct{ io.Writer }
