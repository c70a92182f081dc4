package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"leasehold/internal/errs"
	"leasehold/server/config"
)

// corsMethods may be asked for by a browser of another origin.
var corsMethods = []string{
	http.MethodDelete, http.MethodGet, http.MethodOptions, http.MethodPost, http.MethodPut, "LIST", http.MethodPatch,
}

// corsHeaders may always be sent by it.
var corsHeaders = []string{
	"Content-Type", "X-Requested-With", "Authorization", "X-Vault-Token", "X-Vault-Wrap-TTL", "X-Vault-Wrap-Format", "X-Vault-Request",
	"X-Vault-Namespace", "X-Vault-MFA", "X-Vault-Policy-Override", "X-Vault-No-Request-Forwarding", "X-Vault-Forward",
	"X-Vault-Inconsistent", "X-Vault-Index",
}

// cors is the setting in force: that of sys/config/cors, or else the listener's.
func (h *Handler) cors(ctx context.Context) (config.CORS, error) {
	set, err := h.broker.CORS(ctx)
	if err != nil || !set.Enabled {
		return h.listener.CORS, err
	}
	return config.CORS{
		Enabled: true, AllowedOrigins: set.AllowedOrigins, AllowedHeaders: set.AllowedHeaders, AllowCredentials: set.AllowCredentials,
	}, nil
}

// crossOrigin handles what browsers of other origins need. done means that the request is answered.
func (x *exchange) crossOrigin(ctx context.Context) (done bool, err error) {
	origin := x.r.Header.Get("Origin")
	preflight := x.r.Method == http.MethodOptions
	if origin == "" && !preflight {
		return false, nil
	}
	c, err := x.h.cors(ctx)
	if err != nil {
		return false, err
	}
	if !c.Enabled || origin == "" {
		if preflight {
			return false, errBadValue
		}
		return false, nil
	}
	header := x.w.Header()
	header.Add("Vary", "Origin")
	if !slices.Contains(c.AllowedOrigins, "*") && !slices.Contains(c.AllowedOrigins, origin) {
		return false, errs.New(errs.Denied, "origin not allowed")
	}
	header.Set("Access-Control-Allow-Origin", origin)
	if c.AllowCredentials {
		header.Set("Access-Control-Allow-Credentials", "true")
	}
	if !preflight {
		return false, nil
	}
	if !slices.Contains(corsMethods, x.r.Header.Get("Access-Control-Request-Method")) {
		x.empty(http.StatusMethodNotAllowed)
		return true, nil
	}
	header.Set("Access-Control-Allow-Methods", strings.Join(corsMethods, ", "))
	header.Set("Access-Control-Allow-Headers", strings.Join(append(slices.Clone(corsHeaders), c.AllowedHeaders...), ", "))
	header.Set("Access-Control-Max-Age", "300")
	x.empty(http.StatusOK)
	return true, nil
}
