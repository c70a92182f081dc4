package external

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/database/dbplugin/v5/proto"
	"google.golang.org/grpc"

	"leasehold/internal/secret"
	"leasehold/plugins"
)

// protocolVersion is that of the database plugin protocol. Version 6 only adds several databases in one process.
const protocolVersion = 5

// handshake is what a database plugin expects of whoever launches it. It keeps people from running one by hand, and is no
// secret. Source: the published protocol, package dbplugin of version 5.
var handshake = plugin.HandshakeConfig{
	MagicCookieKey:   "VAULT_DATABASE_PLUGIN",
	MagicCookieValue: "926a0820-aea2-be28-51d6-83cdf00e8edb",
}

const (
	// startTimeout is how long a program may take until it says that it is ready, whatever the caller's deadline is.
	startTimeout = 10 * time.Second
	// signTimeout is how long a sign of life may take, and a farewell.
	signTimeout = 2 * time.Second
	// How long a plugin's answer may be, and the text of its error, in bytes.
	maxAnswer = 1 << 20
	maxText   = 64 << 10
)

// process is one running program.
type process struct {
	rpc    proto.DatabaseClient
	client *plugin.Client
	cmd    *exec.Cmd
	dir    string // of its socket and temporary files
	sha256 string
	types  []string // of credential, that it has announced; constant once it is the present one
	began  time.Time
	log    *logWriter

	users   int  // calls under way; guarded by database.mu
	retired bool // to be ended by the last of them; guarded by database.mu
}

// launch starts the program and waits until it can be called. Errors hold no secret: none was sent yet, but those of the operator's
// environment are known to the program.
func (d *database) launch(ctx context.Context) (_ *process, err error) {
	program, err := d.driver.Program(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "leasehold-plugin-")
	if err != nil {
		return nil, errors.New("no directory for the plugin's socket could be made")
	}
	p := &process{dir: dir, sha256: string(program.SHA256), began: d.driver.Clock.Now()}
	masks := slices.Clone(d.masks)
	for _, pair := range program.Env {
		_, value, _ := strings.Cut(pair, "=")
		masks = append(masks, plugins.MaskPassword(value)...)
	}
	p.log = &logWriter{log: d.driver.Log.With("plugin", d.driver.Name), masks: masks, calls: &callMasks{}}
	p.cmd = exec.Command(program.Path, program.Args...)
	p.cmd.Env = append([]string{"TMPDIR=" + dir, plugin.EnvUnixSocketDir + "=" + dir}, program.Env...)
	p.cmd.Dir = dir
	dieWithUs(p.cmd)
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{protocolVersion: {"database": rpcClient{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              p.cmd,
		SkipHostEnv:      true, // this server's may hold its secrets
		SecureConfig:     &plugin.SecureConfig{Checksum: program.SHA256, Hash: sha256.New()},
		AutoMTLS:         true,
		StartTimeout:     startTimeout,
		Stderr:           p.log, SyncStdout: p.log.another(), SyncStderr: p.log.another(),
		Logger: hclog.NewNullLogger(),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)), grpc.WithMaxHeaderListSize(maxText),
		},
	})
	defer func() {
		if err != nil {
			p.kill()
		}
	}()
	if _, err := p.client.Start(); err != nil {
		return nil, p.startError(err)
	}
	// It has said where it listens, and may never accept: then connecting would outlast us.
	defer context.AfterFunc(ctx, p.strike)()
	connected, err := p.client.Client()
	if err != nil {
		return nil, p.startError(err)
	}
	raw, err := connected.Dispense("database")
	if err != nil {
		return nil, p.startError(err)
	}
	p.rpc = raw.(proto.DatabaseClient)
	says, err := p.rpc.Type(ctx, &proto.Empty{})
	if err != nil {
		return nil, fmt.Errorf("the program does not answer as a database plugin of protocol version %d: %s", protocolVersion, p.log.hide(explained(err).Error()))
	}
	d.driver.Log.Info("a plugin was started", "plugin", d.driver.Name, "type", shortened(says.GetType(), 64), "pid", p.cmd.Process.Pid)
	return p, nil
}

// startError says why a program did not start, in one line.
func (p *process) startError(err error) error {
	if errors.Is(err, plugin.ErrChecksumsDoNotMatch) {
		return errors.New("the program's SHA-256 is not the registered one: register the plugin anew if the program was replaced on purpose")
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("the plugin does not start: %s", p.log.hide(shortened(line, 300)))
}

func shortened(text string, limit int) string {
	if len(text) > limit {
		return strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}

// ended reports whether the program has ended by itself.
func (p *process) ended() bool { return p.client.Exited() }

// sign asks for a sign of life.
func (p *process) sign(ctx context.Context) error {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), signTimeout)
	defer done()
	_, err := p.rpc.Type(ctx, &proto.Empty{})
	return err
}

// end has the plugin close what it has open, and ends it.
func (p *process) end() {
	ctx, done := context.WithTimeout(context.Background(), signTimeout)
	defer done()
	if _, err := p.rpc.Close(ctx, &proto.Empty{}); err != nil {
		p.kill()
		return
	}
	late := time.AfterFunc(signTimeout, p.strike) // go-plugin's farewell has no deadline of its own
	defer late.Stop()
	p.cleanUp()
}

// kill ends the program without a farewell.
func (p *process) kill() {
	if !p.client.Exited() { // else its number may be another's by now
		p.strike()
	}
	p.cleanUp()
}

// cleanUp returns when the program has ended and nothing of it is left.
func (p *process) cleanUp() {
	p.client.Kill()
	_ = os.RemoveAll(p.dir) // what cannot be removed is in the system's own directory for such
}

// strike ends the program and its children at once.
func (p *process) strike() { strike(p.cmd) }

// rpcClient makes the client of the protocol's service.
type rpcClient struct{ plugin.NetRPCUnsupportedPlugin }

// GRPCClient implements [plugin.GRPCPlugin].
func (rpcClient) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return proto.NewDatabaseClient(c), nil
}

// GRPCServer implements [plugin.GRPCPlugin]: there is none on this side.
func (rpcClient) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this side serves no database")
}

// remember keeps the secret of a call from the log for as long as lines about it may come.
func (p *process) remember(password secret.Text) { p.log.calls.remember(forms(password.Reveal())) }
