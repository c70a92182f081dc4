package auth

import (
	"net/netip"
	"strings"

	"leasehold/internal/errs"
)

// ParseCIDRs checks a list of addresses and prefixes, and writes a prefix of one address as the bare address.
//
// Errors: Invalid.
func ParseCIDRs(list []string) ([]string, error) {
	var out []string
	for _, text := range list {
		text = strings.TrimSpace(text)
		prefix, err := parsePrefix(text)
		if err != nil {
			return nil, errs.New(errs.Invalid, "%q is neither an IP address nor a CIDR block", text)
		}
		if prefix.IsSingleIP() {
			out = append(out, prefix.Addr().String())
		} else {
			out = append(out, prefix.String())
		}
	}
	return out, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return addr.Prefix(addr.BitLen())
}

// within reports whether the client's address is in one of the blocks. An address that cannot be read, such as that of
// a socket file, is in none.
func within(blocks []string, remote string) bool {
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	for _, block := range blocks {
		if prefix, err := parsePrefix(block); err == nil && prefix.Contains(addr) {
			return true
		}
	}
	return false
}
