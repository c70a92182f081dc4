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

// ceremonies are the operations that the holders of shares do together.
type ceremonies interface {
	Settings() broker.Settings

	RekeyStatus(ctx context.Context, key broker.SharedKey) (broker.Rekey, error)
	StartRekey(ctx context.Context, p broker.RekeyParams) (broker.Rekey, error)
	CancelRekey()
	GiveRekeyShare(ctx context.Context, key broker.SharedKey, nonce string, share []byte) (broker.Rekey, []secret.Bytes, error)
	RekeyVerification(key broker.SharedKey) (broker.Rekey, error)
	GiveVerificationShare(ctx context.Context, key broker.SharedKey, nonce string, share []byte) (broker.Rekey, error)
	RestartVerification(key broker.SharedKey) (broker.Rekey, error)

	RootGeneration(ctx context.Context) (broker.RootGeneration, error)
	StartRootGeneration(ctx context.Context, otp string) (broker.RootGeneration, error)
	CancelRootGeneration()
	GiveRootShare(ctx context.Context, nonce string, share []byte) (broker.RootGeneration, error)
}

// rekeyPaths are the paths of a change of the unseal key, and of the recovery key. Where the settings say that they want no
// token, those below rekey answer outside the envelope, as the oldest clients expect; those below rotate are the same, always
// with a token.
func (s *system) rekeyPaths() []*engine.Path {
	start := engine.Schema{
		"secret_shares": engine.Int, "secret_threshold": engine.Int, "pgp_keys": engine.TextList, "backup": engine.Bool,
		"require_verification": engine.Bool, "nonce": engine.Text,
	}
	give := engine.Schema{"key": engine.Text, "nonce": engine.Text}
	var paths []*engine.Path
	for _, r := range []struct {
		root, backup string
		key          broker.SharedKey
		old          bool
	}{
		{"rekey", "rekey/backup", broker.UnsealKey, true},
		{"rekey-recovery-key", "rekey/recovery-key-backup", broker.RecoveryKey, true},
		{"rotate/root", "rotate/root/backup", broker.UnsealKey, false},
		{"rotate/recovery", "rotate/recovery/backup", broker.RecoveryKey, false},
	} {
		a := rekeyAPI{s, r.key, r.old && s.b.Settings().UnauthenticatedRekey}
		paths = append(paths,
			&engine.Path{Pattern: r.root + "/init", Fields: start, Sudo: !r.old, Unauthenticated: a.bare, Help: "Start or cancel a change of the shares.",
				Ops: engine.Ops{engine.Read: a.status, engine.Update: a.start, engine.Delete: a.cancel}},
			&engine.Path{Pattern: r.root + "/update", Fields: give, Sudo: !r.old, Unauthenticated: a.bare, Help: "Give a share in force.",
				Ops: engine.Ops{engine.Update: a.update}},
			&engine.Path{Pattern: r.root + "/verify", Fields: give, Sudo: !r.old, Unauthenticated: a.bare, Help: "Give a new share.",
				Ops: engine.Ops{engine.Read: a.verification, engine.Update: a.verify, engine.Delete: a.restartVerification}},
			&engine.Path{Pattern: r.backup, Fields: engine.Schema{}, Sudo: !r.old, Help: "Encrypted copies of shares; none are kept.",
				Ops: engine.Ops{engine.Read: noBackup, engine.Delete: nothing}},
		)
	}
	return paths
}

type rekeyAPI struct {
	*system
	key  broker.SharedKey
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
	r, err := a.b.RekeyStatus(ctx, a.key)
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
		Key: a.key, Shares: f.Int("secret_shares"), Threshold: f.Int("secret_threshold"), Verify: f.Bool("require_verification"),
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
	r, shares, err := a.b.GiveRekeyShare(ctx, a.key, f.Text("nonce"), key)
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
	r, err := a.b.RekeyVerification(a.key)
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
	r, err := a.b.GiveVerificationShare(ctx, a.key, f.Text("nonce"), key)
	if err != nil {
		return nil, err
	}
	if r.Complete {
		return answer(a.bare, map[string]any{"nonce": r.VerificationNonce, "complete": true})
	}
	return answer(a.bare, verificationState(r))
}

func (a rekeyAPI) restartVerification(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	r, err := a.b.RestartVerification(a.key)
	if err != nil {
		return nil, err
	}
	return answer(a.bare, verificationState(r))
}

func noBackup(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	return nil, errs.New(errs.Invalid, "no backed-up keys found")
}
