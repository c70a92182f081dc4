package tdstest

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// reply collects the tokens of an answer. Source: MS-TDS 2.2.7.
type reply struct{ b []byte }

// Statuses of DONE.
const (
	doneMore      = 0x01
	doneError     = 0x02
	doneCount     = 0x10
	doneAttention = 0x20
	doneFatal     = 0x100
)

func (r *reply) u16(n int)          { r.b = binary.LittleEndian.AppendUint16(r.b, uint16(n)) }
func (r *reply) u32(n uint32)       { r.b = binary.LittleEndian.AppendUint32(r.b, n) }
func (r *reply) shortText(s string) { u := toUTF16(s); r.b = append(append(r.b, byte(len(u)/2)), u...) }
func (r *reply) longText(s string)  { u := toUTF16(s); r.u16(len(u) / 2); r.b = append(r.b, u...) }

// done ends a statement's part of the answer.
func (r *reply) done(status, rows int) {
	r.b = append(r.b, 0xfd)
	r.u16(status)
	r.u16(0)
	r.b = binary.LittleEndian.AppendUint64(r.b, uint64(rows))
}

// finish takes the "more follows" from the last DONE, or adds one.
func (r *reply) finish(status int) []byte {
	r.done(status, 0)
	return r.b
}

// length writes a token whose length is known when its content is.
func (r *reply) length(id byte, content func()) {
	r.b = append(r.b, id, 0, 0)
	at := len(r.b)
	content()
	binary.LittleEndian.PutUint16(r.b[at-2:], uint16(len(r.b)-at))
}

// failure writes an ERROR.
func (r *reply) failure(e *serverError) {
	r.length(0xaa, func() {
		r.u32(uint32(e.number))
		r.b = append(r.b, 1, e.class)
		r.longText(e.text)
		r.shortText(serverName)
		r.shortText("")
		r.u32(1)
	})
}

// database tells the client in which database it is.
func (r *reply) database(now, before string) {
	r.length(0xe3, func() {
		r.b = append(r.b, 1)
		r.shortText(now)
		r.shortText(before)
	})
}

// transaction tells the client that a transaction began (8), was committed (9) or rolled back (10).
func (r *reply) transaction(what byte, id uint64) {
	descriptor := binary.LittleEndian.AppendUint64([]byte{8}, id)
	r.length(0xe3, func() {
		r.b = append(r.b, what)
		if what == 8 {
			r.b = append(append(r.b, descriptor...), 0)
		} else {
			r.b = append(append(r.b, 0), descriptor...)
		}
	})
}

// loginAck accepts a login.
func (r *reply) loginAck() {
	r.length(0xad, func() {
		r.b = append(r.b, 1, 0x74, 0, 0, 4)
		r.shortText("Microsoft SQL Server")
		r.b = append(r.b, 16, 0, 0, 0)
	})
}

// rows writes a result set. A column has the type of its first value that is not NULL.
func (r *reply) rows(columns []string, rows [][]any) error {
	kinds := make([]byte, len(columns))
	r.b = append(r.b, 0x81)
	r.u16(len(columns))
	for i, name := range columns {
		kinds[i] = 't'
		for _, row := range rows {
			switch row[i].(type) {
			case int64:
				kinds[i] = 'n'
			case []byte:
				kinds[i] = 'b'
			case nil:
				continue
			}
			break
		}
		r.u32(0) // user type
		r.u16(1) // nullable
		switch kinds[i] {
		case 'n':
			r.b = append(r.b, 0x26, 8)
		case 'b':
			r.b = append(r.b, 0xa5)
			r.u16(8000)
		default:
			r.b = append(r.b, 0xe7)
			r.u16(8000)
			r.b = append(r.b, 9, 4, 0xd0, 0, 52) // SQL_Latin1_General_CP1_CI_AS
		}
		r.shortText(name)
	}
	for _, row := range rows {
		r.b = append(r.b, 0xd1)
		for i, value := range row {
			var raw []byte
			switch v := value.(type) {
			case nil:
				if kinds[i] == 'n' {
					r.b = append(r.b, 0)
				} else {
					r.u16(0xffff)
				}
				continue
			case int64:
				raw = binary.LittleEndian.AppendUint64(nil, uint64(v))
			case []byte:
				raw = v
			case string:
				raw = toUTF16(v)
			}
			if (kinds[i] == 'n') != (len(raw) == 8 && isNumber(value)) || len(raw) > 8000 {
				return fmt.Errorf("tdstest: column %s has values of several types, or too long ones", columns[i])
			}
			if kinds[i] == 'n' {
				r.b = append(r.b, 8)
			} else {
				r.u16(len(raw))
			}
			r.b = append(r.b, raw...)
		}
	}
	r.done(doneMore|doneCount, len(rows))
	return nil
}

