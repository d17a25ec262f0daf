package webhook

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// privateKey is the key of v1a in the tests, with its two forms.
func privateKey() (key ed25519.PrivateKey, seed, whole string) {
	key = ed25519.NewKeyFromSeed([]byte("canary seed of a test, 32 bytes."))
	return key, privatePrefix + base64.StdEncoding.EncodeToString(key.Seed()), privatePrefix + base64.StdEncoding.EncodeToString(key)
}

func TestSink_signsWithEverySecret(t *testing.T) {
	t.Parallel()
	key, seed, whole := privateKey()
	r, c := newReceiver(t)
	c.Secrets = []string{seed, secret(1), whole, secret(0)}
	var got http.Header
	r.set(func(_ http.ResponseWriter, req *http.Request) bool { got = req.Header; return true })
	if err := deliver(t, open(t, c)); err != nil {
		t.Fatal(err)
	}
	signatures := strings.Split(got.Get("webhook-signature"), " ")
	if len(signatures) != 4 {
		t.Fatalf("%d signatures, want one for each of 4 secrets", len(signatures))
	}
	signed := bytes.Join([][]byte{[]byte(got.Get("webhook-id")), []byte(got.Get("webhook-timestamp")), r.received(t)[0]}, []byte("."))
	for _, i := range []int{0, 2} {
		text, ok := strings.CutPrefix(signatures[i], "v1a,")
		signature, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || !ed25519.Verify(key.Public().(ed25519.PublicKey), signed, signature) {
			t.Errorf("signature %d is no v1a of the key", i)
		}
	}
	for i, known := range map[int]string{1: secret(1), 3: secret(0)} {
		alone := got.Clone()
		alone.Set("webhook-signature", signatures[i])
		verify, err := standardwebhooks.NewWebhook(known)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify.Verify(r.received(t)[0], alone); err != nil {
			t.Errorf("signature %d: %v", i, err)
		}
	}
}

func TestParseSecret_refuses(t *testing.T) {
	t.Parallel()
	key, seed, _ := privateKey()
	encode := base64.StdEncoding.EncodeToString
	foreign := bytes.Clone(key)
	foreign[63]++
	for name, tc := range map[string]struct{ secret, want string }{
		"public key":     {publicPrefix + encode(key.Public().(ed25519.PublicKey)), "is a public key"},
		"other's public": {privatePrefix + encode(foreign), "has a public key that is not its own"},
		"short":          {privatePrefix + encode(key[:31]), "32 bytes, or 64"},
		"long":           {privatePrefix + encode(append(bytes.Clone(key), 0)), "32 bytes, or 64"},
		"not base64":     {seed + "!", "32 bytes, or 64"},
		"other prefix":   {"whsk-" + encode(key), "must be \"whsec_\""},
	} {
		_, _, err := parseSecret(tc.secret)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error = %v, want %q", name, err, tc.want)
			continue
		}
		if strings.Contains(err.Error(), tc.secret[7:]) {
			t.Errorf("%s: the error text holds the secret", name)
		}
	}
}
