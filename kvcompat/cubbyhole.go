package kvcompat

import (
	"context"
	"fmt"
	"strconv"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

// CubbyholeKind is the cubbyhole's mount type. It is mounted once, and never unmounted.
const CubbyholeKind = "cubbyhole"

// Cubbyhole keeps values that only the token that wrote them can reach. Safe for concurrent use.
type Cubbyhole struct {
	*engine.Router
	values
}

// NewCubbyhole makes the engine. It reads nothing.
func NewCubbyhole(st *store.Store) *Cubbyhole {
	c := &Cubbyhole{values: values{store: st}}
	c.Router = engine.NewRouter(&engine.Path{
		Pattern: "*path", Open: true, Help: "Keep a value that only this token can read.", Exists: c.present,
		Ops: engine.Ops{
			engine.Read: c.get, engine.Update: c.put, engine.Delete: c.delete, engine.List: c.list, engine.Scan: c.list,
		},
	})
	return c
}

var (
	_ engine.Engine    = (*Cubbyhole)(nil)
	_ engine.Describer = (*Cubbyhole)(nil)
)

// cubby is a token's space. Rows of tokens are never numbered twice.
func cubby(tokenSeq int64) string { return "token/" + strconv.FormatInt(tokenSeq, 10) }

// spaceOf is the space of the request's token.
//
// Errors: Invalid (a batch token has none: nothing would tell that it ended).
func spaceOf(r *engine.Request) (string, error) {
	if r.Caller == nil || r.Caller.TokenSeq == 0 {
		return "", errs.New(errs.Invalid, "cubbyhole operations are only supported by 'service' type tokens")
	}
	return cubby(r.Caller.TokenSeq), nil
}

// Forget removes everything that a token keeps, in the transaction that ends the token.
func (c *Cubbyhole) Forget(tx *store.Tx, tokenSeq int64) error {
	if _, err := tx.Exec(deleteSpace, cubby(tokenSeq)); err != nil {
		return fmt.Errorf("empty the cubbyhole of a token: %w", err)
	}
	return nil
}

const deleteSpace = `DELETE FROM kv_entries WHERE space = $1`

// PutTx keeps a value in the space of a service token, in a transaction of the caller's.
func (c *Cubbyhole) PutTx(tx *store.Tx, tokenSeq int64, path string, value map[string]any) error {
	encoded, err := encode(value)
	if err != nil {
		return err
	}
	return tree{Tx: tx, space: cubby(tokenSeq), writes: true}.put(path, plain, encoded)
}

// GetTx reads a value from the space of a token; nil: there is none.
func (c *Cubbyhole) GetTx(tx *store.Tx, tokenSeq int64, path string) (map[string]any, error) {
	_, stored, err := tree{Tx: tx, space: cubby(tokenSeq)}.get(path)
	if stored == nil || err != nil {
		return nil, err
	}
	var value map[string]any
	return value, decode(stored, &value)
}

func (c *Cubbyhole) present(ctx context.Context, r *engine.Request, _ *engine.Fields) (bool, error) {
	space, err := spaceOf(r)
	if err != nil {
		return true, nil // refused when it is handled
	}
	return c.exists(ctx, space, r.Path)
}

func (c *Cubbyhole) get(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	space, err := spaceOf(r)
	if err != nil {
		return nil, err
	}
	value, err := c.read(ctx, space, r.Path)
	if value == nil || err != nil {
		return nil, err
	}
	resp := &engine.Response{Data: value}
	if r.Path == "response" { // where a wrapping token finds its answer
		resp.Warn("Reading from 'cubbyhole/response' is deprecated. Please use sys/wrapping/unwrap to unwrap responses, " +
			"as it provides additional security checks and other benefits.")
	}
	return resp, nil
}

func (c *Cubbyhole) put(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	space, err := spaceOf(r)
	if err != nil {
		return nil, err
	}
	if len(r.Data) == 0 {
		// Compat: recording cubby-crud shows 500.
		return nil, errs.Framed(errs.Fault, "missing data fields")
	}
	return nil, c.write(ctx, space, r.Path, r.Data)
}

func (c *Cubbyhole) delete(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	space, err := spaceOf(r)
	if err != nil {
		return nil, err
	}
	return nil, c.remove(ctx, space, r.Path)
}

func (c *Cubbyhole) list(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	space, err := spaceOf(r)
	if err != nil {
		return nil, err
	}
	return c.names(ctx, space, r.Path, r.Operation)
}
