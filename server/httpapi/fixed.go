package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store/seal"
)

// methods are the handlers of a path that answers outside the envelope, by method. POST is PUT.
type methods map[string]func(ctx context.Context, x *exchange) error

func (m methods) serve(ctx context.Context, x *exchange) error {
	method := x.r.Method
	if method == http.MethodPost {
		method = http.MethodPut
	}
	handler := m[method]
	if handler == nil {
		return errBadMethod
	}
	return handler(ctx, x)
}

// fixedPaths are the paths that answer without keys, and so without token, policy, mount and audit.
func fixedPaths() map[string]methods {
	return map[string]methods{
		"sys/init":        {http.MethodGet: initStatus, http.MethodPut: initialize},
		"sys/seal-status": {http.MethodGet: sealStatus},
		"sys/unseal":      {http.MethodPut: unseal},
		"sys/seal":        {http.MethodPut: sealUp},
		"sys/health":      {http.MethodGet: health, http.MethodHead: health},
		"sys/leader":      {http.MethodGet: leader},
	}
}

// fields reads the body of a write by a schema.
func (x *exchange) fields(schema engine.Schema) (*engine.Fields, error) {
	data, err := decodeBody(x.w, x.r, x.h.limits)
	if err != nil {
		return nil, err
	}
	return engine.Convert(schema, data)
}

func initStatus(ctx context.Context, x *exchange) error {
	status, err := x.h.broker.SealStatus(ctx)
	if err != nil {
		return err
	}
	return x.value(map[string]any{"initialized": status.Initialized})
}

var initSchema = engine.Schema{
	"secret_shares": engine.Int, "secret_threshold": engine.Int, "pgp_keys": engine.CommaList, "root_token_pgp_key": engine.Text,
	"recovery_shares": engine.Int, "recovery_threshold": engine.Int, "recovery_pgp_keys": engine.CommaList,
}

// shareFields are the fields of init that say how a key is shared out.
type shareFields struct{ shares, threshold, pgpKeys string }

var (
	unsealFields   = shareFields{"secret_shares", "secret_threshold", "pgp_keys"}
	recoveryFields = shareFields{"recovery_shares", "recovery_threshold", "recovery_pgp_keys"}
)

// errPGP: the shares of a ceremony are handed out in clear, over TLS.
var errPGP = errs.New(errs.Invalid, "encrypting with PGP keys is not supported")

// initialize gives the shares of the unseal key; where the seal opens the store by itself, it does so at once, and the shares
// are those of the recovery key.
func initialize(ctx context.Context, x *exchange) error {
	f, err := x.fields(initSchema)
	if err != nil {
		return err
	}
	status, err := x.h.broker.SealStatus(ctx)
	if err != nil {
		return err
	}
	own, others, kind := unsealFields, recoveryFields, "seal"
	if status.Recovery {
		own, others, kind = recoveryFields, unsealFields, "recovery"
	}
	params, pgpKeys := seal.Params{Shares: f.Int(own.shares), Threshold: f.Int(own.threshold)}, len(f.List(own.pgpKeys))
	var wrong []string
	for _, name := range []string{others.shares, others.threshold} {
		if f.Int(name) != 0 { // some clients send a zero for nothing
			wrong = append(wrong, name)
		}
	}
	if len(f.List(others.pgpKeys)) > 0 {
		wrong = append(wrong, others.pgpKeys)
	}
	switch {
	case len(wrong) > 0:
		return errs.New(errs.Invalid, "parameters %s not applicable to seal type %s", strings.Join(wrong, ","), status.Type)
	case pgpKeys > 0 && pgpKeys != params.Shares:
		return errs.New(errs.Invalid, "invalid %s configuration: count mismatch between number of provided PGP keys and number of shares", kind)
	case pgpKeys > 0, f.Text("root_token_pgp_key") != "":
		return errPGP
	}
	shares, root, err := x.h.broker.Initialize(ctx, params)
	if err != nil {
		return err
	}
	answer := shareTexts(shares)
	if status.Recovery {
		if err := x.h.broker.OpenAlone(ctx, x.h.opened); err != nil {
			// The shares must not be lost for that. It is tried again behind us.
			x.h.log.Warn("the new store does not open by itself yet", "error", err)
		}
		answer = map[string]any{"keys": []any{}, "keys_base64": []any{}, "recovery_keys": answer["keys"], "recovery_keys_base64": answer["keys_base64"]}
	}
	answer["root_token"] = root
	return x.value(answer)
}

// shareTexts shows shares in the two forms that clients take, and wipes them.
func shareTexts(shares []secret.Bytes) map[string]any {
	inHex, inBase64 := make([]any, len(shares)), make([]any, len(shares))
	for i, share := range shares {
		inHex[i] = secret.NewText(hex.EncodeToString(share.Reveal()))
		inBase64[i] = secret.NewText(base64.StdEncoding.EncodeToString(share.Reveal()))
		share.Wipe()
	}
	return map[string]any{"keys": inHex, "keys_base64": inBase64}
}

