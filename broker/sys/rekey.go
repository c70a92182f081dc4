package sys

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

// ceremonies are the operations that the holders of unseal shares do together.
type ceremonies interface {
	Settings() broker.Settings

	RekeyStatus(ctx context.Context) (broker.Rekey, error)
	StartRekey(ctx context.Context, p broker.RekeyParams) (broker.Rekey, error)
	CancelRekey()
	GiveRekeyShare(ctx context.Context, nonce string, share []byte) (broker.Rekey, []secret.Bytes, error)
	RekeyVerification() (broker.Rekey, error)
	GiveVerificationShare(ctx context.Context, nonce string, share []byte) (broker.Rekey, error)
	RestartVerification() (broker.Rekey, error)

	RootGeneration(ctx context.Context) (broker.RootGeneration, error)
	StartRootGeneration(ctx context.Context, otp string) (broker.RootGeneration, error)
	CancelRootGeneration()
	GiveRootShare(ctx context.Context, nonce string, share []byte) (broker.RootGeneration, error)
}

// rekeyPaths are the paths of a change of the unseal key. Where the settings say that they want no token they answer
// outside the envelope, as the oldest clients expect; rotate/root is the same, always with a token.
func (s *system) rekeyPaths() []*engine.Path {
	start := engine.Schema{
		"secret_shares": engine.Int, "secret_threshold": engine.Int, "pgp_keys": engine.TextList, "backup": engine.Bool,
		"require_verification": engine.Bool, "nonce": engine.Text,
	}
	give := engine.Schema{"key": engine.Text, "nonce": engine.Text}
	var paths []*engine.Path
	for _, root := range []string{"rekey", "rotate/root"} {
		old := root == "rekey"
		a := rekeyAPI{s, old && s.b.Settings().UnauthenticatedRekey}
		paths = append(paths,
			&engine.Path{Pattern: root + "/init", Fields: start, Sudo: !old, Unauthenticated: a.bare, Help: "Start or cancel a change of the unseal key.",
				Ops: engine.Ops{engine.Read: a.status, engine.Update: a.start, engine.Delete: a.cancel}},
			&engine.Path{Pattern: root + "/update", Fields: give, Sudo: !old, Unauthenticated: a.bare, Help: "Give a share of the unseal key in force.",
				Ops: engine.Ops{engine.Update: a.update}},
			&engine.Path{Pattern: root + "/verify", Fields: give, Sudo: !old, Unauthenticated: a.bare, Help: "Give a share of the new unseal key.",
				Ops: engine.Ops{engine.Read: a.verification, engine.Update: a.verify, engine.Delete: a.restartVerification}},
		)
	}
	return append(paths, &engine.Path{Pattern: "rekey/backup", Fields: engine.Schema{}, Help: "Encrypted copies of shares; none are kept.",
		Ops: engine.Ops{engine.Read: noBackup, engine.Delete: nothing}})
}

type rekeyAPI struct {
	*system
	bare bool // outside the envelope
}

// answer shows data in the envelope, or without it where the client gave no token.
func answer(bare bool, data map[string]any) (*engine.Response, error) {
	if !bare {
		return &engine.Response{Data: data}, nil
	}
	body, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	return &engine.Response{Raw: &engine.Raw{ContentType: "application/json", Body: body}}, nil
}

// rekeyState is a rekey's progress.
func rekeyState(r broker.Rekey) map[string]any {
	out := map[string]any{
		"nonce": r.Nonce, "started": r.Started, "t": r.Threshold, "n": r.Shares, "progress": r.Progress, "required": r.Required,
		"pgp_fingerprints": nil, "backup": false, "verification_required": r.VerificationRequired,
	}
	if r.VerificationNonce != "" {
		out["verification_nonce"] = r.VerificationNonce
	}
	return out
}

func (a rekeyAPI) status(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	r, err := a.b.RekeyStatus(ctx)
	if err != nil {
		return nil, err
	}
	return answer(a.bare, rekeyState(r))
}

func (a rekeyAPI) start(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if len(f.List("pgp_keys")) > 0 || f.Bool("backup") {
		return nil, errs.New(errs.Invalid, "shares cannot be encrypted with PGP keys by this server")
	}
	r, err := a.b.StartRekey(ctx, broker.RekeyParams{
		Shares: f.Int("secret_shares"), Threshold: f.Int("secret_threshold"), Verify: f.Bool("require_verification"),
	})
	if err != nil {
		return nil, err
	}
	return answer(a.bare, rekeyState(r))
}

func (a rekeyAPI) cancel(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	a.b.CancelRekey()
	return nil, nil
}

// share reads the field key.
func share(f *engine.Fields) ([]byte, error) {
	if f.Text("key") == "" {
		return nil, errs.New(errs.Invalid, "'key' must be specified in request body as JSON")
	}
	return broker.DecodeShare(f.Text("key"))
}

func (a rekeyAPI) update(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	key, err := share(f)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	r, shares, err := a.b.GiveRekeyShare(ctx, f.Text("nonce"), key)
	if err != nil {
		return nil, err
	}
	if shares == nil {
		return answer(a.bare, rekeyState(r))
	}
	var inHex, inBase64 []string
	for _, share := range shares {
		inHex = append(inHex, hex.EncodeToString(share.Reveal()))
		inBase64 = append(inBase64, base64.StdEncoding.EncodeToString(share.Reveal()))
		share.Wipe()
	}
	out := map[string]any{
		"complete": true, "nonce": r.Nonce, "keys": inHex, "keys_base64": inBase64, "pgp_fingerprints": nil, "backup": false,
		"verification_required": r.VerificationRequired,
	}
	if r.VerificationNonce != "" {
		out["verification_nonce"] = r.VerificationNonce
	}
	return answer(a.bare, out)
}

// verificationState is a verification's progress. Its nonce is not the rekey's.
func verificationState(r broker.Rekey) map[string]any {
	return map[string]any{
		"nonce": r.VerificationNonce, "started": r.VerificationNonce != "", "t": r.Threshold, "n": r.Shares, "progress": r.Progress,
	}
}

func (a rekeyAPI) verification(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	r, err := a.b.RekeyVerification()
	if err != nil {
		return nil, err
	}
	return answer(a.bare, verificationState(r))
}

func (a rekeyAPI) verify(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	key, err := share(f)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	r, err := a.b.GiveVerificationShare(ctx, f.Text("nonce"), key)
	if err != nil {
		return nil, err
	}
	if r.Complete {
		return answer(a.bare, map[string]any{"nonce": r.VerificationNonce, "complete": true})
	}
	return answer(a.bare, verificationState(r))
}

func (a rekeyAPI) restartVerification(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	r, err := a.b.RestartVerification()
	if err != nil {
		return nil, err
	}
	return answer(a.bare, verificationState(r))
}

func noBackup(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	return nil, errs.New(errs.Invalid, "no backed-up keys found")
}
