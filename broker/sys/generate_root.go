package sys

import (
	"context"
	"crypto/subtle"
	"encoding/base64"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
)

func (s *system) generateRootPaths() []*engine.Path {
	a := rootAPI{s, s.b.Settings().UnauthenticatedGenerateRoot}
	return []*engine.Path{
		{Pattern: "generate-root/attempt", Fields: engine.Schema{"otp": engine.Text, "pgp_key": engine.Text}, Unauthenticated: a.bare,
			Help: "Start or cancel making a root token from shares.",
			Ops:  engine.Ops{engine.Read: a.status, engine.Update: a.start, engine.Delete: a.cancel}},
		{Pattern: "generate-root/update", Fields: engine.Schema{"key": engine.Text, "nonce": engine.Text}, Unauthenticated: a.bare,
			Help: "Give a share towards a root token.", Ops: engine.Ops{engine.Update: a.update}},
		{Pattern: "decode-token", Fields: engine.Schema{"encoded_token": engine.Text, "otp": engine.Text}, Unauthenticated: true,
			Help: "Decode a root token with its one-time password.", Ops: engine.Ops{engine.Update: decodeToken}},
	}
}

type rootAPI struct {
	*system
	bare bool // outside the envelope
}

func rootState(g broker.RootGeneration) map[string]any {
	return map[string]any{
		"nonce": g.Nonce, "started": g.Started, "progress": g.Progress, "required": g.Required, "complete": g.Complete,
		"encoded_token": g.Encoded, "encoded_root_token": g.Encoded, "pgp_fingerprint": "", "otp": g.OTP, "otp_length": broker.OTPLength,
	}
}

func (a rootAPI) status(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	g, err := a.b.RootGeneration(ctx)
	if err != nil {
		return nil, err
	}
	return answer(a.bare, rootState(g))
}

func (a rootAPI) start(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if f.Text("pgp_key") != "" {
		return nil, errs.New(errs.Invalid, "a root token cannot be encrypted with a PGP key by this server")
	}
	g, err := a.b.StartRootGeneration(ctx, f.Text("otp"))
	if err != nil {
		return nil, err
	}
	return answer(a.bare, rootState(g))
}

func (a rootAPI) cancel(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	a.b.CancelRootGeneration()
	return nil, nil
}

func (a rootAPI) update(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	key, err := share(f)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	g, err := a.b.GiveRootShare(ctx, f.Text("nonce"), key)
	if err != nil {
		return nil, err
	}
	return answer(a.bare, rootState(g))
}

func decodeToken(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	encoded, otp := f.Text("encoded_token"), f.Text("otp")
	if encoded == "" || otp == "" {
		return nil, errs.New(errs.Invalid, "encoded_token and otp must be given")
	}
	token, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errs.New(errs.Invalid, "encoded_token is not base64 without padding")
	}
	if len(token) != len(otp) {
		return nil, errs.New(errs.Invalid, "encoded_token and otp are not of the same length")
	}
	subtle.XORBytes(token, token, []byte(otp))
	return data("token", string(token)), nil
}
