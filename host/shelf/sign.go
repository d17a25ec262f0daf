package shelf

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"aead.dev/minisign"
)

// label begins the trusted comment of the signatures that [Sign] makes: behind it
// stand what was signed, "ottu@1.2.0", and perhaps "expires" and a time. The
// signature of another program has another comment, which says nothing to us.
const label = "postern"

const expires = "expires"

// verify judges a plugin's signature, and notes it.
func (s *Shelf) verify(p *Plugin, text []byte) error {
	p.Signature = text
	if text == nil {
		if s.o.RequireSignature {
			file := p.Name + extension
			if p.Path != "" {
				file = filepath.Base(p.Path)
			}
			return fmt.Errorf("it is not signed, and plugins.require_signature is set: sign it with a key of plugins.keys, and put its signature beside it as %s%s",
				file, sigExtension)
		}
		return nil
	}
	var sig minisign.Signature
	if err := sig.UnmarshalText(text); err != nil {
		return errors.New("its signature is no minisign signature: sign it again")
	}
	if len(s.keys) == 0 {
		return nil
	}
	var key *minisign.PublicKey
	for i := range s.keys {
		if s.keys[i].ID() == sig.KeyID {
			key = &s.keys[i]
		}
	}
	if key == nil {
		return fmt.Errorf("it is signed with the key %016X, which is none of plugins.keys: sign it with one of them, or trust that one", sig.KeyID)
	}
	if !minisign.Verify(*key, p.Code, text) {
		return errors.New("its signature does not fit: the module or the signature was changed, or is another one's; get both again from whoever signed")
	}
	p.Signer = fmt.Sprintf("%016X", sig.KeyID)
	return s.bound(p, sig.TrustedComment)
}

// bound compares what was signed as, and until when.
func (s *Shelf) bound(p *Plugin, comment string) error {
	of, ok := strings.CutPrefix(comment, label+" ")
	if !ok {
		return nil
	}
	what, until, limited := strings.Cut(of, " "+expires+" ")
	if what != p.String() {
		return fmt.Errorf("its signature was made for %q, and it is %s: sign it again", what, p)
	}
	if !limited {
		return nil
	}
	var err error
	if p.Expires, err = time.Parse(time.RFC3339, until); err != nil {
		return fmt.Errorf("its signature expires at %q, which is no time: sign it again", until)
	}
	if now := s.o.Now(); !now.Before(p.Expires) {
		return fmt.Errorf("its signature expired on %s: sign it again", p.Expires.Format(time.DateOnly))
	}
	return nil
}

// Sign signs a plugin with a minisign secret key, for ever or until a time; the
// result is the text of a .minisig file. The password is that of the key, empty for
// one that has none.
func Sign(secret []byte, password string, p *Plugin, until time.Time) ([]byte, error) {
	key, err := readKey(secret, password)
	if err != nil {
		return nil, err
	}
	comment := label + " " + p.String()
	if !until.IsZero() {
		comment += " " + expires + " " + until.UTC().Format(time.RFC3339)
	}
	// Read first: what is signed then is the hash, as minisign itself does.
	r := minisign.NewReader(bytes.NewReader(p.Code))
	if _, err := bytes.NewBuffer(nil).ReadFrom(r); err != nil {
		return nil, err
	}
	return r.SignWithComments(key, comment, fmt.Sprintf("signature of %s by %016X", p, key.ID())), nil
}

func readKey(text []byte, password string) (minisign.PrivateKey, error) {
	var key minisign.PrivateKey
	if !minisign.IsEncrypted(text) {
		if err := key.UnmarshalText(text); err != nil {
			return key, errors.New("read the key: it is no minisign secret key")
		}
		return key, nil
	}
	key, err := minisign.DecryptKey(password, text)
	if err != nil {
		return key, errors.New("open the key: the password is wrong, or the file is damaged")
	}
	return key, nil
}

// HasPassword reports whether a secret key is encrypted.
func HasPassword(secret []byte) bool { return minisign.IsEncrypted(secret) }

// NewKey makes a minisign key pair: the text of the secret key, encrypted unless the
// password is empty, and the line that plugins.keys takes. It takes a second and a
// GiB of memory, as whoever guesses at the password will need.
func NewKey(password string) (secret []byte, public string, err error) {
	return newKey(password, minisign.EncryptKey)
}

func newKey(password string, encrypt func(string, minisign.PrivateKey) ([]byte, error)) (secret []byte, public string, err error) {
	pub, key, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	if password == "" {
		secret, err = key.MarshalText()
	} else {
		secret, err = encrypt(password, key)
	}
	return append(secret, '\n'), pub.String(), err
}

// SignerOf is the id of the key that a signature says it is by, which nobody has
// verified; empty for what is no signature.
func SignerOf(signature []byte) string {
	var sig minisign.Signature
	if sig.UnmarshalText(signature) != nil {
		return ""
	}
	return fmt.Sprintf("%016X", sig.KeyID)
}
