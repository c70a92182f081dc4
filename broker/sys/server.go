package sys

import (
	"context"
	"os"

	"leasehold/engine"
)

func (s *system) serverPaths() []*engine.Path {
	return []*engine.Path{
		{Pattern: "version-history", Fields: engine.Schema{}, Help: "The versions of the program that this store has seen.",
			Ops: engine.Ops{engine.List: s.versionHistory}},
		{Pattern: "ha-status", Help: "The nodes that serve this store.", Ops: engine.Ops{engine.Read: s.haStatus}},
		{Pattern: "host-info", Help: "The machine that this node runs on.", Ops: engine.Ops{engine.Read: s.hostInfo}},
		{Pattern: "config/state/sanitized", Help: "The server's settings, without secrets.",
			Ops: engine.Ops{engine.Read: s.sanitized}},
	}
}

func (s *system) versionHistory(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	versions, err := s.b.Versions(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	info := map[string]any{}
	var previous any
	for _, v := range versions {
		names = append(names, v.Name)
		info[v.Name] = map[string]any{"previous_version": previous, "timestamp_installed": v.InstalledAt, "build_date": nil}
		previous = v.Name
	}
	return &engine.Response{Data: map[string]any{"keys": names, "key_info": info}}, nil
}

// haStatus shows the nodes that serve the store. Each of them is active.
func (s *system) haStatus(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	nodes, err := s.b.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	shown := make([]map[string]any, 0, len(nodes))
	for _, n := range nodes {
		var echo any // of this node there is none: it answers
		if !n.Self && !n.LastEcho.IsZero() {
			echo = n.LastEcho
		}
		shown = append(shown, map[string]any{
			"hostname": n.Hostname, "api_address": n.APIAddress, "cluster_address": n.ClusterAddress, "active_node": true,
			"last_echo": echo, "version": n.Version,
		})
	}
	return both(map[string]any{"nodes": shown}), nil
}

// hostname is the machine's name, or nothing where it has none.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

func (s *system) sanitized(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	return &engine.Response{Data: s.b.Sanitized()}, nil
}
