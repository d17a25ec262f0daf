package shelf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/postern/postern/host"
)

func isName(text string) bool {
	ref, err := host.ParseRef(text)
	return err == nil && !ref.Pinned()
}

// maxHistory is how many versions are remembered to have been current.
const maxHistory = 16

func currentFile(name string) string { return path.Join(versionsDir, name+".current") }

// history are the installed version that is current, and those before it, newest
// first; none if nothing was installed.
func (s *Shelf) history(root *os.Root, name string) ([]place, error) {
	if !exists(root, versionsDir) || !exists(root, currentFile(name)) {
		return nil, nil
	}
	text, err := readFile(root, currentFile(name), maxSignature)
	var all []place
	for line := range strings.Lines(string(text)) {
		at, ok := placeOf(name + "@" + strings.TrimSuffix(line, "\n") + extension)
		if !ok || !strings.HasSuffix(line, "\n") {
			err = errors.New("it is damaged: remove it and install the plugin again")
		}
		all = append(all, at)
	}
	if err != nil {
		return nil, fmt.Errorf("read which %s is current, %s: %w", name, currentFile(name), err)
	}
	return all, nil
}

// setHistory writes it: from here on the first one is current.
func (s *Shelf) setHistory(root *os.Root, name string, all []place) error {
	if len(all) == 0 {
		return s.remove(root, currentFile(name))
	}
	var b bytes.Buffer
	for _, at := range all[:min(len(all), maxHistory)] {
		fmt.Fprintf(&b, "%s+%s\n", at.version, at.sum)
	}
	return s.put(root, currentFile(name), b.Bytes())
}

// Allow is what [Shelf.Install] does only if it is told to.
type Allow struct {
	// Downgrade makes a version current that is older than the one that is.
	Downgrade bool
}

// Switched is a plugin that was made current.
type Switched struct {
	*Plugin
	// Before was current until then; nil if nothing was. It has no Code if it was
	// installed.
	Before *Plugin
	s      *Shelf
	was    []place // the history before
	fresh  bool    // the version was not there before
}

// Install verifies a module and its signature, nil for none, puts it beside the
// versions that are there and makes it current. A file that was put there by hand
// becomes one of the versions. It blocks while another process changes the shelf.
func (s *Shelf) Install(code, signature []byte, allow Allow) (*Switched, error) {
	p, err := s.Verify(code, signature)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.o.Dir, 0o755); err != nil { //nolint:gosec // the modules are no secret
		return nil, fmt.Errorf("make the plugins' directory: %w", err)
	}
	root, unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	at := installed(p.Name, p.Version, p.Sum)
	in := &Switched{Plugin: p, s: s, fresh: !exists(root, at.file)}
	if in.Before, err = s.before(root, p, allow); err != nil {
		return nil, err
	}
	in.was, err = s.change(root, p.Name, func(history []place) ([]place, error) {
		return append([]place{at}, history...), s.putPlugin(root, p)
	})
	if err != nil {
		return nil, fmt.Errorf("install %s: %w", p, err)
	}
	p.Path = path.Join(s.o.Dir, at.file)
	return in, nil
}

// before is the version that is current, if the new one may take its place.
func (s *Shelf) before(root *os.Root, p *Plugin, allow Allow) (*Plugin, error) {
	all, err := versions(root)
	if err != nil {
		return nil, err
	}
	was, err := s.nowCurrent(root, p.Name)
	if err != nil {
		return nil, err
	}
	if was != nil {
		all = append(all, installed(was.Name, was.Version, was.Sum))
	}
	for _, at := range all {
		if at.name == p.Name && at.version == p.Version && at.sum != p.Sum {
			return nil, fmt.Errorf("there is a %s with other contents (sha256 %s): give this one another version in its manifest, or remove that one", p, at.sum)
		}
	}
	if was != nil && semver.Compare("v"+p.Version, "v"+was.Version) < 0 && !allow.Downgrade {
		return nil, fmt.Errorf("%s is older than %s, which is current: a downgrade must be allowed (--allow-downgrade)", p, was.Version)
	}
	return was, nil
}

