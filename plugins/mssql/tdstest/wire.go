package tdstest

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"unicode/utf16"
)

// Packet types. Source: MS-TDS 2.2.3.1.1.
const (
	packetBatch     = 1
	packetRPC       = 3
	packetReply     = 4
	packetAttention = 6
	packetTransMgr  = 14
	packetLogin     = 16
	packetPrelogin  = 18
)

const (
	packetSize  = 4096
	statusLast  = 1
	statusReset = 8
)

// message is what a client says at once.
type message struct {
	kind  byte
	reset bool // the session is to be as after the login
	body  []byte
}

// readMessage reads packets up to the last of a message.
func readMessage(r io.Reader) (message, error) {
	var m message
	for {
		header := make([]byte, 8)
		if _, err := io.ReadFull(r, header); err != nil {
			return m, err
		}
		length := int(binary.BigEndian.Uint16(header[2:]))
		if length < 8 {
			return m, errors.New("a packet shorter than its header")
		}
		body := make([]byte, length-8)
		if _, err := io.ReadFull(r, body); err != nil {
			return m, err
		}
		m.kind, m.reset, m.body = header[0], m.reset || header[1]&statusReset != 0, append(m.body, body...)
		if header[1]&statusLast != 0 {
			return m, nil
		}
	}
}

// writeMessage writes a message in packets.
func writeMessage(w io.Writer, kind byte, body []byte) error {
	for sequence := byte(1); ; sequence++ {
		part, status := body, byte(statusLast)
		if len(part) > packetSize-8 {
			part, status = part[:packetSize-8], 0
		}
		header := []byte{kind, status, 0, 0, 0, 0, sequence, 0}
		binary.BigEndian.PutUint16(header[2:], uint16(len(part)+8))
		if _, err := w.Write(append(header, part...)); err != nil {
			return err
		}
		if body = body[len(part):]; status == statusLast {
			return nil
		}
	}
}

// Values of the PRELOGIN option ENCRYPTION. Source: MS-TDS 2.2.6.5.
const (
	encryptOff          = 0
	encryptOn           = 1
	encryptNotSupported = 2
	encryptRequired     = 3
)

// preloginEncryption is what the client asks for.
func preloginEncryption(body []byte) (byte, error) {
	for at := 0; at+5 <= len(body) && body[at] != 0xff; at += 5 {
		offset, length := int(binary.BigEndian.Uint16(body[at+1:])), int(binary.BigEndian.Uint16(body[at+3:]))
		if body[at] == 1 && length == 1 && offset < len(body) {
			return body[offset], nil
		}
	}
	return 0, errors.New("PRELOGIN without ENCRYPTION")
}

// preloginAnswer has the options VERSION and ENCRYPTION.
func preloginAnswer(encryption byte) []byte {
	return []byte{
		0, 0, 11, 0, 6, // VERSION: offset, length
		1, 0, 17, 0, 1, // ENCRYPTION
		0xff,
		16, 0, 0, 0, 0, 0, // 16.0
		encryption,
	}
}

// startTLS shakes hands inside of PRELOGIN packets, and goes on without them. It stays below TLS 1.3, whose tickets come after the
// handshake that is wrapped.
func startTLS(conn net.Conn, config *tls.Config) (net.Conn, error) {
	wrapped := &handshake{Conn: conn}
	secure := tls.Server(wrapped, config)
	if err := secure.Handshake(); err != nil {
		return nil, err
	}
	if err := wrapped.flush(); err != nil {
		return nil, err
	}
	wrapped.done = true
	return secure, nil
}

// handshake carries TLS records inside of PRELOGIN packets until it is done.
type handshake struct {
	net.Conn
	done    bool
	in, out bytes.Buffer
}

func (h *handshake) Read(p []byte) (int, error) {
	if h.done {
		return h.Conn.Read(p)
	}
	if err := h.flush(); err != nil {
		return 0, err
	}
	if h.in.Len() == 0 {
		m, err := readMessage(h.Conn)
		if err != nil {
			return 0, err
		}
		if m.kind != packetPrelogin {
			return 0, errors.New("another packet inside of the handshake")
		}
		h.in.Write(m.body)
	}
	return h.in.Read(p)
}

func (h *handshake) Write(p []byte) (int, error) {
	if h.done {
		return h.Conn.Write(p)
	}
	return h.out.Write(p)
}

func (h *handshake) flush() error {
	if h.out.Len() == 0 {
		return nil
	}
	defer h.out.Reset()
	return writeMessage(h.Conn, packetPrelogin, h.out.Bytes())
}

// loginRequest is what LOGIN7 says. Source: MS-TDS 2.2.6.4.
type loginRequest struct {
	host, user, password, program, database string
}

func parseLogin(body []byte) (l loginRequest, err error) {
	if len(body) < 94 {
		return l, errors.New("LOGIN7 is too short")
	}
	field := func(at int) ([]byte, error) {
		from := int(binary.LittleEndian.Uint16(body[at:]))
		to := from + 2*int(binary.LittleEndian.Uint16(body[at+2:]))
		if to > len(body) {
			return nil, errors.New("LOGIN7 has a field outside of it")
		}
		return body[from:to], nil
	}
	for at, into := range map[int]*string{36: &l.host, 40: &l.user, 44: &l.password, 48: &l.program, 68: &l.database} {
		raw, err := field(at)
		if err != nil {
			return l, err
		}
		raw = bytes.Clone(raw)
		if at == 44 { // the password is scrambled
			for i, b := range raw {
				b ^= 0xa5
				raw[i] = b<<4 | b>>4
			}
		}
		*into = fromUTF16(raw)
	}
	return l, nil
}

func fromUTF16(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

func toUTF16(s string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}
