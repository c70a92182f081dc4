package clients

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/crypto/bcrypt"

	"leasehold/server/proctest"
)

// programs is a server with a plugin directory that holds one program, built from a package. dir is the module that has it.
func programs(t *testing.T, dir, name, pkg string) (srv *proctest.Server, sum string) {
	t.Helper()
	plugins := t.TempDir()
	program := filepath.Join(plugins, name)
	build := exec.Command("go", "build", "-C", dir, "-o", program, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	contents, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(contents)
	srv = proctest.New(t, binary, fmt.Sprintf("plugin_directory = %q", plugins))
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Init(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, err := os.ReadFile(srv.LogFile()); err != nil || strings.Contains(string(text), "canary-") {
			t.Errorf("the log holds a secret: %v", err)
		}
	})
	put(t, srv, "sys/mounts/database", map[string]any{"type": "database"})
	return srv, hex.EncodeToString(hash[:])
}

func put(t *testing.T, srv *proctest.Server, path string, body map[string]any) {
	t.Helper()
	if _, err := srv.Root(http.MethodPut, path, body); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// refuse demands an error with a text and without secrets.
func refuse(t *testing.T, srv *proctest.Server, method, path string, body map[string]any, text string) {
	t.Helper()
	_, err := srv.Root(method, path, body)
	if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "canary-") {
		t.Errorf("%s: got %v, want an error with %q", path, err, text)
	}
}

type credentials struct{ user, password, lease string }

func creds(t *testing.T, srv *proctest.Server) credentials {
	t.Helper()
	answer, err := srv.Root(http.MethodGet, "database/creds/app", nil)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := answer["data"].(map[string]any)
	var c credentials
	c.user, _ = data["username"].(string)
	c.password, _ = data["password"].(string)
	c.lease, _ = answer["lease_id"].(string)
	return c
}

func revoke(t *testing.T, srv *proctest.Server, c credentials) {
	t.Helper()
	put(t, srv, "sys/leases/revoke", map[string]any{"lease_id": c.lease, "sync": true})
}

