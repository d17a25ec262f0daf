package config

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/postern/postern/host"
)

func checkSink(ps *problems, at string, s *Sink) {
	ps.choice(at+".type", s.Type, TypeFile, TypeNATS, TypePostgres, TypeStdout, TypeWebhook)
	checkPositive(ps, at+".concurrency", s.Concurrency, "nothing would be delivered")
	checkPositive(ps, at+".batch", s.Batch, "nothing would be delivered")
	checkDuration(ps, at+".timeout", s.Timeout, "lets one delivery that hangs hold the sink for ever")
	ps.choice(at+".order", string(s.Order), string(host.OrderNone), string(host.OrderSubject))
	checkBackoff(ps, at+".retry", &s.Retry)
	checkRate(ps, at+".rate", &s.Rate)
	checkBreaker(ps, at+".breaker", &s.Breaker)
	ps.choice(at+".from", string(s.From), string(host.FromNow), string(host.FromOldest))
	checkGlobs(ps, at+".filter.tenants", s.Filter.Tenants)
	checkGlobs(ps, at+".filter.providers", s.Filter.Providers)
	checkGlobs(ps, at+".filter.types", s.Filter.Types)
	checkGlobs(ps, at+".filter.verified_by", s.Filter.VerifiedBy)
	if s.File != nil && s.File.Path == "" {
		ps.add(at+".path", "is missing", "name the file, for example ./data/events.ndjson")
	}
	if s.File != nil {
		checkRotation(ps, at+".rotate", &s.File.Rotate)
	}
	if s.NATS != nil {
		checkNATS(ps, at, s.NATS)
	}
	if s.Postgres != nil {
		checkPostgres(ps, at, s.Postgres)
	}
	if s.Webhook != nil {
		checkWebhook(ps, at, s.Webhook)
	}
}

func checkBackoff(ps *problems, at string, b *Backoff) {
	checkDuration(ps, at+".base", b.Base, "tries again without a pause")
	if b.Max < b.Base {
		ps.add(at+".max", fmt.Sprintf("%s is less than retry.base, %s", b.Max, b.Base), "set it to at least that")
	}
	if b.Over < b.Base {
		ps.add(at+".over", fmt.Sprintf("%s is less than retry.base, %s: nothing would be tried twice", b.Over, b.Base),
			"set it longer than an outage of the other side, for example 7d")
	}
}

func checkBreaker(ps *problems, at string, b *Breaker) {
	if b.Failures < 0 {
		ps.add(at+".failures", fmt.Sprintf("%d is negative", b.Failures), "0 means no breaker")
	}
	checkDuration(ps, at+".open_for", b.OpenFor, "leaves a sink that fails no time; for no breaker set failures to 0")
}

func checkGlobs(ps *problems, at string, globs []string) {
	for i, g := range globs {
		p := at + "." + strconv.Itoa(i)
		if g == "" {
			ps.add(p, "is empty and matches nothing", "write *, or leave the list empty for everything")
		}
		if _, err := path.Match(g, ""); err != nil {
			ps.add(p, fmt.Sprintf("%q is no pattern", g), `write * for any text and ? for one character, like payment.*; close every [ or put \ before it`)
		}
	}
}

func checkWebhook(ps *problems, at string, w *WebhookSink) {
	if w.URL == "" {
		ps.add(at+".url", "is missing", "write it like https://ledger.example.com/events")
	} else {
		checkURL(ps, at+".url", w.URL)
	}
	if len(w.Secrets) == 0 && !ps.below(at+".secrets") {
		ps.add(at+".secrets", "is missing: requests could not be signed", secretFix)
	}
	ps.choice(at+".format", w.Format, Structured, Binary, DataOnly)
	checkClientTLS(ps, at+".tls", &w.TLS, !strings.HasPrefix(strings.ToLower(w.URL), "http:"))
	for i, s := range w.Secrets {
		p := at + ".secrets"
		if len(w.Secrets) > 1 {
			p += "." + strconv.Itoa(i)
		}
		checkSigning(ps, p, s.Reveal())
	}
}

// checkRotation notes what says one thing and means another.
func checkRotation(ps *problems, at string, r *Rotation) {
	const never = "0 means never"
	if r.Size < 0 {
		ps.add(at+".size", fmt.Sprintf("%d is negative", int64(r.Size)), never)
	}
	if r.Age < 0 {
		ps.add(at+".age", fmt.Sprintf("%s is negative", r.Age), never)
	}
	switch {
	case r.Keep < 0:
		ps.add(at+".keep", fmt.Sprintf("%d is negative", r.Keep), "0 means all")
	case r.Keep > 0 && r.Size == 0 && r.Age == 0 && !ps.below(at):
		ps.add(at+".keep", "is set, and nothing is ever rotated", "set size or age beside it, or leave it out")
	}
}

// checkClientTLS notes what is missing beside the rest; https is whether the URL
// is.
func checkClientTLS(ps *problems, at string, t *ClientTLS, https bool) {
	switch {
	case t.Cert != "" && t.Key == "":
		ps.add(at+".key", "is missing beside "+at+".cert", "name the file of the certificate's private key")
	case t.Cert == "" && t.Key != "":
		ps.add(at+".cert", "is missing beside "+at+".key", "name the file of the certificate")
	case *t != ClientTLS{} && !https:
		ps.add(at, "is set, and the url is not https: nobody would show a certificate", "begin the url with https://, or leave out tls")
	}
}

const (
	secretFix  = `make one with: echo "whsec_$(openssl rand -base64 32)"`
	privateFix = "write whsk_ and the base64 of the private key's 32 bytes; the example shows how to make one"
)

// checkSigning notes what Standard Webhooks takes for no signing secret.
func checkSigning(ps *problems, at, secret string) {
	if encoded, ok := strings.CutPrefix(secret, "whsk_"); ok {
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(key) != ed25519.SeedSize && len(key) != ed25519.PrivateKeySize {
			ps.add(at, "is no Ed25519 key after whsk_", privateFix)
		}
		return
	}
	if strings.HasPrefix(secret, "whpk_") {
		ps.add(at, "is a public key, which is the receiver's", privateFix)
		return
	}
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		ps.add(at, "does not begin with whsec_ or whsk_", secretFix)
		return
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		ps.add(at, "is not base64 after whsec_", secretFix)
		return
	}
	if len(key) < 24 || len(key) > 64 {
		ps.add(at, fmt.Sprintf("has %d bytes, not 24 to 64", len(key)), secretFix)
	}
}

// checkFiles notes two sinks that would write over each other.
func checkFiles(ps *problems, sinks map[string]Sink) {
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(sinks)) {
		s := sinks[name]
		if s.File == nil || s.File.Path == "" {
			continue
		}
		p := filepath.Clean(s.File.Path)
		if first, taken := owner[p]; taken {
			ps.add("sinks."+name+".path", fmt.Sprintf("%q is also the file of sinks.%s", s.File.Path, first), "give each its own")
			continue
		}
		owner[p] = name
	}
}
