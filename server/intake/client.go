package intake

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// client is the address that a request came from: that of the connection, or,
// where that is a trusted proxy's, the rightmost in X-Forwarded-For that is not
// one. Further left anybody may have written what they like. The zero Addr, if
// it cannot be told.
func (s *Server) client(a net.Addr, raw []byte) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	peer := tcp.AddrPort().Addr().Unmap()
	if !s.trusted(peer) {
		return peer
	}
	for _, field := range slices.Backward(forwarded(raw)) {
		for _, entry := range slices.Backward(strings.Split(field, ",")) {
			addr, ok := address(strings.Trim(entry, " \t"))
			if !ok {
				return netip.Addr{}
			}
			if !s.trusted(addr) {
				return addr
			}
		}
	}
	return netip.Addr{}
}

// trusted says that an address is a trusted proxy's.
func (s *Server) trusted(addr netip.Addr) bool {
	return slices.ContainsFunc(s.o.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// forwarded are the values of the X-Forwarded-For fields of a head, in order.
func forwarded(raw []byte) []string {
	var out []string
	for !atEnd(raw) {
		name, value, rest, ok := field(raw)
		if !ok {
			break
		}
		if strings.EqualFold(string(name), "X-Forwarded-For") {
			out = append(out, string(value))
		}
		raw = rest
	}
	return out
}

// address reads an entry of X-Forwarded-For: an address, perhaps with a port,
// which some proxies add, or in brackets. One with a zone names no machine but
// ours.
func address(entry string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(entry)
	if with, isPort := netip.ParseAddrPort(entry); isPort == nil {
		addr, err = with.Addr(), nil
	}
	if in, ok := strings.CutPrefix(entry, "["); ok && err != nil {
		if in, ok = strings.CutSuffix(in, "]"); ok {
			addr, err = netip.ParseAddr(in)
			ok = addr.Is6()
		}
		if !ok {
			return netip.Addr{}, false
		}
	}
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}
