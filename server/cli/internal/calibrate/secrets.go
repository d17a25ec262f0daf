package calibrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/postern/postern/host/wasm"
)

// Misuse is a command line that was not understood.
type Misuse struct{ error }

func (m Misuse) Unwrap() error { return m.error }

// Sources are where secrets are read from.
type Sources struct {
	Getenv func(name string) (value string, set bool)
	Stdin  io.Reader
}

// Secrets reads what flags name, each NAME=env:NAME, NAME=file:/path or NAME=-,
// for the standard input: one or more of those of the manifest, which must have
// something to calibrate. No error has what stands behind a name: it may be the
// secret itself.
func (s Sources) Secrets(m *wasm.Manifest, flags []string) (map[string][]string, error) {
	if len(m.Calibrate) == 0 {
		return nil, fmt.Errorf("the plugin %s has nothing to find out: its manifest names no settings for it", m.Name)
	}
	var known []string
	for i := range m.Secrets {
		known = append(known, m.Secrets[i].Name)
	}
	if len(flags) == 0 {
		return nil, Misuse{fmt.Errorf("give the secret: --secret NAME=env:NAME, the first NAME one of %s", strings.Join(known, ", "))}
	}
	all := make(map[string][]string)
	for _, flag := range flags {
		name, from, _ := strings.Cut(flag, "=")
		if !slices.Contains(known, name) {
			return nil, Misuse{fmt.Errorf("--secret names none of the plugin's secrets; it has: %s", strings.Join(known, ", "))}
		}
		value, err := s.Read(from)
		if err == nil && strings.TrimSpace(value) == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return nil, fmt.Errorf("read the secret %s: %w", name, err)
		}
		all[name] = append(all[name], value)
	}
	return all, nil
}

// maxSecret bounds what is read of a secret: who names the wrong file is told.
const maxSecret = 64 << 10

// Read reads one secret: env:NAME, file:/path, or - for the standard input. One line
// end is cut off. No error has what from says: it may be the secret itself.
func (s Sources) Read(from string) (string, error) {
	in := s.Stdin
	switch kind, rest, _ := strings.Cut(from, ":"); {
	case from == "-":
	case kind == "env":
		value, set := s.Getenv(rest)
		if !set {
			return "", errors.New("the variable is not set")
		}
		return value, nil
	case kind == "file":
		f, err := os.Open(rest) //nolint:gosec // the operator names the file
		if err != nil {
			return "", fmt.Errorf("the file cannot be opened: %w", causeOf(err))
		}
		defer func() { _ = f.Close() }()
		in = f
	default:
		return "", Misuse{errors.New("write env:NAME, file:/path or -; a secret in a command line is seen by others")}
	}
	text, err := io.ReadAll(io.LimitReader(in, maxSecret+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("it cannot be read: %w", causeOf(err))
	case len(text) > maxSecret:
		return "", fmt.Errorf("it is larger than %d bytes", maxSecret)
	}
	return string(bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))), nil
}

// causeOf is why a file cannot be used, without its path.
func causeOf(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
