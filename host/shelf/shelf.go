package shelf

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aead.dev/minisign"

	"github.com/postern/postern/host"
)

// Options of a [Shelf]. Dir and Inspect are required.
type Options struct {
	// Dir is the directory. It may be a link, for the operator names it; nothing in
	// it may.
	Dir string
	// Keys are the minisign public keys whose signatures count, each the line that
	// begins with RW. Without any no signature is judged.
	Keys []string
	// RequireSignature refuses what none of Keys has signed.
	RequireSignature bool
	// MaxSize bounds a module, in bytes; zero means 32 MiB.
	MaxSize int64
	// Inspect checks a module's bytes without running it, and says which plugin and
	// version it is. It is called concurrently.
	Inspect func(code []byte) (name, version string, err error)
	// Now is when signatures must not have expired; nil means time.Now.
	Now func() time.Time
}

// Shelf is the plugins' directory. Make one with [Open]. It holds nothing open, and
// is safe for concurrent use, with other processes as well: those that change
// something wait for each other.
type Shelf struct {
	o    Options
	keys []minisign.PublicKey
	// step is called before each change on the disk, with what it is; for tests.
	step func(what string)
}

// Plugin is one version of a plugin.
type Plugin struct {
	Name, Version string
	// Sum is the SHA-256 of Code in hexadecimal digits.
	Sum string
	// Path is the file that Code was read from, once; empty for one that is in no
	// file of the shelf.
	Path string
	// Code is the module, the bytes that were verified.
	Code []byte
	// Signature is the text beside it; nil if there is none.
	Signature []byte
	// Signer is the id of the trusted key that signed it, empty for none; Expires
	// is when that ends, zero for never.
	Signer  string
	Expires time.Time
}

// Ref names exactly this plugin.
func (p *Plugin) Ref() host.Ref { return host.Ref{Name: p.Name, Sum: p.Sum} }

// String is "ottu@1.2.0".
func (p *Plugin) String() string { return p.Name + "@" + p.Version }

// Open checks the options. It touches no file.
func Open(o Options) (*Shelf, error) {
	o.MaxSize = cmp.Or(o.MaxSize, 32<<20)
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Shelf{o: o, step: func(string) {}}
	for i, text := range o.Keys {
		var key minisign.PublicKey
		if err := key.UnmarshalText([]byte(strings.TrimSpace(text))); err != nil {
			return nil, fmt.Errorf("plugins.keys.%d: no minisign public key; write the line that begins with RW", i)
		}
		s.keys = append(s.keys, key)
	}
	if o.RequireSignature && len(s.keys) == 0 {
		return nil, errors.New("plugins.require_signature: no key is trusted; name one in plugins.keys")
	}
	return s, nil
}

// MissingError is the error for a plugin or a version that is not on the shelf.
type MissingError struct {
	Ref host.Ref
	Dir string
	// There are those that are: of the name, else the names.
	There []string
}

func (e *MissingError) Error() string {
	text := fmt.Sprintf("there is no plugin %q in %s; ", e.Ref, e.Dir)
	if len(e.There) == 0 {
		return text + "it has none"
	}
	return text + "there are: " + strings.Join(e.There, ", ")
}

// place is a file that a plugin is in, and what is known of it by its name.
type place struct {
	file               string
	name, version, sum string
}

const (
	extension    = ".wasm"
	sigExtension = ".minisig"
	versionsDir  = "versions"
)

func dropped(name string) place { return place{file: name + extension, name: name} }

func installed(name, version, sum string) place {
	return place{path.Join(versionsDir, name+"@"+version+"+"+sum+extension), name, version, sum}
}

// Is reports that target is [fs.ErrNotExist].
func (*MissingError) Is(target error) bool { return target == fs.ErrNotExist }

// placeOf reads the name of a file in versions.
func placeOf(file string) (place, bool) {
	stem, ok := strings.CutSuffix(file, extension)
	named, sum, summed := strings.Cut(stem, "+")
	ref, err := host.ParseRef(named)
	pin, sumErr := host.ParseRef(ref.Name + "@sha256:" + sum)
	if !ok || !summed || err != nil || sumErr != nil || ref.Version == "" {
		return place{}, false
	}
	return installed(ref.Name, ref.Version, pin.Sum), true
}

// Read finds the version that ref names and verifies it: its size, what Inspect
// says, its name, version and SHA-256, its signature. A bare name is NAME.wasm if
// that is there, else the installed version that is current. The error is a
// [*MissingError] if there is none, else it names the file and the reason.
func (s *Shelf) Read(ref host.Ref) (*Plugin, error) {
	root, err := s.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingError{Ref: ref, Dir: s.o.Dir}
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	for range 3 {
		at, err := s.find(root, ref)
		if err != nil {
			return nil, err
		}
		p, err := s.take(root, at)
		if errors.Is(err, fs.ErrNotExist) {
			continue // taken away since, by one who installs
		}
		if err == nil && (ref.Version != "" && p.Version != ref.Version || ref.Sum != "" && p.Sum != ref.Sum) {
			return nil, s.missing(root, ref)
		}
		return p, err
	}
	return nil, s.missing(root, ref)
}