// nowCurrent identifies the version that is current, whoever signed it; nil if there
// is none, or its file is gone.
func (s *Shelf) nowCurrent(root *os.Root, name string) (*Plugin, error) {
	at := dropped(name)
	if !exists(root, at.file) {
		history, err := s.history(root, name)
		if err != nil || len(history) == 0 {
			return nil, err
		}
		return &Plugin{Name: name, Version: history[0].version, Sum: history[0].sum}, nil
	}
	p, err := s.byHand(root, name)
	if err != nil {
		return nil, fmt.Errorf("%s was put there by hand and cannot be kept as a version, remove it first: %w", path.Join(s.o.Dir, at.file), err)
	}
	return p, nil
}

// byHand reads NAME.wasm, with its signature as it stands: whoever reads it verifies
// it.
func (s *Shelf) byHand(root *os.Root, name string) (*Plugin, error) {
	at := dropped(name)
	code, err := readFile(root, at.file, s.o.MaxSize)
	if err != nil {
		return nil, err
	}
	p, err := s.identify(code)
	if err == nil && p.Name != name {
		err = fmt.Errorf("its manifest says that it is %s", p.Name)
	}
	if err == nil && exists(root, at.file+sigExtension) {
		p.Signature, err = readFile(root, at.file+sigExtension, maxSignature)
	}
	return p, err
}

// change makes another version current: which, and what is needed for it, is
// next's. It returns the history before that.
func (s *Shelf) change(root *os.Root, name string, next func(history []place) ([]place, error)) (was []place, err error) {
	if err := s.sweep(root, name); err != nil {
		return nil, err
	}
	if !exists(root, versionsDir) {
		s.step("mkdir " + versionsDir)
		if err := errors.Join(root.Mkdir(versionsDir, 0o755), s.sync(root, ".")); err != nil {
			return nil, err
		}
	}
	if err := s.adopt(root, name); err != nil {
		return nil, err
	}
	if was, err = s.history(root, name); err != nil {
		return nil, err
	}
	history, err := next(was)
	if err != nil {
		return nil, err
	}
	return was, s.setHistory(root, name, distinct(history))
}

// adopt makes what was put there by hand one of the versions, the current one as
// before.
func (s *Shelf) adopt(root *os.Root, name string) error {
	at := dropped(name)
	if !exists(root, at.file) {
		return nil
	}
	history, err := s.history(root, name)
	if err != nil {
		return err
	}
	p, err := s.byHand(root, name)
	if err != nil {
		return err
	}
	if err := s.putPlugin(root, p); err != nil {
		return err
	}
	history = append([]place{installed(name, p.Version, p.Sum)}, history...)
	if err := s.setHistory(root, name, distinct(history)); err != nil {
		return err
	}
	// The module first: a signature alone is nothing.
	if err := s.remove(root, at.file); err != nil {
		return err
	}
	return s.remove(root, at.file+sigExtension)
}

