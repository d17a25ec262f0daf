package wasm

import (
	"crypto/hmac"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/codec"
)

// docs/plugin-abi.md §7. Only these functions make evidence, and each has seen
// the host do the comparison.

// prove records evidence and returns its handle.
func (c *call) prove(e host.Evidence) code {
	if len(c.res.Evidence) >= maxHandles {
		return overLimit
	}
	if c.res.Evidence == nil {
		c.res.Evidence = c.firsts().evidence[:0]
	}
	c.res.Evidence = append(c.res.Evidence, e)
	return count(len(c.res.Evidence) - 1)
}

func (g *guest) token() {
	name := g.in(0)
	for _, e := range g.cb.Tokens {
		if e.Secret == string(name) {
			g.give(g.prove(e))
			return
		}
	}
	g.give(denied)
}

// tokenText is what a signed token speaks for. It was compared, or the plugin
// would not run.
func (g *guest) tokenText() {
	text, bound := g.cb.TokenTexts[string(g.in(0))]
	if !bound {
		g.give(denied)
		return
	}
	g.give(g.out(2, []byte(text)))
}

// mac finds a bound secret that makes MACs.
func (g *guest) mac(i int) (*boundSecret, bool) {
	s := g.plugin.secrets[string(g.in(i))]
	return s, s != nil && len(s.macs) > 0
}

func (g *guest) signedBegin() {
	secret, bound := g.mac(0)
	switch {
	case !bound:
		g.give(denied)
	case len(g.signed) >= maxHandles:
		g.give(overLimit)
	default:
		g.signed = append(g.signed, signing{secret: secret, parts: g.parts})
		g.parts = nil
		g.give(count(len(g.signed) - 1))
	}
}

// signing finds what the handle in argument 0 stands for.
func (g *guest) signing() (*signing, bool) {
	handle := g.u32(0)
	if uint64(handle) >= uint64(len(g.signed)) {
		return nil, false
	}
	return &g.signed[handle], true
}

func (g *guest) signedBytes() {
	s, known := g.signing()
	if !known {
		g.give(invalid)
		return
	}
	b := g.in(1)
	s.said = true
	if !g.hold(len(b)) {
		s.short = true
		g.give(overLimit)
		return
	}
	s.append(b)
	g.give(ok)
}

// signedBody takes the body once: no provider signs it twice, and a handle must
// not grow without end by what is not counted.
func (g *guest) signedBody() {
	s, known := g.signing()
	if !known || s.body {
		g.give(invalid)
		return
	}
	s.parts, s.owned, s.body, s.said = append(s.parts, g.cb.Body), false, true, true
	g.give(ok)
}

// signedCheck compares in constant time with the MAC of every bound value, so
// that neither the time nor the code tells how near a guess was.
func (g *guest) signedCheck() {
	s, known := g.signing()
	if !known || !s.said {
		g.give(invalid)
		return
	}
	if s.checks++; s.checks > maxChecks+1 || s.short {
		g.give(overLimit)
		return
	}
	signature, c := decode(g.digests[:0:maxDigest], g.u32(3), g.in(1))
	if c == invalid {
		g.give(invalid)
		return
	}
	which := -1
	for _, part := range s.parts {
		g.spend(hashed * len(part) * len(s.secret.macs))
	}
	for i, key := range s.secret.macs {
		if hmac.Equal(key.Sum(g.digests[maxDigest:maxDigest], s.parts), signature) && which < 0 {
			which = i
		}
	}
	if which < 0 || c != ok {
		g.give(unverified)
		return
	}
	covers := host.CoversFields
	if s.body {
		covers = host.CoversBody
	}
	g.give(g.prove(host.Evidence{
		Secret: s.secret.decl.Name, Value: which,
		Algorithm: host.Algorithm(s.secret.use), Covers: covers,
	}))
}

func (g *guest) coversBody() {
	handle, algorithm := g.u32(0), g.u32(1)
	// A token covers nothing and no digest stood in it.
	if uint64(handle) >= uint64(len(g.res.Evidence)) || g.res.Evidence[handle].Covers == host.CoversNone {
		g.give(invalid)
		return
	}
	g.spend(hashed * len(g.cb.Body))
	sum, served := codec.Digest(algorithm, g.cb.Body)
	said, c := decode(nil, g.u32(4), g.in(2))
	switch {
	case !served || c == invalid:
		g.give(invalid)
	case c != ok || !hmac.Equal(sum, said):
		g.give(unverified)
	default:
		// Another body with the same CRC-32 is easily made: it proves nothing.
		if algorithm != codec.CRC32 {
			g.res.Evidence[handle].Covers = host.CoversBody
		}
		g.give(ok)
	}
}