// pids are the processes of plugins that the server has started, in their order.
func pids(t *testing.T, srv *proctest.Server) (all []int) {
	t.Helper()
	text, err := os.ReadFile(srv.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`a plugin was started.* pid=(\d+)`).FindAllStringSubmatch(string(text), -1) {
		pid, err := strconv.Atoi(found[1])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pid)
	}
	return all
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// eventually polls for what another process does in its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestExamplePlugin walks through the life of a plugin with the program that shows how to write one.
func TestExamplePlugin(t *testing.T) {
	t.Parallel()
	srv, sum := programs(t, "..", "htpasswd", "leasehold/plugins/example")
	config := api.DefaultConfig()
	config.Address = srv.URL()
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(srv.RootToken)
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte("# people\nanna:$2y$not-ours\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	connection := map[string]any{"plugin_name": "htpasswd-database-plugin", "file": file, "allowed_roles": "*"}
	refuse(t, srv, http.MethodPut, "database/config/files", connection, "plugin not found in the catalog: htpasswd-database-plugin")

	register := &api.RegisterPluginInput{Name: "htpasswd-database-plugin", Type: api.PluginTypeDatabase, Command: "htpasswd", SHA256: strings.Repeat("ab", 32)}
	if err := client.Sys().RegisterPlugin(register); err != nil {
		t.Fatal(err)
	}
	refuse(t, srv, http.MethodPut, "database/config/files", connection, "SHA-256 is not the registered one")
	register.SHA256 = sum
	if err := client.Sys().RegisterPlugin(register); err != nil {
		t.Fatal(err)
	}
	found, err := client.Sys().GetPlugin(&api.GetPluginInput{Name: register.Name, Type: register.Type})
	if err != nil || found.SHA256 != sum || found.Builtin || found.Command != "htpasswd" {
		t.Errorf("the registered plugin: %+v, %v", found, err)
	}
	put(t, srv, "database/config/files", connection)
	put(t, srv, "database/roles/app", map[string]any{"db_name": "files"})

	worksAs := func(c credentials) bool {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if name, hash, _ := strings.Cut(strings.TrimSpace(line), ":"); name == c.user {
				return bcrypt.CompareHashAndPassword([]byte(hash), []byte(c.password)) == nil
			}
		}
		return false
	}
	a := creds(t, srv)
	if !regexp.MustCompile(`^V_[A-Z0-9]{12}_APP$`).MatchString(a.user) || !worksAs(a) {
		t.Errorf("user %q", a.user)
	}
	// The process that made it ends by force; the next call has another.
	last := pids(t, srv)
	if err := syscall.Kill(last[len(last)-1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process has ended", func() bool { return !alive(last[len(last)-1]) })
	revoke(t, srv, a)
	if worksAs(a) {
		t.Error("the user is still there")
	}
	// The server ends by force: the process goes with it, and the lease is still there.
	b := creds(t, srv)
	srv.Kill()
	for _, pid := range pids(t, srv) {
		eventually(t, "a plugin ends with its server", func() bool { return !alive(pid) })
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Unseal(); err != nil {
		t.Fatal(err)
	}
	revoke(t, srv, b)
	if worksAs(b) {
		t.Error("the user is still there after the restart")
	}
	// A reload has the next call start another process, and leaves the other where it was until then.
	before := len(pids(t, srv))
	put(t, srv, "sys/plugins/reload/backend", map[string]any{"plugin": register.Name})
	revoke(t, srv, creds(t, srv))
	if after := len(pids(t, srv)); after != before+1 {
		t.Errorf("%d processes were started after the reload", after-before)
	}
	// What is taken out of the catalogue cannot be started any more.
	if err := client.Sys().DeregisterPlugin(&api.DeregisterPluginInput{Name: register.Name, Type: register.Type}); err != nil {
		t.Fatal(err)
	}
	refuse(t, srv, http.MethodGet, "database/creds/app", nil, "plugin not found in the catalog")
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "# people\nanna:$2y$not-ours\n" {
		t.Errorf("the file at the end: %q, %v", text, err)
	}
}

// redis is a server that tests may ask things.
type redis struct{ addr string }

const redisPassword = "canary-redis-1"

func startRedis(t *testing.T) redis {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no",
		"--requirepass", redisPassword, "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: scripts/packages.sh installs it", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	r := redis{addr}
	eventually(t, "redis-server answers", func() bool { return r.logsIn("default", redisPassword) })
	return r
}

// logsIn reports whether Redis lets a user in.
func (r redis) logsIn(user, password string) bool {
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprintf(c, "AUTH %s %s\r\n", user, password)
	line, _ := bufio.NewReader(c).ReadString('\n')
	return line == "+OK\r\n"
}

// TestRedisPlugin drives Redis with the plugin that HashiCorp publishes. It knows no username_template: it names its users itself.
func TestRedisPlugin(t *testing.T) {
	t.Parallel()
	db := startRedis(t)
	srv, sum := programs(t, filepath.Join("testdata", "redis"), "redis",
		"github.com/hashicorp/vault-plugin-database-redis/cmd/vault-plugin-database-redis")
	put(t, srv, "sys/plugins/catalog/database/redis-database-plugin", map[string]any{"command": "redis", "sha256": sum, "version": "0.7.0"})
	host, port, _ := net.SplitHostPort(db.addr)
	connection := map[string]any{
		"plugin_name": "redis-database-plugin", "plugin_version": "v0.7.0", "host": host, "port": port,
		"username": "default", "password": "canary-wrong", "allowed_roles": "*",
	}
	refuse(t, srv, http.MethodPut, "database/config/redis", connection, "error verifying connection")
	connection["password"] = redisPassword
	put(t, srv, "database/config/redis", connection)
	put(t, srv, "database/roles/app", map[string]any{"db_name": "redis", "default_ttl": "10m", "creation_statements": `["~*", "+@read"]`})

	a := creds(t, srv)
	if !strings.HasPrefix(a.user, "V_V_") || !db.logsIn(a.user, a.password) {
		t.Fatalf("user %q", a.user)
	}
	put(t, srv, "sys/leases/renew", map[string]any{"lease_id": a.lease})
	b := creds(t, srv)
	revoke(t, srv, a)
	if db.logsIn(a.user, a.password) || !db.logsIn(b.user, b.password) {
		t.Error("want the first user gone and the second there")
	}
	put(t, srv, "database/rotate-root/redis", nil)
	if db.logsIn("default", redisPassword) {
		t.Error("the root password is still the former one")
	}
	srv.Kill()
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Unseal(); err != nil {
		t.Fatal(err)
	}
	revoke(t, srv, b)
	if db.logsIn(b.user, b.password) {
		t.Error("the user is still there after the restart")
	}
	put(t, srv, "database/roles/app", map[string]any{"creation_statements": "nonsense"})
	refuse(t, srv, http.MethodGet, "database/creds/app", nil, "error unmarshalling REDIS rules")
	answer, err := srv.Root("LIST", "sys/leases/lookup/database/creds/app", nil)
	if err == nil {
		t.Errorf("leases are left: %v", answer)
	}
}
