package clients

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/vault/api"

	"leasehold/server/proctest"
)

// safe is a server with key/value mounts of both versions, secret/ and old/, and a transit mount.
func safe(t *testing.T) *proctest.Server {
	t.Helper()
	srv := proctest.New(t, binary, "")
	if err := errors.Join(srv.Start(), srv.Init()); err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]map[string]any{
		"secret":  {"type": "kv", "options": map[string]any{"version": "2"}},
		"old":     {"type": "kv"},
		"transit": {"type": "transit"},
	} {
		if _, err := srv.Root(http.MethodPost, "sys/mounts/"+path, body); err != nil {
			t.Fatal(err)
		}
	}
	return srv
}

func goClient(t *testing.T, srv *proctest.Server) *api.Client {
	t.Helper()
	config := api.DefaultConfig()
	config.Address = srv.URL()
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(srv.RootToken)
	return client
}

func TestGoClientKeyValueVersion1(t *testing.T) {
	t.Parallel()
	kv := goClient(t, safe(t)).KVv1("old")
	data := map[string]any{"user": "app", "nested": map[string]any{"list": []any{"a", "b"}}}
	if err := kv.Put(t.Context(), "team/app", data); err != nil {
		t.Fatal(err)
	}
	got, err := kv.Get(t.Context(), "team/app")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(data, got.Data); diff != "" {
		t.Error(diff)
	}
	if err := kv.Delete(t.Context(), "team/app"); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get(t.Context(), "team/app"); !errors.Is(err, api.ErrSecretNotFound) {
		t.Errorf("after the deletion: %v", err)
	}
}

