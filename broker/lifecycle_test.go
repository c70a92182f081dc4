package broker_test

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"leasehold/broker"
	"leasehold/broker/brokertest"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store/seal"
)

func TestInitializeErrors(t *testing.T) {
	t.Parallel()
	n := brokertest.NewSealed(t, broker.Settings{})
	for text, p := range map[string]seal.Params{
		"invalid seal configuration: shares must be at least one":                            {},
		"invalid seal configuration: threshold cannot be larger than shares":                 {Shares: 5, Threshold: 6},
		"invalid seal configuration: threshold must be greater than one for multiple shares": {Shares: 2, Threshold: 1},
	} {
		_, _, err := n.Initialize(t.Context(), p)
		wantError(t, err, errs.Invalid, text)
	}
	if _, _, err := n.Initialize(t.Context(), seal.Params{Shares: 1, Threshold: 1}); err != nil {
		t.Fatal(err)
	}
	_, _, err := n.Initialize(t.Context(), seal.Params{Shares: 1, Threshold: 1})
	wantError(t, err, errs.Invalid, "leasehold is already initialized")
}

// open initialises a node with several shares and unseals it.
func open(t *testing.T, p seal.Params, settings broker.Settings) (*brokertest.Node, [][]byte) {
	t.Helper()
	n := brokertest.NewSealed(t, settings)
	shares, root, err := n.Initialize(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	n.Root = root
	plain := reveal(shares)
	unsealWith(t, n, plain[:p.Threshold])
	return n, plain
}

func reveal(shares []secret.Bytes) [][]byte {
	var out [][]byte
	for _, s := range shares {
		out = append(out, s.Reveal())
	}
	return out
}

func unsealWith(t *testing.T, n *brokertest.Node, shares [][]byte) {
	t.Helper()
	for i, share := range shares {
		status, err := n.Unseal(t.Context(), share)
		if err != nil {
			t.Fatal(err)
		}
		if last := i == len(shares)-1; status.Sealed == last || (!last && status.Progress != i+1) {
			t.Fatalf("after share %d: %+v", i+1, status)
		}
	}
}

func TestUnseal(t *testing.T) {
	t.Parallel()
	n, shares := open(t, seal.Params{Shares: 3, Threshold: 2}, broker.Settings{})
	status, err := n.SealStatus(t.Context())
	if err != nil || status.ClusterID == "" || !strings.HasPrefix(status.ClusterName, "leasehold-cluster-") {
		t.Errorf("status %+v, %v", status, err)
	}
	_, err = n.ResetUnseal(t.Context())
	wantError(t, err, errs.Invalid, "vault is unsealed")

	n.SealNow()
	if status, _ = n.SealStatus(t.Context()); status.ClusterID != "" || !status.Sealed {
		t.Errorf("status of a sealed node: %+v", status)
	}
	if _, err = n.Unseal(t.Context(), shares[0]); err != nil {
		t.Fatal(err)
	}
	if _, err = n.Unseal(t.Context(), make([]byte, 22)); errs.CodeOf(err) != errs.Invalid {
		t.Errorf("a wrong share: %v", err)
	}
	if status, _ = n.SealStatus(t.Context()); status.Progress != 0 {
		t.Errorf("progress after a wrong share: %d", status.Progress)
	}
	unsealWith(t, n, [][]byte{shares[2], shares[0]})
	n.Must(engine.Read, "sys/mounts", nil)
}

func TestRekey(t *testing.T) {
	t.Parallel()
	n, shares := open(t, seal.Params{Shares: 3, Threshold: 2}, broker.Settings{})
	ctx := t.Context()
	_, err := n.StartRekey(ctx, broker.RekeyParams{Shares: 2, Threshold: 3})
	wantError(t, err, errs.Fault, "invalid rekey seal configuration: threshold cannot be larger than shares")
	_, _, err = n.GiveRekeyShare(ctx, broker.UnsealKey, "x", shares[0])
	wantError(t, err, errs.Invalid, "no barrier rekey in progress")
	r, err := n.StartRekey(ctx, broker.RekeyParams{Shares: 1, Threshold: 1, Verify: true})
	if err != nil || !r.Started || r.Required != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = n.StartRekey(ctx, broker.RekeyParams{Shares: 1, Threshold: 1})
	wantError(t, err, errs.Invalid, "rekey already in progress")
	_, _, err = n.GiveRekeyShare(ctx, broker.UnsealKey, "x", shares[0])
	wantError(t, err, errs.Invalid, `incorrect nonce supplied; nonce for this rekey operation is "`+r.Nonce+`"`)
	for i, want := range []int{1, 1} { // a share given twice counts once
		if r, _, err = n.GiveRekeyShare(ctx, broker.UnsealKey, r.Nonce, shares[0]); err != nil || r.Progress != want {
			t.Fatalf("share %d: %+v, %v", i, r, err)
		}
	}
	r, made, err := n.GiveRekeyShare(ctx, broker.UnsealKey, r.Nonce, shares[2])
	if err != nil || len(made) != 1 || r.VerificationNonce == "" {
		t.Fatalf("%+v, %v", r, err)
	}

	// Until the new shares are verified the old ones stay in force.
	n.SealNow()
	unsealWith(t, n, shares[:2])
	if _, err = n.RekeyVerification(broker.UnsealKey); err == nil {
		t.Fatal("a rekey has outlived the sealing")
	}

	r, err = n.StartRekey(ctx, broker.RekeyParams{Shares: 1, Threshold: 1, Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, share := range shares[1:] {
		if r, made, err = n.GiveRekeyShare(ctx, broker.UnsealKey, r.Nonce, share); err != nil {
			t.Fatal(err)
		}
	}
	first := r.VerificationNonce
	if r, err = n.RestartVerification(broker.UnsealKey); err != nil || r.VerificationNonce == first {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = n.GiveVerificationShare(ctx, broker.UnsealKey, first, made[0].Reveal())
	wantError(t, err, errs.Invalid, `incorrect nonce supplied; nonce for this verify operation is "`+r.VerificationNonce+`"`)
	if r, err = n.GiveVerificationShare(ctx, broker.UnsealKey, r.VerificationNonce, made[0].Reveal()); err != nil || !r.Complete {
		t.Fatalf("%+v, %v", r, err)
	}
	n.SealNow()
	if _, err = n.Unseal(ctx, shares[0]); errs.CodeOf(err) != errs.Invalid {
		t.Errorf("an old share: %v", err)
	}
	unsealWith(t, n, reveal(made))
}

func TestGenerateRoot(t *testing.T) {
	t.Parallel()
	n, shares := open(t, seal.Params{Shares: 3, Threshold: 2}, broker.Settings{})
	ctx := t.Context()
	_, err := n.StartRootGeneration(ctx, "short")
	wantError(t, err, errs.Invalid, "OTP string has incorrect length")
	g, err := n.StartRootGeneration(ctx, "")
	if err != nil || len(g.OTP) != broker.OTPLength {
		t.Fatalf("%+v, %v", g, err)
	}
	_, err = n.StartRootGeneration(ctx, "")
	wantError(t, err, errs.Invalid, "root generation already in progress")
	if again, _ := n.RootGeneration(ctx); again.OTP != "" || again.Nonce != g.Nonce {
		t.Errorf("the password is told twice: %+v", again)
	}
	_, err = n.GiveRootShare(ctx, "x", shares[0])
	wantError(t, err, errs.Invalid, `incorrect nonce supplied; nonce for this root generation operation is "`+g.Nonce+`"`)
	otp := g.OTP
	for _, share := range shares[:2] {
		if g, err = n.GiveRootShare(ctx, g.Nonce, share); err != nil {
			t.Fatal(err)
		}
	}
	if !g.Complete {
		t.Fatalf("%+v", g)
	}
	decoded := n.Must(engine.Update, "sys/decode-token", map[string]any{"encoded_token": g.Encoded, "otp": otp}).Data["token"].(string)
	if _, err := n.Do(secret.NewText(decoded), engine.Read, "sys/mounts", nil); err != nil {
		t.Errorf("the token is no root token: %v", err)
	}
	if g, _ = n.RootGeneration(ctx); g.Started {
		t.Errorf("still under way: %+v", g)
	}
}

func TestDecodeShare(t *testing.T) {
	t.Parallel()
	share := []byte("0123456789abcdef0123456789abcdef!")
	for _, text := range []string{hex.EncodeToString(share), base64.StdEncoding.EncodeToString(share)} {
		if got, err := broker.DecodeShare(text); err != nil || string(got) != string(share) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	_, err := broker.DecodeShare("!!")
	wantError(t, err, errs.Invalid, "'key' must be a valid hex or base64 string")
}

func TestInitializeDev(t *testing.T) {
	t.Parallel()
	n := brokertest.NewSealed(t, broker.Settings{})
	if _, root, err := n.InitializeDev(t.Context(), secret.NewText("dev-root")); err != nil || root.Reveal() != "dev-root" {
		t.Fatal(err)
	}
	if _, err := n.Do(secret.NewText("dev-root"), engine.Read, "sys/mounts", nil); err != nil {
		t.Error(err)
	}
}
