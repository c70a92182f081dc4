package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"leasehold/internal/errs"
	"leasehold/server/config"
)

// forwarded replaces the request's address by the one that X-Forwarded-For names, where the sender may say so.
func forwarded(r *http.Request, c config.ForwardedFor) error {
	if c.Authorized == nil {
		return nil
	}
	given := r.Header["X-Forwarded-For"]
	if len(given) == 0 {
		if c.RejectAbsent {
			return errs.New(errs.Invalid, "missing x-forwarded-for header and configured to reject when not present")
		}
		return nil
	}
	sender, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !contains(c.Authorized, sender.Addr().Unmap()) {
		if c.RejectNotAuthorized {
			return errs.New(errs.Invalid, "client address not authorized for x-forwarded-for and configured to reject connection")
		}
		r.Header.Del("X-Forwarded-For")
		return nil
	}
	hops := strings.Split(strings.Join(given, ","), ",")
	at := int64(len(hops)) - 1 - c.HopSkips
	if at < 0 {
		return errs.New(errs.Invalid, "x-forwarded-for header has fewer addresses than are to be skipped")
	}
	hop := strings.TrimSpace(hops[at])
	client, err := netip.ParseAddr(strings.Trim(hop, "[]"))
	if err != nil {
		if withPort, err := netip.ParseAddrPort(hop); err == nil {
			client = withPort.Addr()
		} else {
			return errs.New(errs.Invalid, "x-forwarded-for header does not hold an address")
		}
	}
	_, port, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		port = "0"
	}
	r.RemoteAddr = net.JoinHostPort(client.String(), port)
	return nil
}

func contains(networks []netip.Prefix, address netip.Addr) bool {
	for _, network := range networks {
		if network.Contains(address) {
			return true
		}
	}
	return false
}
