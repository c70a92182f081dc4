package external_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/database/dbplugin/v5/proto"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// TestMain is the test program, or a plugin: the tests launch themselves, with the plugin's manners in PLUGIN_MANNERS.
func TestMain(m *testing.M) {
	if manners := os.Getenv("PLUGIN_MANNERS"); manners != "" {
		serve(manners)
		return
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// serve is a plugin whose users are files in the directory of its setting "host".
func serve(manners string) {
	config := &plugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: "VAULT_DATABASE_PLUGIN", MagicCookieValue: "926a0820-aea2-be28-51d6-83cdf00e8edb"},
		VersionedPlugins: map[int]plugin.PluginSet{5: {"database": &served{manners: manners}}},
		GRPCServer:       plugin.DefaultGRPCServer,
	}
	switch manners {
	case "of another kind":
		config.HandshakeConfig.MagicCookieKey = "VAULT_BACKEND_PLUGIN"
	case "of another version":
		config.VersionedPlugins = map[int]plugin.PluginSet{4: config.VersionedPlugins[5]}
	case "exits":
		os.Exit(3)
	case "says nonsense":
		fmt.Println("canary-environment and nonsense")
		<-time.After(time.Minute) // it is killed before
	case "never accepts":
		fmt.Println("1|5|unix|/nowhere/at/all|grpc|")
		<-time.After(time.Minute) // it is killed before
	}
	plugin.Serve(config)
}

type served struct {
	plugin.NetRPCUnsupportedPlugin
	proto.UnimplementedDatabaseServer
	manners  string
	dir      string
	template string
	password string
}

func (s *served) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	if s.manners != "of another service" {
		proto.RegisterDatabaseServer(g, s)
	}
	return nil
}

func (*served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("a plugin is no client")
}

// once reports whether a thing is done for the first time in all processes.
func (s *served) once(what string) bool {
	f, err := os.OpenFile(filepath.Join(s.dir, "."+what), os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_ = f.Close()
	}
	return err == nil
}

func (s *served) Initialize(_ context.Context, r *proto.InitializeRequest) (*proto.InitializeResponse, error) {
	text := func(name string) string { return r.GetConfigData().GetFields()[name].GetStringValue() }
	s.dir, s.template, s.password = text("host"), text("username_template"), text("password")
	if r.GetVerifyConnection() && text("password") == "wrong-canary" {
		return nil, status.Errorf(codes.Internal, "unable to initialize: no login with %s", s.password)
	}
	if s.manners == "shows its surroundings" {
		var names []string
		for _, pair := range os.Environ() {
			name, _, _ := strings.Cut(pair, "=")
			names = append(names, name)
		}
		slices.Sort(names)
		_ = os.WriteFile(filepath.Join(s.dir, "surroundings"), []byte(strings.Join(names, " ")+"\n"+strings.Join(os.Args[1:], " ")), 0o600)
	}
	config := r.GetConfigData()
	if strings.HasPrefix(s.manners, "takes keys") {
		types, err := structpb.NewList([]any{"password", "rsa_private_key", "client_certificate"})
		if err != nil {
			return nil, err
		}
		config.Fields["supported_credential_types"] = structpb.NewListValue(types)
	}
	return &proto.InitializeResponse{ConfigData: config}, nil
}

// tell writes a request down, for the test to read.
func (s *served) tell(r any) {
	text, _ := json.Marshal(r)
	_ = os.WriteFile(filepath.Join(s.dir, "request"), text, 0o600)
}

func (s *served) NewUser(ctx context.Context, r *proto.NewUserRequest) (*proto.NewUserResponse, error) {
	s.tell(r)
	name := r.GetUsernameConfig().GetDisplayName()
	if s.template != "{{.DisplayName}}" {
		return nil, status.Error(codes.Internal, "no template was set")
	}
	make := func() { _ = os.WriteFile(filepath.Join(s.dir, name), []byte(fmt.Sprint(os.Getpid())), 0o600) }
	switch s.manners {
	case "takes keys, names by the subject":
		if r.GetSubject() != "" {
			name = r.GetSubject()
		}
	case "names by itself":
		name = strings.ToLower(name) + "-own"
	case "says no name":
		make()
		return &proto.NewUserResponse{}, nil
	case "refuses":
		return nil, status.Errorf(codes.Internal, "unable to create new user: cannot SET PASSWORD %q with %s", r.GetPassword(), s.password)
	case "panics":
		make()
		panic("canary")
	case "exits once":
		if s.once("exit") {
			make()
			os.Exit(1)
		}
	case "hangs once":
		if s.once("hang") {
			<-ctx.Done()
		}
	case "freezes once":
		if s.once("freeze") {
			make()
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			<-ctx.Done() // another thread may be the first to stop
		}
	case "answers too much":
		return &proto.NewUserResponse{Username: strings.Repeat("x", 2<<20)}, nil
	case "tells secrets":
		fmt.Fprintf(os.Stderr, `{"@level":"error","@message":"%s %s %s"}`+"\n", r.GetPassword(), s.password, os.Getenv("TOKEN"))
		fmt.Fprintln(os.Stderr, strings.Repeat("-", 4090)+s.password)
		fmt.Println(s.password)
	}
	make()
	return &proto.NewUserResponse{Username: name}, nil
}

func (s *served) UpdateUser(_ context.Context, r *proto.UpdateUserRequest) (*proto.UpdateUserResponse, error) {
	s.tell(r)
	if _, err := os.Stat(filepath.Join(s.dir, r.GetUsername())); err != nil {
		return nil, status.Error(codes.Internal, "unable to update user: there is none of that name")
	}
	return &proto.UpdateUserResponse{}, nil
}

func (s *served) DeleteUser(_ context.Context, r *proto.DeleteUserRequest) (*proto.DeleteUserResponse, error) {
	if err := os.Remove(filepath.Join(s.dir, r.GetUsername())); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, status.Error(codes.Internal, "unable to delete user")
	}
	return &proto.DeleteUserResponse{}, nil
}

func (s *served) Type(context.Context, *proto.Empty) (*proto.TypeResponse, error) {
	return &proto.TypeResponse{Type: "files"}, nil
}

func (s *served) Close(context.Context, *proto.Empty) (*proto.Empty, error) {
	return &proto.Empty{}, nil
}
