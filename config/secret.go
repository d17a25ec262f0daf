package config

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"strings"
)

// Secret is a value that nobody may see. Whatever prints it prints "***"; only
// [Secret.Reveal] gives the value. The zero Secret is empty; Load yields one only
// where a key says that it may be left out.
type Secret struct {
	// text is behind a pointer because fmt calls no methods on the unexported
	// fields of other types, but prints no more than a pointer's address there.
	text *string
	// plain says that the value itself was written in the configuration file.
	plain bool
}

const mask = "***"

// NewSecret makes a secret of text, for tests and generated configurations.
func NewSecret(text string) Secret { return Secret{text: &text} }

// Reveal is the value. The caller keeps it out of logs, errors and events.
//
// Invariant 8: this is the only way to it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Equal compares two values in constant time.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String is "***".
func (Secret) String() string { return mask }

// GoString is "***".
func (Secret) GoString() string { return mask }

// Format prints "***" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask) }

// MarshalText is "***".
func (Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

// MarshalJSON is "***".
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }

// MarshalYAML is "***".
func (Secret) MarshalYAML() (any, error) { return mask, nil }

// LogValue is "***".
func (Secret) LogValue() slog.Value { return slog.StringValue(mask) }

// maxSecret bounds the file of a secret: whoever names a disk by mistake is told
// so at once.
const maxSecret = 64 << 10

var (
	// scheme is what looks like one of ours, misspelt or from another tool; a
	// value that is taken for its own address verifies nothing.
	scheme   = regexp.MustCompile(`^[a-z][a-z0-9+.]*:`)
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// expansion is what other tools replace and Postern does not.
	expansion = regexp.MustCompile(`^\$(\{.*\}|\(.*\)|[A-Za-z_][A-Za-z0-9_]*)$`)
)

// resolve reads the secret that raw stands for: env:NAME, file:/path,
// value:text, or the text itself. The error names what was looked for, never
// what was found.
func resolve(raw string, lookup func(string) (string, bool)) (Secret, error) {
	text, plain, err := fetch(raw, lookup)
	if err != nil {
		return Secret{}, err
	}
	if strings.TrimSpace(text) == "" {
		return Secret{}, errors.New("is empty")
	}
	return Secret{text: &text, plain: plain}, nil
}

// unsetError is the name of an environment variable that is not there.
type unsetError string

func (e unsetError) Error() string {
	return fmt.Sprintf("environment variable %q is not set", string(e))
}

func fetch(raw string, lookup func(string) (string, bool)) (text string, plain bool, err error) {
	if name, ok := strings.CutPrefix(raw, "env:"); ok {
		if !variable.MatchString(name) {
			// Not named: it may be the secret itself, put in the wrong place.
			return "", false, errors.New("names no environment variable behind env")
		}
		if text, ok = lookup(name); !ok {
			return "", false, unsetError(name)
		}
		return text, false, nil
	}
	if path, ok := strings.CutPrefix(raw, "file:"); ok {
		text, err = readSecret(path)
		return text, false, err
	}
	if text, ok := strings.CutPrefix(raw, "value:"); ok {
		return text, true, nil
	}
	if scheme.MatchString(raw) {
		return "", false, errors.New("begins with a scheme that is none of env, file and value")
	}
	if expansion.MatchString(raw) {
		return "", false, errors.New("looks like a variable; nothing is expanded here")
	}
	return raw, true, nil
}

func readSecret(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		// Only the cause: the path stands in the text once.
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return "", fmt.Errorf("file %q cannot be read: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("file %q cannot be read", path)
	}
	if len(b) > maxSecret {
		return "", fmt.Errorf("file %q is larger than a secret can be", path)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}
