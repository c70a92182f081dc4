// Command example is a database plugin in one file: its "database" is a password file such as Apache's htpasswd makes and nginx
// reads, and its users may log in to whatever is behind that file. It speaks version 5 of the database plugin protocol, so it runs
// under any server that does. To add an engine, keep main and GRPCServer, and write the six methods anew.
//
// Settings: file, the path of the password file, which must exist; username_template, as in other plugins.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/database/dbplugin/v5/proto"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: "VAULT_DATABASE_PLUGIN", MagicCookieValue: "926a0820-aea2-be28-51d6-83cdf00e8edb"},
		VersionedPlugins: map[int]plugin.PluginSet{5: {"database": &passwordFile{}}},
		GRPCServer:       plugin.DefaultGRPCServer,
	})
}

// passwordFile holds lines of the form NAME:HASH. Calls come at the same time; a changed file takes the place of the old one as a whole.
type passwordFile struct {
	plugin.NetRPCUnsupportedPlugin
	proto.UnimplementedDatabaseServer
	mu    sync.Mutex
	path  string // guarded by mu
	given bool   // whoever calls chooses the names; guarded by mu
}

// GRPCServer implements plugin.GRPCPlugin.
func (p *passwordFile) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterDatabaseServer(s, p)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin: that is the server's side.
func (*passwordFile) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is a plugin")
}

// Type says what this is.
func (*passwordFile) Type(context.Context, *proto.Empty) (*proto.TypeResponse, error) {
	return &proto.TypeResponse{Type: "htpasswd"}, nil
}

// Initialize takes the settings and, if it is asked to, tries them.
func (p *passwordFile) Initialize(_ context.Context, r *proto.InitializeRequest) (*proto.InitializeResponse, error) {
	setting := func(name string) string { return r.GetConfigData().GetFields()[name].GetStringValue() }
	p.mu.Lock()
	defer p.mu.Unlock()
	// Of all templates this program understands one. It is worth it: a server that chose the name can undo a call that broke off.
	p.path, p.given = setting("file"), setting("username_template") == "{{.DisplayName}}"
	if !filepath.IsAbs(p.path) {
		return nil, status.Error(codes.InvalidArgument, "file must be the absolute path of the password file")
	}
	if r.GetVerifyConnection() {
		if _, err := os.ReadFile(p.path); err != nil {
			return nil, status.Errorf(codes.Internal, "read the password file: %s", err)
		}
	}
	return &proto.InitializeResponse{ConfigData: r.GetConfigData()}, nil
}

// NewUser makes a user and says what it is called.
func (p *passwordFile) NewUser(_ context.Context, r *proto.NewUserRequest) (*proto.NewUserResponse, error) {
	name := r.GetUsernameConfig().GetDisplayName()
	p.mu.Lock()
	given := p.given
	p.mu.Unlock()
	if !given {
		name = "v-" + name + "-" + rand.Text()
	}
	return &proto.NewUserResponse{Username: name}, p.put(name, r.GetPassword(), func(there bool) bool { return !there })
}

// UpdateUser changes a password. An expiry is not kept: the server deletes its users in time.
func (p *passwordFile) UpdateUser(_ context.Context, r *proto.UpdateUserRequest) (*proto.UpdateUserResponse, error) {
	if r.GetPassword() == nil {
		return &proto.UpdateUserResponse{}, nil
	}
	return &proto.UpdateUserResponse{}, p.put(r.GetUsername(), r.GetPassword().GetNewPassword(), func(there bool) bool { return there })
}

// DeleteUser removes a user; one that is not there is no error.
func (p *passwordFile) DeleteUser(_ context.Context, r *proto.DeleteUserRequest) (*proto.DeleteUserResponse, error) {
	return &proto.DeleteUserResponse{}, p.put(r.GetUsername(), "", func(bool) bool { return true })
}

// Close has nothing to close.
func (*passwordFile) Close(context.Context, *proto.Empty) (*proto.Empty, error) {
	return &proto.Empty{}, nil
}

// put gives a user a password, or removes it with an empty one, if whether it is there is right.
func (p *passwordFile) put(name, password string, right func(there bool) bool) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil || name == "" || strings.ContainsAny(name, ":\n") {
		return status.Error(codes.InvalidArgument, "a name has no colon, and a password not more than 72 bytes")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	text, err := os.ReadFile(p.path)
	if err != nil {
		return status.Errorf(codes.Internal, "read the password file: %s", err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	kept := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.HasPrefix(line, name+":") })
	if !right(len(kept) < len(lines)) {
		return status.Errorf(codes.FailedPrecondition, "user %q is there already, or is not there", name)
	}
	if password != "" {
		kept = append([]string{fmt.Sprintf("%s:%s\n", name, hash)}, kept...)
	}
	if err = os.WriteFile(p.path+".new", []byte(strings.Join(kept, "")), 0o600); err == nil {
		err = os.Rename(p.path+".new", p.path)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "write the password file: %s", err)
	}
	return nil
}
