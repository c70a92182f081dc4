package config

import (
	"strings"
	"time"
)

// Sanitized is the configuration as clients may see it: no secrets, and no paths of keys.
//
// Wire: GET /v1/sys/config/state/sanitized.
func (c *Config) Sanitized() map[string]any {
	listeners := make([]any, 0, len(c.Listeners))
	for _, l := range c.Listeners {
		listeners = append(listeners, map[string]any{
			"type": l.Network, "config": map[string]any{"address": l.Address, "tls_disable": l.TLS == nil},
		})
	}
	level := strings.ToLower(c.LogLevel.String())
	if c.LogLevel == LevelTrace {
		level = "trace"
	}
	return map[string]any{
		"api_addr": c.URL(), "cluster_addr": c.ClusterAddr, "cluster_name": c.ClusterName,
		"default_lease_ttl": int64(c.DefaultLeaseTTL / time.Second), "max_lease_ttl": int64(c.MaxLeaseTTL / time.Second),
		"default_max_request_duration": int64(c.MaxRequestDuration / time.Second),
		"disable_mlock":                !c.LockMemory, "pid_file": c.PIDFile, "plugin_directory": c.PluginDirectory,
		"log_level": level, "log_format": c.LogFormat,
		"listeners": listeners, "storage": map[string]any{"type": c.Storage.Type},
		"seal": map[string]any{"type": c.Seal.Type},
	}
}
