package wasm

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/manifest/secret"
	"github.com/postern/postern/host/wasm/internal/view"
)

// docs/plugin-abi.md §7, "Sealed". Whoever may send ciphertexts and hears, or
// measures, whether the padding of one was right can read any other
// (a padding oracle). So a decryption tells nothing but that it proved the
// callback, and what leads to "no" costs the same whatever the cause, but for
// the reading of at most 16 KiB of JSON; that is less than a rejection waits.

// seal is a decryption that has proved nothing yet: what each bound value made
// of it. A wrong key gives right padding one time in 256, so that the padding
// chooses none of them.
type seal struct {
	secret *boundSecret
	// size is the length of the ciphertext.
	size       int
	candidates []candidate
}

// candidate is what one value made of a ciphertext.
type candidate struct {
	text []byte
	// right is 1 if its padding is.
	right int
	// view is nil before it is parsed, and if it is no JSON.
	view *view.View
}

// cipher finds a bound secret that is a cipher.
func (g *guest) cipher(i int) (*boundSecret, bool) {
	s := g.plugin.secrets[g.text(i)]
	return s, s != nil && len(s.ciphers) > 0
}

func (g *guest) decrypt() {
	s, bound := g.cipher(0)
	iv := g.in(2)
	if !bound {
		g.give(denied)
		return
	}
	text, c := g.chunk(g.u32(4))
	held := len(text) * len(s.ciphers)
	switch {
	case c != ok:
		g.give(c)
		return
	case len(iv) != secret.BlockSize || len(text) == 0 || len(text)%secret.BlockSize != 0:
		g.give(malformed)
		return
	case g.opened >= maxOpened || len(text) > maxCiphertext || !g.room(held):
		g.give(overLimit)
		return
	}
	g.opened++
	g.spend(ciphered * held)
	sealed := &seal{secret: s, size: len(text), candidates: make([]candidate, len(s.ciphers))}
	for i, value := range s.ciphers {
		sealed.candidates[i].text, sealed.candidates[i].right = value.Open(iv, text)
	}
	g.give(g.keep(chunk{seal: sealed}, held))
}

// parseSealed parses every candidate, whatever its padding. What it counts as
// held is by the length alone: it must not tell what was read.
func (c *call) parseSealed(s *seal) code {
	if !c.hold(len(s.candidates) * view.MostJSON(s.size)) {
		return overLimit
	}
	c.spend(read * s.size * len(s.candidates))
	for i := range s.candidates {
		// A candidate that is no JSON stays without a view: same finds it unlike.
		s.candidates[i].view, _ = view.JSON(s.candidates[i].text)
	}
	return ok
}

// same compares digests of what the objects say: the time does not tell where
// they differ.
func (g *guest) same() {
	inner, except := g.u32(1), g.text(2)
	outer, c := g.viewed(g.u32(0))
	switch {
	case uint64(inner) >= uint64(len(g.views)):
		g.give(invalid)
		return
	case c != ok:
		g.give(c)
		return
	}
	of := g.views[inner].of
	if g.views[g.u32(0)].kind != viewJSON || g.chunks[of].seal == nil {
		g.give(invalid)
		return
	}
	if text, _ := outer.Text(nil); len(text) > maxCompared {
		g.give(overLimit)
		return
	}
	s := g.chunks[of].seal
	g.spend((read + hashed) * (outer.Size() + s.size*len(s.candidates)))
	want, members := outer.Digest(except)
	g.give(g.unseal(of, func(c *candidate) int {
		got := c.digest(except)
		// Equal to nothing proves nothing: of equal objects both have a member.
		return subtle.ConstantTimeCompare(got[:], want[:]) & flag(members > 0)
	}))
}

// digest is that of the candidate's object, and where it is none that of its
// text, which nothing is equal to: something as long is digested either way. It
// does not know the other object, whose length an attacker chooses.
func (c *candidate) digest(except string) [sha256.Size]byte {
	if c.view != nil {
		if sum, members := c.view.Digest(except); members > 0 {
			return sum
		}
	}
	return sha256.Sum256(c.text)
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (g *guest) sameBytes() {
	a, b := g.u32(0), g.u32(1)
	n := uint64(len(g.chunks))
	if uint64(a) >= n || uint64(b) >= n {
		g.give(invalid)
		return
	}
	if g.chunks[a].seal != nil {
		a, b = b, a
	}
	want, c := g.chunk(a)
	sealed := g.chunks[b].seal
	switch {
	case c != ok:
		g.give(c)
	case sealed == nil:
		g.give(invalid)
	default:
		// Equal to nothing proves nothing.
		said := flag(len(want) > 0)
		g.moves(sealed.size * len(sealed.candidates))
		g.give(g.unseal(b, func(c *candidate) int { return equal(c.text, want, sealed.size) & said }))
	}
}

// equal is 1 if the texts are equal. Its time depends on size alone, not on how
// much of the candidate was padding: it is at least as long as text.
func equal(text, want []byte, size int) int {
	a, b := make([]byte, size), make([]byte, size)
	copy(a, text)
	copy(b, want)
	return subtle.ConstantTimeCompare(a, b) & subtle.ConstantTimeEq(int32(len(text)), int32(len(want))) //nolint:gosec // lengths of a guest's memory
}

// unseal gives evidence if a candidate is right, in its padding too, and the
// handle is that candidate's text from then on. Every candidate is judged.
func (c *call) unseal(handle uint32, judge func(*candidate) int) code {
	s := c.chunks[handle].seal
	which := -1
	for i := range s.candidates {
		right := judge(&s.candidates[i]) & s.candidates[i].right
		if right == 1 && which < 0 {
			which = i
		}
	}
	if which < 0 {
		return unverified
	}
	proof := c.prove(host.Evidence{
		Secret: s.secret.decl.Name, Value: which,
		Algorithm: host.Algorithm(s.secret.use), Covers: host.CoversFields,
	})
	if proof < 0 {
		return proof
	}
	c.chunks[handle] = chunk{bytes: s.candidates[which].text}
	for i := range c.views {
		if c.views[i].of == handle {
			c.views[i].view = s.candidates[which].view
		}
	}
	return proof
}