// TestGoClientKeyValueVersion2 calls every method that the client has for version 2.
func TestGoClientKeyValueVersion2(t *testing.T) {
	t.Parallel()
	client, ctx := goClient(t, safe(t)), t.Context()
	kv := client.KVv2("secret")
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	is := func(what string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	read := func(want map[string]any) {
		t.Helper()
		got, err := kv.Get(ctx, "app")
		must("get", err)
		is("data", got.Data, want)
	}

	if _, err := kv.Get(ctx, "app"); !errors.Is(err, api.ErrSecretNotFound) {
		t.Errorf("before it is written: %v", err)
	}
	put, err := kv.Put(ctx, "app", map[string]any{"a": "1", "b": "2"}, api.WithCheckAndSet(0))
	must("put", err)
	is("version", put.VersionMetadata.Version, 1)
	if age := time.Since(put.VersionMetadata.CreatedTime); age < -time.Minute || age > 10*time.Minute {
		t.Errorf("created %v ago", age)
	}
	var refused *api.ResponseError
	if _, err := kv.Put(ctx, "app", map[string]any{"a": "x"}, api.WithCheckAndSet(0)); !errors.As(err, &refused) || refused.StatusCode != http.StatusBadRequest {
		t.Errorf("put with a version that is past: %v", err)
	}

	// A patch by the server, one by reading and writing, and one that the client chooses itself.
	_, err = kv.Patch(ctx, "app", map[string]any{"a": nil, "c": "3"}, api.WithMergeMethod(api.KVMergeMethodPatch), api.WithCheckAndSet(1))
	must("patch", err)
	read(map[string]any{"b": "2", "c": "3"})
	_, err = kv.Patch(ctx, "app", map[string]any{"d": "4"}, api.WithMergeMethod(api.KVMergeMethodReadWrite))
	must("patch by writing", err)
	_, err = kv.Patch(ctx, "app", map[string]any{"e": "5"})
	must("patch by default", err)
	read(map[string]any{"b": "2", "c": "3", "d": "4", "e": "5"})
	if _, err := kv.Patch(ctx, "nothing", map[string]any{"a": "1"}); !errors.Is(err, api.ErrSecretNotFound) {
		t.Errorf("patch of nothing: %v", err)
	}

	first, err := kv.GetVersion(ctx, "app", 1)
	must("get a version", err)
	is("version 1", first.Data, map[string]any{"a": "1", "b": "2"})
	rolled, err := kv.Rollback(ctx, "app", 1)
	must("roll back", err)
	is("version after the rollback", rolled.VersionMetadata.Version, 5)
	read(map[string]any{"a": "1", "b": "2"})

	must("delete", kv.Delete(ctx, "app"))
	gone, err := kv.Get(ctx, "app")
	must("get what is deleted", err)
	if gone.Data != nil || gone.VersionMetadata.DeletionTime.IsZero() {
		t.Errorf("deleted: %+v", gone)
	}
	must("undelete", kv.Undelete(ctx, "app", []int{5}))
	read(map[string]any{"a": "1", "b": "2"})
	must("delete versions", kv.DeleteVersions(ctx, "app", []int{2, 3}))
	must("destroy", kv.Destroy(ctx, "app", []int{3, 4}))
	if _, err := kv.Rollback(ctx, "app", 4); err == nil {
		t.Error("rolled back to a version that was destroyed")
	}
	all, err := kv.GetVersionsAsList(ctx, "app")
	must("list versions", err)
	var destroyed, deleted []int
	for _, v := range all {
		if v.Destroyed {
			destroyed = append(destroyed, v.Version)
		}
		if !v.DeletionTime.IsZero() {
			deleted = append(deleted, v.Version)
		}
	}
	is("number of versions", len(all), 5)
	is("destroyed versions", destroyed, []int{3, 4})
	is("deleted versions", deleted, []int{2, 3})

	must("put metadata", kv.PutMetadata(ctx, "app", api.KVMetadataPutInput{
		CASRequired: true, MaxVersions: 7, DeleteVersionAfter: time.Hour, CustomMetadata: map[string]any{"owner": "team", "use": "tests"},
	}))
	must("patch metadata", kv.PatchMetadata(ctx, "app", api.KVMetadataPatchInput{CustomMetadata: map[string]any{"use": nil, "more": "yes"}}))
	about, err := kv.GetMetadata(ctx, "app")
	must("get metadata", err)
	is("custom metadata", about.CustomMetadata, map[string]any{"owner": "team", "more": "yes"})
	is("metadata", []any{about.CASRequired, about.MaxVersions, about.DeleteVersionAfter, about.CurrentVersion, len(about.Versions)},
		[]any{true, 7, time.Hour, 5, 5})
	if _, err := kv.Put(ctx, "app", map[string]any{"a": "x"}); err == nil {
		t.Error("written without check-and-set, which the key demands")
	}
	latest, err := kv.Put(ctx, "app", map[string]any{"a": "x"}, api.WithCheckAndSet(5))
	must("put with check-and-set", err)
	if latest.VersionMetadata.DeletionTime.IsZero() {
		t.Error("the version does not end by itself, as the key's metadata says")
	}

	listed, err := client.Logical().ListWithContext(ctx, "secret/metadata")
	must("list", err)
	is("keys", listed.Data["keys"], []any{"app"})
	must("delete metadata", kv.DeleteMetadata(ctx, "app"))
	if _, err := kv.GetMetadata(ctx, "app"); !errors.Is(err, api.ErrSecretNotFound) {
		t.Errorf("after the deletion: %v", err)
	}
	again, err := kv.Put(ctx, "app", map[string]any{"a": "1"})
	must("put again", err)
	is("version of a new key", again.VersionMetadata.Version, 1)
}

// TestGoClientTransit encrypts, rotates and signs by the client's plain calls: it has no others for transit.
func TestGoClientTransit(t *testing.T) {
	t.Parallel()
	client := goClient(t, safe(t)).Logical()
	write := func(path string, body map[string]any) map[string]any {
		t.Helper()
		got, err := client.Write("transit/"+path, body)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if got == nil {
			return nil
		}
		return got.Data
	}
	write("keys/data", nil)
	text := write("encrypt/data", map[string]any{"plaintext": "c2VjcmV0"})["ciphertext"]
	write("keys/data/rotate", nil)
	rewrapped := write("rewrap/data", map[string]any{"ciphertext": text})["ciphertext"]
	for _, c := range []any{text, rewrapped} {
		if got := write("decrypt/data", map[string]any{"ciphertext": c})["plaintext"]; got != "c2VjcmV0" {
			t.Errorf("decrypted to %v", got)
		}
	}
	write("keys/signer", map[string]any{"type": "ed25519"})
	signature := write("sign/signer", map[string]any{"input": "c2VjcmV0"})["signature"]
	if got := write("verify/signer", map[string]any{"input": "c2VjcmV0", "signature": signature})["valid"]; got != true {
		t.Errorf("verified: %v", got)
	}
	names, err := client.List("transit/keys")
	if err != nil || !slices.Equal(names.Data["keys"].([]any), []any{"data", "signer"}) {
		t.Errorf("keys: %v, %v", names, err)
	}
}
