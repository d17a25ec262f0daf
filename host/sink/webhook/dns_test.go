package webhook

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// zone is a name server on the loopback interface.
type zone struct {
	addr string

	mu sync.Mutex
	// answers has for each name what the first, the second and every further
	// question for one type of address is answered with.
	answers map[string][][]netip.Addr
	asked   map[string]int
}

func newZone(t *testing.T) *zone {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	z := &zone{addr: c.LocalAddr().String(), answers: map[string][][]netip.Addr{}, asked: map[string]int{}}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(z.answer(buf[:n]), from)
		}
	}()
	return z
}

// set makes name known, as one that was never asked for.
func (z *zone) set(name string, rounds ...[]netip.Addr) {
	z.mu.Lock()
	defer z.mu.Unlock()
	name = strings.ToLower(name)
	z.answers[name] = rounds
	for _, kind := range []uint16{typeA, typeAAAA} {
		delete(z.asked, question(name, kind))
	}
}

func question(name string, kind uint16) string { return fmt.Sprint(name, "/", kind) }

// resolver asks this server and no other.
func (z *zone) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", z.addr)
	}}
}

const (
	typeA, typeCNAME, typeAAAA = 1, 5, 28
	headLen                    = 12
	alias                      = "\x05alias\x04test\x00"
)

// answer is RFC 1035: the question again, and behind it an alias with its
// addresses.
func (z *zone) answer(query []byte) []byte {
	var labels []string
	at := headLen
	for at < len(query) && query[at] != 0 {
		n := int(query[at])
		labels = append(labels, string(query[at+1:at+1+n]))
		at += 1 + n
	}
	at++
	kind := binary.BigEndian.Uint16(query[at:])
	name := strings.ToLower(strings.Join(labels, "."))
	out := append([]byte(nil), query[:at+4]...)
	for i := 6; i < headLen; i++ {
		out[i] = 0
	}
	out[2], out[3] = 0x85, 0x80 // an answer, with authority

	z.mu.Lock()
	defer z.mu.Unlock()
	rounds, known := z.answers[name]
	if !known {
		out[3] |= 3 // no such name
		return out
	}
	key := question(name, kind)
	addrs := rounds[min(z.asked[key], len(rounds)-1)]
	z.asked[key]++
	out = append(record(out, "\xc0\x0c", typeCNAME), 0, byte(len(alias)))
	out = append(out, alias...)
	n := byte(1)
	for _, a := range addrs {
		if a.Is4() != (kind == typeA) || kind != typeA && kind != typeAAAA {
			continue
		}
		out = append(record(out, alias, kind), 0, byte(len(a.AsSlice())))
		out = append(out, a.AsSlice()...)
		n++
	}
	out[7] = n
	return out
}

// record begins one of class IN that lives for no time.
func record(out []byte, name string, kind uint16) []byte {
	out = append(out, name...)
	out = binary.BigEndian.AppendUint16(out, kind)
	return append(out, 0, 1, 0, 0, 0, 0)
}
