package host

import (
	"fmt"
	"regexp"
	"strings"
)

// Ref names a plugin: its current version, or the one that is meant. At most one of
// Version and Sum is set.
type Ref struct {
	Name string
	// Version is a semantic version, "1.2.0".
	Version string
	// Sum is the SHA-256 of the module, 64 lower-case hexadecimal digits.
	Sum string
}

var (
	refName    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	refVersion = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?$`)
	refSum     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// IsVersion reports whether text is a semantic version without build metadata, of
// at most 64 characters.
func IsVersion(text string) bool { return len(text) <= 64 && refVersion.MatchString(text) }

// ParseRef reads "ottu", "ottu@1.2.0" or "ottu@sha256:" and 64 hexadecimal digits.
// What it returns can stand in a file's name.
func ParseRef(text string) (Ref, error) {
	name, which, pinned := strings.Cut(text, "@")
	if strings.HasSuffix(name, ".wasm") {
		return Ref{}, fmt.Errorf("%q is a file: leave out .wasm", text)
	}
	if !refName.MatchString(name) {
		return Ref{}, fmt.Errorf("%q is not the form of a name: 1 to 63 of a-z, 0-9 and -, not beginning with -", name)
	}
	if !pinned {
		return Ref{Name: name}, nil
	}
	if sum, ok := strings.CutPrefix(which, "sha256:"); ok {
		if !refSum.MatchString(sum) {
			return Ref{}, fmt.Errorf("%q is no SHA-256: 64 lower-case hexadecimal digits", sum)
		}
		return Ref{Name: name, Sum: sum}, nil
	}
	if !IsVersion(which) {
		return Ref{}, fmt.Errorf("%q is neither a semantic version such as 1.2.3 nor sha256: and a digest", which)
	}
	return Ref{Name: name, Version: which}, nil
}

// String is what [ParseRef] reads.
func (r Ref) String() string {
	switch {
	case r.Sum != "":
		return r.Name + "@sha256:" + r.Sum
	case r.Version != "":
		return r.Name + "@" + r.Version
	}
	return r.Name
}

// Pinned reports whether one version is meant, and not whichever is current.
func (r Ref) Pinned() bool { return r.Version != "" || r.Sum != "" }
