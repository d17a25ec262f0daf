package webhook

import (
	"fmt"
	"net/netip"
	"syscall"
)

// addressError is the refusal to connect to an address.
type addressError struct{ addr string }

func (e *addressError) Error() string {
	return fmt.Sprintf("address %s is not public; set allow_private to let requests go there", e.addr)
}

// denied are the special-purpose networks of the IANA registries, with two
// that are not in them: 168.63.129.16, where a large cloud answers its own
// machines, and all of IPv6 outside 2000::/3, see public. The predicates of
// net/netip know only some of these.
var denied = prefixes(
	"0.0.0.0/8",         // this network
	"10.0.0.0/8",        // private
	"100.64.0.0/10",     // shared address space, carrier-grade NAT
	"127.0.0.0/8",       // loopback
	"168.63.129.16/32",  // a cloud's own services
	"169.254.0.0/16",    // link-local, metadata services
	"172.16.0.0/12",     // private
	"192.0.0.0/24",      // protocol assignments
	"192.0.2.0/24",      // documentation
	"192.31.196.0/24",   // AS112
	"192.52.193.0/24",   // AMT
	"192.88.99.0/24",    // 6to4 relays
	"192.168.0.0/16",    // private
	"192.175.48.0/24",   // AS112
	"198.18.0.0/15",     // benchmarks
	"198.51.100.0/24",   // documentation
	"203.0.113.0/24",    // documentation
	"224.0.0.0/4",       // multicast
	"240.0.0.0/4",       // reserved, broadcast
	"2001::/23",         // protocol assignments: Teredo, ORCHID, benchmarks
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4: any IPv4 address in disguise
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation
)

// unicast is all of IPv6 that is given out for public use. What lies outside
// is refused as a whole: loopback, mapped and compatible IPv4, NAT64
// (64:ff9b::/96, which reaches private IPv4), unique local, link-local, site
// local, multicast.
var unicast = netip.MustParsePrefix("2000::/3")

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

// public reports whether addr may be connected to. One with a zone never is:
// no prefix contains it.
func public(addr netip.Addr) bool {
	addr = addr.Unmap()
	if !addr.IsValid() || addr.Is6() && !unicast.Contains(addr) {
		return false
	}
	for _, p := range denied {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// refusePrivate is a [net.Dialer]'s Control: it sees the address about to be
// connected to, after DNS.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		// IPv4 with a zone, of which an IPv6 spelling makes one.
		return &addressError{addr: address}
	}
	if !public(ap.Addr()) {
		return &addressError{addr: ap.Addr().String()}
	}
	return nil
}