func isNumber(v any) bool { _, ok := v.(int64); return ok }

// withoutHeaders leaves out the headers that begin a request. Source: MS-TDS 2.2.5.3.
func withoutHeaders(body []byte) ([]byte, error) {
	if len(body) < 4 || int(binary.LittleEndian.Uint32(body)) > len(body) {
		return nil, errors.New("a request without headers")
	}
	return body[binary.LittleEndian.Uint32(body):], nil
}

// call is an RPC of sp_executesql.
type call struct {
	sql       string
	variables map[string]any
}

// parseCall reads an RPC. The driver sends the procedure's number, the statement, the declarations, and then the values.
func parseCall(body []byte) (c call, err error) {
	defer func() {
		if recover() != nil { // an index out of range
			err = errors.New("an RPC that ends early")
		}
	}()
	if binary.LittleEndian.Uint16(body) != 0xffff || binary.LittleEndian.Uint16(body[2:]) != 10 {
		return c, errors.New("tdstest: an RPC of another procedure than sp_executesql")
	}
	body = body[6:]
	c.variables = map[string]any{}
	for i := 0; len(body) > 0; i++ {
		name := fromUTF16(body[1 : 1+2*int(body[0])])
		body = body[1+2*int(body[0])+1:]
		var value any
		if value, body, err = parseValue(body); err != nil {
			return c, err
		}
		if i == 0 {
			c.sql, _ = value.(string)
		} else if i > 1 {
			c.variables[fold(name)] = value
		}
	}
	return c, nil
}

// parseValue reads a type and a value.
func parseValue(body []byte) (any, []byte, error) {
	kind := body[0]
	switch kind {
	case 0x26, 0x68: // integers and bits
		size := int(body[2])
		raw := body[3 : 3+size]
		if size == 0 {
			return nil, body[3:], nil
		}
		full := make([]byte, 8)
		copy(full, raw)
		if kind == 0x26 && raw[size-1]&0x80 != 0 && size > 1 {
			for i := size; i < 8; i++ {
				full[i] = 0xff
			}
		}
		return int64(binary.LittleEndian.Uint64(full)), body[3+size:], nil
	case 0xe7, 0xa5, 0xa7: // nvarchar, varbinary, varchar
		limit := binary.LittleEndian.Uint16(body[1:])
		body = body[3:]
		if kind != 0xa5 {
			body = body[5:] // the collation
		}
		var raw []byte
		if limit == 0xffff { // in parts
			total := binary.LittleEndian.Uint64(body)
			if body = body[8:]; total == 0xffffffffffffffff {
				return nil, body, nil
			}
			for {
				size := binary.LittleEndian.Uint32(body)
				if body = body[4:]; size == 0 {
					break
				}
				raw = append(raw, body[:size]...)
				body = body[size:]
			}
		} else {
			size := binary.LittleEndian.Uint16(body)
			if body = body[2:]; size == 0xffff {
				return nil, body, nil
			}
			raw, body = body[:size], body[size:]
		}
		switch kind {
		case 0xa5:
			return raw, body, nil
		case 0xa7:
			return string(raw), body, nil
		}
		return fromUTF16(raw), body, nil
	}
	return nil, nil, fmt.Errorf("tdstest: a parameter of type %#x", kind)
}
