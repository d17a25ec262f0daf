package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/abi"
	"github.com/postern/postern/host/wasm/internal/codec"
	"github.com/postern/postern/host/wasm/internal/manifest"
	"github.com/postern/postern/host/wasm/internal/manifest/secret"
	"github.com/postern/postern/host/wasm/internal/token"
)

// docs/plugin-abi.md §8.

// Sign turns an unsigned callback into one that the plugin accepts, with the
// newest value of every secret: it is how `send` and `demo` make callbacks. It
// needs a [Binding] with Signing. The callback given is not changed.
func (p *Plugin) Sign(ctx context.Context, cb *host.Callback) (*host.Callback, error) {
	if !p.signing {
		return nil, errors.New("sign a callback: the plugin is not bound for signing")
	}
	out := *cb
	out.Headers = slices.Clone(cb.Headers)
	out.Body = bytes.Clone(cb.Body)
	spoken := make(map[string]string)
	if p.module.signs {
		if err := p.enter(ctx, cb, func(in *instance) error {
			in.guest.signs, in.guest.spoken = &out, spoken
			result, err := in.run(in.sign)
			if err == nil && result != 0 {
				err = fmt.Errorf("%s returned %d", abi.ExportSign, result)
			}
			return err
		}); err != nil {
			return nil, fmt.Errorf("sign a callback: %w", err)
		}
	}
	if err := token.Put(&out, p.Tokens(), spoken); err != nil {
		return nil, fmt.Errorf("sign a callback: %w", err)
	}
	return &out, nil
}

func (g *guest) sign() {
	s, known := g.signing()
	switch {
	case g.signs == nil:
		g.give(denied)
		return
	case !known || !s.said:
		g.give(invalid)
		return
	case s.short:
		g.give(overLimit)
		return
	}
	mac, err := codec.Encode(g.u32(1), s.secret.macs[0].Sum(nil, s.parts))
	if err != nil {
		g.give(invalid)
		return
	}
	g.give(g.out(2, mac))
}

func (g *guest) outHeader() {
	name, value := g.text(0), g.text(2)
	switch {
	case g.signs == nil:
		g.give(denied)
	case name == "" || !manifest.HeaderText(name) || !manifest.HeaderText(value):
		g.give(invalid)
	default:
		token.SetHeader(g.signs, name, value)
		g.give(ok)
	}
}

func (g *guest) outBody() {
	body := g.in(0)
	if g.signs == nil {
		g.give(denied)
		return
	}
	g.signs.Body = bytes.Clone(body)
	g.give(ok)
}

// encrypt is decrypt's inverse, for the signer: what it gives is not sealed.
func (g *guest) encrypt() {
	s, bound := g.cipher(0)
	iv := g.in(2)
	if g.signs == nil || !bound {
		g.give(denied)
		return
	}
	text, c := g.chunk(g.u32(4))
	switch {
	case c != ok:
		g.give(c)
	case len(iv) != secret.BlockSize:
		g.give(malformed)
	case !g.room(len(text) + secret.BlockSize):
		g.give(overLimit)
	default:
		sealed := s.ciphers[0].Seal(iv, text)
		g.give(g.keep(chunk{bytes: sealed}, len(sealed)))
	}
}

func (g *guest) outToken() {
	name, text := g.text(0), g.text(2)
	s := g.plugin.secrets[name]
	switch {
	case g.signs == nil || s == nil || s.use != secret.SignedToken:
		g.give(denied)
	case !host.IsTokenText(text):
		g.give(malformed)
	default:
		g.spoken[name] = text
		g.give(ok)
	}
}
