package webhook

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The forms of a secret in Standard Webhooks.
const (
	sharedPrefix  = "whsec_" // signs v1, HMAC-SHA256
	privatePrefix = "whsk_"  // signs v1a, Ed25519
	publicPrefix  = "whpk_"  // verifies v1a: the receiver's

	minShared = 24
	maxShared = 64
)

// signer makes one signature of a request.
type signer func(id string, at time.Time, body []byte) (string, error)

// parseSecrets returns a signer for each secret, and what of the secrets must
// be shown nowhere.
func parseSecrets(secrets []string) (signers []signer, hidden []string, err error) {
	if len(secrets) == 0 {
		return nil, nil, errors.New("secrets: at least one is needed; requests are signed with it")
	}
	var errs []error
	for i, s := range secrets {
		sign, key, err := parseSecret(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("secrets[%d]: %w", i, err))
			continue
		}
		signers = append(signers, sign)
		hidden = append(hidden, s, string(key))
	}
	return signers, hidden, errors.Join(errs...)
}

func parseSecret(s string) (signer, []byte, error) {
	if encoded, ok := strings.CutPrefix(s, privatePrefix); ok {
		return parsePrivate(encoded)
	}
	if strings.HasPrefix(s, publicPrefix) {
		return nil, nil, fmt.Errorf("is a public key, which is the receiver's; write the private one, %q and its base64", privatePrefix)
	}
	encoded, found := strings.CutPrefix(s, sharedPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !found || err != nil || len(key) < minShared || len(key) > maxShared {
		return nil, nil, fmt.Errorf("must be %q and the base64 of %d to %d random bytes, or %q and that of an Ed25519 key",
			sharedPrefix, minShared, maxShared, privatePrefix)
	}
	hook, err := standardwebhooks.NewWebhookRaw(key)
	if err != nil {
		return nil, nil, errors.New("cannot be used to sign")
	}
	return hook.Sign, key, nil
}

// parsePrivate takes an Ed25519 key as its seed alone, or with the public key
// behind it; the library signs v1 only.
func parsePrivate(encoded string) (signer, []byte, error) {
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) != ed25519.SeedSize && len(key) != ed25519.PrivateKeySize {
		return nil, nil, fmt.Errorf("must be %q and the base64 of an Ed25519 key: its seed of %d bytes, or %d with the public key",
			privatePrefix, ed25519.SeedSize, ed25519.PrivateKeySize)
	}
	private := ed25519.NewKeyFromSeed(key[:ed25519.SeedSize])
	if !bytes.Equal(private[:len(key)], key) {
		return nil, nil, errors.New("has a public key that is not its own; write the seed of 32 bytes alone")
	}
	return func(id string, at time.Time, body []byte) (string, error) {
		signed := append([]byte(id+"."+strconv.FormatInt(at.Unix(), 10)+"."), body...)
		return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(private, signed)), nil
	}, key, nil
}