func sealStatus(ctx context.Context, x *exchange) error {
	status, err := x.h.broker.SealStatus(ctx)
	if err != nil {
		return err
	}
	return x.value(x.statusOf(status))
}

func (x *exchange) statusOf(s broker.Status) map[string]any {
	out := map[string]any{
		"type": s.Type, "initialized": s.Initialized, "sealed": s.Sealed, "t": s.Threshold, "n": s.Shares, "progress": s.Progress,
		"nonce": s.Nonce, "version": x.h.version, "migration": s.Migration, "recovery_seal": s.Recovery, "storage_type": x.h.storageType,
		"commit_date": "", // the version says what was built
	}
	if s.Recovery {
		out["recovery_seal_type"] = seal.Shamir
	}
	if !s.Sealed {
		out["cluster_name"], out["cluster_id"] = s.ClusterName, s.ClusterID
	}
	return out
}

var unsealSchema = engine.Schema{"key": engine.Text, "reset": engine.Bool, "migrate": engine.Bool}

func unseal(ctx context.Context, x *exchange) error {
	f, err := x.fields(unsealSchema)
	if err != nil {
		return err
	}
	if f.Bool("reset") {
		status, err := x.h.broker.ResetUnseal(ctx)
		if err != nil {
			return err
		}
		return x.value(x.statusOf(status))
	}
	text := f.Text("key")
	if text == "" {
		return errs.New(errs.Invalid, "'key' must be specified in request body as JSON, or 'reset' set to true")
	}
	share, err := broker.DecodeShare(text)
	if err != nil {
		return err
	}
	defer clear(share)
	before, err := x.h.broker.SealStatus(ctx)
	if err != nil {
		return err
	}
	give := x.h.broker.Unseal
	if f.Bool("migrate") {
		give = x.h.broker.MigrateSeal
	}
	status, err := give(ctx, share)
	if err != nil {
		return err
	}
	if before.Sealed && !status.Sealed {
		x.h.opened(ctx)
	}
	return x.value(x.statusOf(status))
}

func sealUp(ctx context.Context, x *exchange) error {
	request, err := x.decode()
	if err != nil {
		return err
	}
	if err := x.h.broker.Seal(ctx, request); err != nil {
		return err
	}
	x.empty(http.StatusNoContent)
	return nil
}

// healthCodes are the statuses that a query may replace. Those of states that this server is never in are checked, too.
var healthCodes = []string{
	"activecode", "standbycode", "sealedcode", "uninitcode", "removedcode", "drsecondarycode", "performancestandbycode",
}

func health(ctx context.Context, x *exchange) error {
	query := x.r.URL.Query()
	codes := map[string]int{"activecode": http.StatusOK, "sealedcode": http.StatusServiceUnavailable, "uninitcode": http.StatusNotImplemented}
	for _, name := range healthCodes {
		if text := query.Get(name); text != "" {
			code, err := strconv.Atoi(text)
			if err != nil || code < 200 || code > 599 {
				return errBadValue
			}
			codes[name] = code
		}
	}
	for _, name := range []string{"standbyok", "perfstandbyok"} {
		if text := query.Get(name); text != "" {
			if _, err := strconv.ParseBool(text); err != nil {
				return errBadValue
			}
		}
	}
	status, err := x.h.broker.SealStatus(ctx)
	if err != nil {
		return err
	}
	code, replication := codes["activecode"], "disabled"
	if status.Sealed {
		code, replication = codes["sealedcode"], "unknown"
	}
	if !status.Initialized {
		code = codes["uninitcode"]
	}
	if code == http.StatusNoContent {
		x.empty(code)
		return nil
	}
	answer := map[string]any{
		"initialized": status.Initialized, "sealed": status.Sealed, "standby": status.Sealed, "performance_standby": false,
		"replication_performance_mode": replication, "replication_dr_mode": replication,
		"server_time_utc": x.h.clock.Now().Unix(), "version": x.h.version, "enterprise": false,
	}
	if !status.Sealed {
		answer["cluster_name"], answer["cluster_id"] = status.ClusterName, status.ClusterID
	}
	return x.valueWith(code, answer)
}

// leader answers, where several nodes may serve the store, that this one leads: each is as good as a leader, and clients that
// look for one need go no further. With a store of one node there is none.
func leader(_ context.Context, x *exchange) error {
	l, err := x.h.broker.Leadership()
	if err != nil {
		return err
	}
	return x.value(map[string]any{
		"ha_enabled": l.Shared, "is_self": l.Shared, "active_time": l.ActiveSince, "leader_address": l.APIAddress,
		"leader_cluster_address": l.ClusterAddress, "performance_standby": false, "performance_standby_last_remote_wal": 0,
	})
}
