package httpapi

import (
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
func (h *Handler) cors() config.CORS {
	if set := h.broker.CORS(); set.Enabled {
		return config.CORS{
			Enabled: true, AllowedOrigins: set.AllowedOrigins, AllowedHeaders: set.AllowedHeaders, AllowCredentials: set.AllowCredentials,
		}
	}
	return h.listener.CORS
}

// crossOrigin handles what browsers of other origins need. done means that the request is answered.
func (x *exchange) crossOrigin() (done bool, err error) {
	origin := x.r.Header.Get("Origin")
	preflight := x.r.Method == http.MethodOptions
	if origin == "" && !preflight {
		return false, nil
	}
	c := x.h.cors()
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