// distinct keeps the first of equal ones.
func distinct(all []place) []place {
	var out []place
	for _, at := range all {
		if !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	return out
}

// putPlugin puts a version among the others. The signature first: without its
// module it is nothing.
func (s *Shelf) putPlugin(root *os.Root, p *Plugin) error {
	at := installed(p.Name, p.Version, p.Sum)
	if p.Signature != nil {
		if err := s.put(root, at.file+sigExtension, p.Signature); err != nil {
			return err
		}
	}
	if there, err := readFile(root, at.file, s.o.MaxSize); err == nil && bytes.Equal(there, p.Code) {
		return nil
	}
	return s.put(root, at.file, p.Code)
}

// sweep takes away what a crash left: files that are not whole, signatures without
// their modules.
func (s *Shelf) sweep(root *os.Root, name string) error {
	var stray []string
	if hand := dropped(name).file; !exists(root, hand) {
		stray = append(stray, hand+sigExtension)
	}
	if exists(root, versionsDir) {
		names, err := list(root, versionsDir)
		if err != nil {
			return err
		}
		for _, file := range names {
			module, signature := strings.CutSuffix(file, sigExtension)
			if strings.HasPrefix(file, newFile) || signature && !slices.Contains(names, module) {
				stray = append(stray, path.Join(versionsDir, file))
			}
		}
	}
	for _, file := range stray {
		if err := s.remove(root, file); err != nil {
			return err
		}
	}
	return nil
}

// Undo makes current again what was before, and takes away what was put there.
func (in *Switched) Undo() error {
	root, unlock, err := in.s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	history, err := in.s.history(root, in.Name)
	if err != nil {
		return err
	}
	at := installed(in.Name, in.Version, in.Sum)
	if len(history) == 0 || history[0] != at {
		return fmt.Errorf("take %s back: it is not current any more", in.Plugin)
	}
	if err := in.s.setHistory(root, in.Name, in.was); err != nil || !in.fresh {
		return err
	}
	return in.s.discard(root, at)
}

// discard takes a version away.
func (s *Shelf) discard(root *os.Root, at place) error {
	if err := s.remove(root, at.file); err != nil {
		return err
	}
	return s.remove(root, at.file+sigExtension)
}

// Rollback makes the version current that was before the current one, if it
// verifies.
func (s *Shelf) Rollback(name string) (*Switched, error) {
	root, unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	from, err := s.nowCurrent(root, name)
	if err != nil {
		return nil, err
	}
	if from == nil {
		return nil, s.missing(root, host.Ref{Name: name})
	}
	history, err := s.history(root, name)
	if err != nil {
		return nil, err
	}
	history = slices.DeleteFunc(history, func(at place) bool { return at.sum == from.Sum })
	if len(history) == 0 {
		return nil, fmt.Errorf("%s has no version before %s", name, from.Version)
	}
	to, err := s.take(root, history[0])
	if err != nil {
		return nil, fmt.Errorf("the version before %s cannot be used: %w", from, err)
	}
	in := &Switched{Plugin: to, Before: from, s: s}
	in.was, err = s.change(root, name, func([]place) ([]place, error) { return history, nil })
	if err != nil {
		return nil, fmt.Errorf("roll %s back: %w", name, err)
	}
	return in, nil
}

// Remove takes a version away, and the plugin with its last one. The current one is
// refused while there are others.
func (s *Shelf) Remove(ref host.Ref) (*Plugin, error) {
	root, unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.sweep(root, ref.Name); err != nil {
		return nil, err
	}
	history, err := s.history(root, ref.Name)
	if err != nil {
		return nil, err
	}
	at, current, others, err := s.removable(root, ref, history)
	if err != nil {
		return nil, err
	}
	p := &Plugin{Name: at.name, Version: at.version, Sum: at.sum}
	if at.version == "" {
		if whole, err := s.byHand(root, ref.Name); err == nil {
			p.Version, p.Sum = whole.Version, whole.Sum
		}
	}
	switch {
	case current && others > 0:
		return nil, fmt.Errorf("%s is current: roll back, or install another version, before it is removed", at.label())
	case current || slices.Contains(history, at):
		history = slices.DeleteFunc(history, func(h place) bool { return current || h == at })
		if err := s.setHistory(root, ref.Name, history); err != nil {
			return nil, err
		}
	}
	return p, s.discard(root, at)
}

// removable finds what ref names among all that there is of its name, whether that
// is current, and how many others there are.
func (s *Shelf) removable(root *os.Root, ref host.Ref, history []place) (at place, current bool, others int, err error) {
	var all, fit []place
	for _, at := range everything(root) {
		if at.name != ref.Name {
			continue
		}
		all = append(all, at)
		version, sum := at.version, at.sum
		if version == "" {
			if p, err := s.byHand(root, ref.Name); err == nil {
				version, sum = p.Version, p.Sum
			}
		}
		if !ref.Pinned() || version == ref.Version || sum == ref.Sum {
			fit = append(fit, at)
		}
	}
	switch {
	case len(fit) == 0:
		return at, false, 0, s.missing(root, ref)
	case len(fit) > 1:
		var labels []string
		for _, at := range fit {
			labels = append(labels, at.label())
		}
		return at, false, 0, fmt.Errorf("%s are several: name one, %s", ref, strings.Join(labels, ", "))
	}
	at = fit[0]
	hand := all[0].version == ""
	return at, at.version == "" || !hand && len(history) > 0 && history[0] == at, len(all) - 1, nil
}
