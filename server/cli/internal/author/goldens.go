package author

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
)

// The names of a golden's two files, and of what a module carries of them.
const (
	requestSuffix = ".http"
	goldenSuffix  = ".golden.json"
	section       = "postern.goldens"
)

// golden is one case as its files are, and as a module carries it;
// docs/goldens.md §4.
type golden struct {
	Name string `json:"name"`
	HTTP []byte `json:"http"`
	// Text is NAME.golden.json.
	Text json.RawMessage `json:"golden"`
	// fresh says that the file is not there yet.
	fresh bool
}

var caseName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// readGoldens reads the cases of a plugin's folder, sorted by name. A request
// without a golden is one too, and has no text yet.
func readGoldens(dir string) ([]*golden, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "testdata"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []*golden
	for _, e := range entries {
		name, isRequest := strings.CutSuffix(e.Name(), requestSuffix)
		alone, isGolden := strings.CutSuffix(e.Name(), goldenSuffix)
		file := filepath.Join(dir, "testdata", e.Name())
		switch {
		case isGolden:
			if !slices.ContainsFunc(entries, func(o fs.DirEntry) bool { return o.Name() == alone+requestSuffix }) {
				return nil, fmt.Errorf("%s has no %s%s beside it: the callback that it speaks of", file, alone, requestSuffix)
			}
			continue
		case !isRequest:
			continue
		case !caseName.MatchString(name):
			return nil, fmt.Errorf("%s: a case's name is of a-z, 0-9 and -", file)
		}
		g := &golden{Name: name}
		if g.HTTP, err = os.ReadFile(file); err != nil { //nolint:gosec // the author names the folder
			return nil, err
		}
		g.Text, err = os.ReadFile(filepath.Join(dir, "testdata", name+goldenSuffix)) //nolint:gosec // the author names the folder
		if g.fresh = errors.Is(err, fs.ErrNotExist); err != nil && !g.fresh {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

// write puts one of the golden's files back.
func (g *golden) write(dir, suffix string, text []byte) error {
	return put(filepath.Join(dir, "testdata", g.Name+suffix), text)
}

// invent makes the circumstances of a case without any: those of another one
// that has secrets, and received now.
func (g *golden) invent(others []*golden, now time.Time) error {
	var like struct {
		About    string          `json:"about"`
		Received time.Time       `json:"received"`
		Secrets  json.RawMessage `json:"secrets,omitempty"`
		Settings json.RawMessage `json:"settings,omitempty"`
		Expect   struct{}        `json:"expect"`
	}
	for _, o := range others {
		if !o.fresh && json.Unmarshal(o.Text, &like) == nil && like.Secrets != nil {
			break
		}
	}
	like.About, like.Received = "say what "+g.Name+" shows", now.UTC().Truncate(time.Second)
	text, err := json.MarshalIndent(like, "", "  ")
	g.Text = append(text, '\n')
	return err
}

// parse reads the case as the host reads it from a module.
func (g *golden) parse(tmp string) (*wasm.Golden, error) {
	file := filepath.Join(tmp, "golden.wasm")
	module, err := carry([]byte("\x00asm\x01\x00\x00\x00"), []*golden{g})
	if err == nil {
		err = os.WriteFile(file, module, 0o600)
	}
	if err != nil {
		return nil, err
	}
	parsed, err := wasm.ReadGoldens(file)
	switch {
	case err != nil:
		return nil, errors.New(strings.TrimPrefix(err.Error(), "plugin "+file+": goldens: "))
	case parsed[0].About == "":
		return nil, errors.New("about is missing: say what the case is for")
	case parsed[0].Received.IsZero():
		return nil, errors.New("received is missing: the time of receipt, which is the plugin's clock")
	}
	return &parsed[0], nil
}

// expecting is the golden with another result, every other byte as it was.
func (g *golden) expecting(result []byte) (json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(g.Text))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		if name != "expect" {
			continue
		}
		var b bytes.Buffer
		end := int(d.InputOffset())
		b.Write(g.Text[:end-len(value)])
		if err := json.Indent(&b, result, "  ", "  "); err != nil {
			return nil, err
		}
		b.Write(g.Text[end:])
		return b.Bytes(), nil
	}
	return nil, errors.New(`expect is missing: write "expect": {}`)
}

// carry puts goldens into a module that has none.
func carry(module []byte, goldens []*golden) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(goldens); err != nil {
		return nil, err
	}
	body := binary.AppendUvarint(nil, uint64(len(section)))
	body = append(append(body, section...), b.Bytes()...)
	module = binary.AppendUvarint(append(slices.Clone(module), 0), uint64(len(body)))
	return append(module, body...), nil
}

// split takes the goldens out of a packed module.
func split(module []byte) (bare []byte, goldens []*golden, err error) {
	const head = 8
	if len(module) < head {
		return nil, nil, errors.New("it is no WebAssembly module")
	}
	bare = slices.Clone(module[:head])
	for rest := module[head:]; len(rest) > 0; {
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest[1+n:])) {
			return nil, nil, errors.New("it is no WebAssembly module, or cut off")
		}
		whole := rest[:1+n+int(size)] //nolint:gosec // within rest
		rest = rest[len(whole):]
		contents, isGoldens := bytes.CutPrefix(whole[1+n:], append([]byte{byte(len(section))}, section...))
		if whole[0] != 0 || !isGoldens {
			bare = append(bare, whole...)
		} else if err := json.Unmarshal(contents, &goldens); err != nil {
			return nil, nil, fmt.Errorf("its goldens: %w", err)
		}
	}
	return bare, goldens, nil
}

// written is a callback in the form of a golden's request.
func written(cb *host.Callback) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\n", cb.Method, cb.Target)
	for _, h := range cb.Headers {
		fmt.Fprintf(&b, "%s: %s\n", h.Name, h.Value)
	}
	b.WriteByte('\n')
	b.Write(cb.Body)
	return b.Bytes()
}