// find says where the version is that ref names. One that was put there by hand is
// known only once it is read.
func (s *Shelf) find(root *os.Root, ref host.Ref) (place, error) {
	if !ref.Pinned() {
		at, err := s.current(root, ref.Name)
		if err == nil && at == nil {
			err = s.missing(root, ref)
		}
		if err != nil {
			return place{}, err
		}
		return *at, nil
	}
	var fit []place
	all, err := versions(root)
	if err != nil {
		return place{}, err
	}
	for _, at := range all {
		if at.name == ref.Name && (at.version == ref.Version || at.sum == ref.Sum) {
			fit = append(fit, at)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		return place{}, fmt.Errorf("%d modules in %s are called %s; name one by its sha256: %s and %s", len(fit), s.o.Dir, ref, fit[0].sum, fit[1].sum)
	}
	if !exists(root, dropped(ref.Name).file) {
		return place{}, s.missing(root, ref)
	}
	return dropped(ref.Name), nil
}

// current is the version that a bare name means; nil if there is none.
func (s *Shelf) current(root *os.Root, name string) (*place, error) {
	if at := dropped(name); exists(root, at.file) {
		return &at, nil
	}
	history, err := s.history(root, name)
	if err != nil || len(history) == 0 {
		return nil, err
	}
	if !exists(root, history[0].file) {
		return nil, fmt.Errorf("%s is current, and its file %s is gone; install it again, or go back to the version before it",
			history[0].label(), filepath.Join(s.o.Dir, history[0].file))
	}
	return &history[0], nil
}

// label is "ottu@1.2.0", or the file's name where no version is known.
func (at place) label() string {
	if at.version == "" {
		return at.file
	}
	return at.name + "@" + at.version
}

// missing says what is there instead.
func (s *Shelf) missing(root *os.Root, ref host.Ref) error {
	e := &MissingError{Ref: ref, Dir: s.o.Dir}
	var names []string
	for _, at := range everything(root) {
		names = append(names, at.name)
		if at.name != ref.Name {
			continue
		}
		if at.version == "" {
			if p, err := s.take(root, at); err == nil {
				at.version, at.sum = p.Version, p.Sum
			}
		}
		label := at.label()
		if ref.Sum != "" && at.sum != "" {
			label += " (sha256:" + at.sum + ")"
		}
		e.There = append(e.There, label)
	}
	if len(e.There) == 0 {
		slices.Sort(names)
		e.There = slices.Compact(names)
	}
	return e
}

// take reads the plugin at a place and verifies it.
func (s *Shelf) take(root *os.Root, at place) (*Plugin, error) {
	file := filepath.Join(s.o.Dir, at.file)
	wrap := func(err error) error { return fmt.Errorf("%s: %w", file, err) }
	// The signature first: whoever takes both away begins with the module.
	signature, err := readFile(root, at.file+sigExtension, maxSignature)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, wrap(fmt.Errorf("its signature %s: %w", path.Base(at.file)+sigExtension, err))
	}
	code, err := readFile(root, at.file, s.o.MaxSize)
	if err != nil {
		return nil, wrap(err)
	}
	p, err := s.identify(code)
	switch {
	case err != nil:
	case p.Name != at.name:
		err = fmt.Errorf("its manifest says that it is %s, and the file that it is %s: call it %s%s", p.Name, at.name, p.Name, extension)
	case at.version != "" && p.Version != at.version:
		err = fmt.Errorf("its manifest says that it is version %s, and the file that it is %s: it was renamed, install it again", p.Version, at.version)
	case at.sum != "" && p.Sum != at.sum:
		err = fmt.Errorf("its SHA-256 is %s, and it was installed with %s: it was damaged or changed, install it again", p.Sum, at.sum)
	default:
		p.Path = file
		err = s.verify(p, signature)
	}
	if err != nil {
		return nil, wrap(err)
	}
	return p, nil
}

// identify says what code is, in whatever file.
func (s *Shelf) identify(code []byte) (*Plugin, error) {
	name, version, err := s.o.Inspect(code)
	if err != nil {
		return nil, err
	}
	if ref, err := host.ParseRef(name + "@" + version); err != nil || ref.Version == "" {
		return nil, fmt.Errorf("its manifest has no name and version: %q %q", name, version)
	}
	sum := sha256.Sum256(code)
	return &Plugin{Name: name, Version: version, Sum: hex.EncodeToString(sum[:]), Code: code}, nil
}

// Verify checks a module and its signature, nil for none, wherever they come from,
// as Read does, and says what it is.
func (s *Shelf) Verify(code, signature []byte) (*Plugin, error) {
	p, err := s.identify(code)
	if err != nil {
		return nil, err
	}
	return p, s.verify(p, signature)
}

// Take reads a module and the signature beside it, nil if there is none, from
// outside of the shelf. It verifies nothing.
func (s *Shelf) Take(file string) (code, signature []byte, err error) {
	if code, err = readAny(file, s.o.MaxSize); err != nil {
		return nil, nil, err
	}
	signature, err = readAny(file+sigExtension, maxSignature)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return code, signature, err
}
