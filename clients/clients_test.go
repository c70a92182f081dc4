package clients

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

var binary string

func TestMain(m *testing.M) { os.Exit(proctest.Main(m, &binary)) }

// appPolicy is what an application needs: its role, and its leases.
const appPolicy = `
path "database/creds/app"  { capabilities = ["read"] }
path "sys/leases/revoke"   { capabilities = ["update"] }
path "sys/leases/revoke/*" { capabilities = ["update"] }
`

// shop is a server with a connection, a role and a policy, as an operator leaves it.
func shop(t *testing.T) (*proctest.Server, *testdb.Server) {
	t.Helper()
	db := testdb.Postgres(t)
	srv := proctest.New(t, binary, "")
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Init(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		path string
		body map[string]any
	}{
		{"sys/policies/acl/app", map[string]any{"policy": appPolicy}},
		{"sys/mounts/database", map[string]any{"type": "database"}},
		{"database/config/pg", map[string]any{
			"plugin_name":    "postgresql-database-plugin",
			"connection_url": "postgresql://{{username}}:{{password}}@" + db.Addr + "/" + db.Database + "?sslmode=disable",
			"username":       db.User, "password": db.Password, "allowed_roles": "app",
		}},
		{"database/roles/app", map[string]any{
			"db_name": "pg", "default_ttl": "10m", "max_ttl": "1h",
			"creation_statements": `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
		}},
	} {
		if _, err := srv.Root(http.MethodPut, step.path, step.body); err != nil {
			t.Fatalf("%s: %v", step.path, err)
		}
	}
	return srv, db
}

func login(t *testing.T, db *testdb.Server, user, password string) error {
	t.Helper()
	config, err := pgx.ParseConfig(db.URL())
	if err != nil {
		t.Fatal(err)
	}
	config.User, config.Password = user, password
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		return err
	}
	return conn.Close(context.Background())
}

// TestGoClient walks the whole flow with the Go client module.
func TestGoClient(t *testing.T) {
	t.Parallel()
	srv, db := shop(t)
	config := api.DefaultConfig()
	config.Address = srv.URL()
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(srv.RootToken)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}

	health, err := client.Sys().Health()
	must("health", err)
	if !health.Initialized || health.Sealed {
		t.Errorf("health: %+v", health)
	}
	token, err := client.Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{"app"}, TTL: "30m"})
	must("create a token", err)
	client.SetToken(token.Auth.ClientToken)
	self, err := client.Auth().Token().LookupSelf()
	must("look the token up", err)
	if policies, err := self.TokenPolicies(); err != nil || strings.Join(policies, ",") != "app,default" {
		t.Errorf("policies %v, %v", policies, err)
	}
	if _, err := client.Logical().Read("sys/mounts"); err == nil {
		t.Error("the application may list mounts")
	}

	creds, err := client.Logical().Read("database/creds/app")
	must("read creds", err)
	if creds.LeaseDuration != 600 || !creds.Renewable {
		t.Errorf("lease of %d s, renewable %v", creds.LeaseDuration, creds.Renewable)
	}
	user, _ := creds.Data["username"].(string)
	password, _ := creds.Data["password"].(string)
	must("log in", login(t, db, user, password))

	renewed, err := client.Sys().Renew(creds.LeaseID, 1200)
	must("renew", err)
	if renewed.LeaseDuration != 1200 {
		t.Errorf("renewed to %d s", renewed.LeaseDuration)
	}
	found, err := client.Sys().Lookup(creds.LeaseID)
	must("look the lease up", err)
	if found.Data["id"] != creds.LeaseID {
		t.Errorf("lookup: %v", found.Data)
	}
	renewedToken, err := client.Auth().Token().RenewSelf(0)
	must("renew the token", err)
	if renewedToken.Auth.LeaseDuration != 1800 {
		t.Errorf("token renewed to %d s", renewedToken.Auth.LeaseDuration)
	}

	must("revoke", client.Sys().RevokeWithOptions(&api.RevokeOptions{LeaseID: creds.LeaseID, Sync: true}))
	if err := login(t, db, user, password); err == nil {
		t.Error("the user can still log in")
	}
	must("revoke the token", client.Auth().Token().RevokeSelf(""))
	if _, err := client.Logical().Read("database/creds/app"); err == nil {
		t.Error("a revoked token still works")
	}
}

// TestLifetimeWatcher lets the Go client's own renewer keep a short lease alive once.
func TestLifetimeWatcher(t *testing.T) {
	t.Parallel()
	srv, _ := shop(t)
	config := api.DefaultConfig()
	config.Address = srv.URL()
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(srv.RootToken)
	if _, err := client.Logical().Write("database/roles/app", map[string]any{"default_ttl": "3s"}); err != nil {
		t.Fatal(err)
	}
	creds, err := client.Logical().Read("database/creds/app")
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: creds})
	if err != nil {
		t.Fatal(err)
	}
	go watcher.Start()
	defer watcher.Stop()
	select {
	case renewal := <-watcher.RenewCh():
		if renewal.Secret.LeaseID != creds.LeaseID {
			t.Errorf("renewed %q", renewal.Secret.LeaseID)
		}
	case err := <-watcher.DoneCh():
		t.Errorf("the watcher gave up: %v", err)
	case <-t.Context().Done():
	}
}

// hvacFlow is what a Python application does.
const hvacFlow = `
import os, sys, hvac

root = hvac.Client(url=os.environ["ADDR"], token=os.environ["TOKEN"])
assert root.sys.is_initialized() and not root.sys.is_sealed()
made = root.auth.token.create(policies=["app"], ttl="30m")
client = hvac.Client(url=os.environ["ADDR"], token=made["auth"]["client_token"])
assert client.is_authenticated()
assert client.auth.token.lookup_self()["data"]["policies"] == ["app", "default"]
creds = client.secrets.database.generate_credentials(name="app")
assert creds["lease_duration"] == 600 and creds["renewable"], creds
renewed = client.sys.renew_lease(lease_id=creds["lease_id"], increment=1200)
assert renewed["lease_duration"] == 1200, renewed
assert client.sys.read_lease(lease_id=creds["lease_id"])["data"]["id"] == creds["lease_id"]
client.auth.token.renew_self()
print(creds["data"]["username"], creds["data"]["password"], flush=True)
sys.stdin.readline()
client.sys.revoke_lease(lease_id=creds["lease_id"])
try:
    root.sys.read_lease(lease_id=creds["lease_id"])
except hvac.exceptions.InvalidRequest as e:
    assert "invalid lease" in str(e), e
else:
    raise AssertionError("the lease is still there")
client.logout(revoke_token=True)
assert not hvac.Client(url=os.environ["ADDR"], token=made["auth"]["client_token"]).is_authenticated()
`

// TestHvac walks the whole flow with Debian's python3-hvac.
func TestHvac(t *testing.T) {
	t.Parallel()
	srv, db := shop(t)
	cmd := exec.Command("/usr/bin/python3", "-c", hvacFlow)
	cmd.Env = append(os.Environ(), "ADDR="+srv.URL(), "TOKEN="+srv.RootToken)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("python3: %v (Debian package python3-hvac)", err)
	}
	var user, password string
	_, scanErr := fmt.Fscan(stdout, &user, &password)
	if scanErr == nil {
		if err := login(t, db, user, password); err != nil {
			t.Errorf("log in: %v", err)
		}
	}
	_, _ = fmt.Fprintln(stdin, "go on")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("hvac: %v\n%s", err, stderr.String())
	}
	if err := login(t, db, user, password); err == nil {
		t.Error("the user can still log in")
	}
}
