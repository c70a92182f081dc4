package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/urfave/cli/v2"

	"leasehold/client"
)

// exitSealed is how status tells a sealed server from an error, which is 1 there.
const exitSealed = 2

func (e *env) status() *cli.Command {
	return e.command(leaf{
		name: "status", usage: "Show whether the server is unsealed: exit code 0 unsealed, 1 error, 2 sealed",
		run: func(ctx context.Context, _ []string) error { return status(ctx, e) },
	})
}

func status(ctx context.Context, e *env) error {
	resp, err := e.call(ctx, http.MethodGet, "sys/seal-status", nil)
	if err == nil {
		err = e.showSealStatus(ctx, resp)
	}
	if err != nil {
		err = failed(err, "Error checking seal status")
		var f *failure
		if errors.As(err, &f) && f.code == exitRefused {
			f.code = exitMistake
		}
		return err
	}
	var answer sealStatus
	if err := resp.Decode(&answer); err != nil {
		return err
	}
	if answer.Sealed {
		return &failure{code: exitSealed}
	}
	return nil
}

// sealStatus is what people are shown of a server's state.
type sealStatus struct {
	Type             string `json:"type"`
	Initialized      bool   `json:"initialized"`
	Sealed           bool   `json:"sealed"`
	Threshold        int    `json:"t"`
	Shares           int    `json:"n"`
	Progress         int    `json:"progress"`
	Nonce            string `json:"nonce"`
	Version          string `json:"version"`
	BuildDate        string `json:"build_date"`
	Migration        bool   `json:"migration"`
	RecoverySeal     bool   `json:"recovery_seal"`
	RecoverySealType string `json:"recovery_seal_type"`
	StorageType      string `json:"storage_type"`
	ClusterName      string `json:"cluster_name"`
	ClusterID        string `json:"cluster_id"`
}

// leader is what status adds for people and programs: whether other nodes stand by.
type leader struct {
	HAEnabled      bool   `json:"ha_enabled"`
	IsSelf         bool   `json:"is_self"`
	ActiveTime     string `json:"active_time"`
	LeaderAddress  string `json:"leader_address"`
	ClusterAddress string `json:"leader_cluster_address"`
}

// showSealStatus prints a seal status answer. The question for the leader is left out where it cannot be answered.
func (e *env) showSealStatus(ctx context.Context, resp *client.Response) error {
	var s sealStatus
	if err := resp.Decode(&s); err != nil {
		return failed(err, "Error reading seal status")
	}
	var object map[string]any
	if err := resp.Decode(&object); err != nil {
		return failed(err, "Error reading seal status")
	}
	var l leader
	if !s.Sealed {
		answer, err := e.call(ctx, http.MethodGet, "sys/leader", nil)
		if err == nil && answer.Decode(&l) == nil {
			var more map[string]any
			if answer.Decode(&more) == nil {
				for key, value := range more {
					object[key] = value
				}
			}
		}
	}
	return e.show(view{rows: sealRows(s, l), object: object})
}

func sealRows(s sealStatus, l leader) [][]string {
	rows := keyValues()
	line := func(key string, value any) { rows = append(rows, []string{key, fmt.Sprint(value)}) }
	prefix := ""
	if s.RecoverySeal {
		prefix = "Recovery "
		line("Seal Type", s.Type)
		if s.RecoverySealType != "" {
			line("Recovery Seal Type", s.RecoverySealType)
		}
	} else {
		line("Seal Type", s.Type)
	}
	line("Initialized", s.Initialized)
	line("Sealed", s.Sealed)
	line("Total "+prefix+"Shares", s.Shares)
	line("Threshold", s.Threshold)
	if s.Sealed && s.Initialized {
		line("Unseal Progress", fmt.Sprintf("%d/%d", s.Progress, s.Threshold))
		line("Unseal Nonce", s.Nonce)
	}
	if s.Migration {
		line("Seal Migration in Progress", s.Migration)
	}
	line("Version", s.Version)
	if s.BuildDate != "" {
		line("Build Date", s.BuildDate)
	}
	line("Storage Type", orNA(s.StorageType))
	if s.ClusterName != "" {
		line("Cluster Name", s.ClusterName)
		line("Cluster ID", s.ClusterID)
	}
	line("HA Enabled", l.HAEnabled)
	if l.HAEnabled {
		line("HA Cluster", orNA(l.ClusterAddress))
		line("HA Mode", haMode(s, l))
		if l.IsSelf {
			line("Active Since", orNA(l.ActiveTime))
		} else {
			line("Active Node Address", orNA(l.LeaderAddress))
		}
	}
	return rows
}

func haMode(s sealStatus, l leader) string {
	switch {
	case s.Sealed:
		return "sealed"
	case l.IsSelf:
		return "active"
	}
	return "standby"
}
