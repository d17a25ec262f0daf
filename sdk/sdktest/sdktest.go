// Package sdktest runs a plugin's goldens natively, so that its author can
// step through the handler in a debugger. It is a stand-in of the host, written
// from docs/plugin-abi.md and docs/goldens.md and sharing no code with it: where
// the two differ, one of them is wrong.
//
// Plugins use it in one test:
//
//	func TestGoldens(t *testing.T) { sdktest.Run(t, ".") }
//
// "go test -update" writes what the plugin makes of each callback into the
// goldens' expect. Read the difference before you keep it.
package sdktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern/postern/sdk/internal/abi"
)

var update = flag.Bool("update", false, "write what the plugins do into the goldens' expect")

const (
	requestSuffix = ".http"
	goldenSuffix  = ".golden.json"
)

// golden is a case's circumstances and result; docs/goldens.md §1.
type golden struct {
	About      string                     `json:"about"`
	Received   time.Time                  `json:"received"`
	PublicURL  string                     `json:"public_url"`
	Secrets    map[string][]string        `json:"secrets"`
	Settings   map[string]json.RawMessage `json:"settings"`
	Unverified bool                       `json:"unverified"`
	Events     []json.RawMessage          `json:"events"`
	Expect     json.RawMessage            `json:"expect"`
}

// manifest is what sdktest needs of a plugin.json; pack checks the rest.
type manifest struct {
	Name     string    `json:"name"`
	Guard    bool      `json:"guard"`
	Secrets  []*secret `json:"secrets"`
	Settings struct {
		Properties map[string]struct {
			Default json.RawMessage `json:"default"`
			Enum    []any           `json:"enum"`
		} `json:"properties"`
	} `json:"settings"`
	Unverified map[string][]json.RawMessage `json:"unverified"`
}

// Run runs every golden of the plugin in dir, the one that the test's package
// has registered, and compares the results byte for byte. A plugin without
// goldens fails. It must not run in parallel with itself.
func Run(t *testing.T, dir string) {
	t.Helper()
	names := cases(t, dir)
	if len(names) == 0 {
		t.Fatalf("%s has no goldens", dir)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) { runCase(t, dir, name) })
	}
}

// Sign lets the plugin sign the request of a case with another body, and
// returns the whole request in the form of a golden's file. Static tokens stay
// as the request has them; a signed token is put in where the plugin said what
// it speaks for.
func Sign(t *testing.T, dir, name string, body []byte) []byte {
	t.Helper()
	c, err := load(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	h := c.host(t)
	h.signing = true
	h.req.body, h.chunks[0].bytes = body, body
	h.out = &request{method: h.req.method, target: h.req.target, headers: h.req.headers, body: body}
	abi.Use(h)
	if code := abi.SignExport(); code != 0 {
		t.Fatalf("postern_sign = %d", code)
	}
	if err := c.speak(h); err != nil {
		t.Fatal(err)
	}
	return h.out.text()
}

// speak puts the bound signed tokens into what the plugin signed.
func (c *testCase) speak(h *host) error {
	for _, s := range c.tokens {
		if s.Use != signedToken || len(s.keys) == 0 {
			continue
		}
		text, said := h.spoken[s.Name]
		if !said {
			return fmt.Errorf("the plugin did not say what the signed token %s speaks for", s.Name)
		}
		h.out.put(s, text+"."+s.tokenMAC(0, text))
	}
	return nil
}

func cases(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	var names, requests []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), goldenSuffix); ok {
			names = append(names, name)
		}
		if name, ok := strings.CutSuffix(e.Name(), requestSuffix); ok {
			requests = append(requests, name)
		}
	}
	for _, name := range requests {
		if !slices.Contains(names, name) {
			t.Errorf("testdata/%s%s has no %s beside it", name, requestSuffix, goldenSuffix)
		}
	}
	return names
}

func runCase(t *testing.T, dir, name string) {
	t.Helper()
	c, err := load(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	got := c.judge(t)
	if again := c.judge(t); !bytes.Equal(got, again) {
		t.Errorf("the plugin is not deterministic:\nfirst  %s\nsecond %s", got, again)
	}
	if *update {
		if err := c.rewrite(got); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := compact(string(c.golden.Expect))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("result differs\ngot  %s\nwant %s", got, want)
	}
}

// testCase is a golden as read, with the secrets it binds.
type testCase struct {
	file     string
	name     string // the plugin's
	isGuard  bool
	text     []byte // of the golden
	request  []byte
	golden   golden
	secrets  map[string]*secret
	tokens   []*secret // one for each place, the bound one where there is one
	settings map[string]string
}

func load(dir, name string) (*testCase, error) {
	c := &testCase{file: filepath.Join(dir, "testdata", name+goldenSuffix)}
	var m manifest
	text, err := os.ReadFile(filepath.Join(dir, "plugin.json")) //nolint:gosec // the test names its folder
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("plugin.json: %w", err)
	}
	if c.request, err = os.ReadFile(filepath.Join(dir, "testdata", name+requestSuffix)); err != nil { //nolint:gosec // the test names its folder
		return nil, err
	}
	if c.text, err = os.ReadFile(c.file); err != nil {
		return nil, err
	}
	if err := c.golden.read(c.text); err != nil {
		return nil, fmt.Errorf("%s: %w", c.file, err)
	}
	if err := c.bind(&m); err != nil {
		return nil, fmt.Errorf("%s: %w", c.file, err)
	}
	return c, nil
}

func (g *golden) read(text []byte) error {
	// The strict reader refuses duplicate names, which encoding/json takes.
	if !jsontext.Value(text).IsValid() {
		return errors.New("is not strict JSON")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(g); err != nil {
		return err
	}
	switch {
	case g.About == "":
		return errors.New("about is missing")
	case g.Received.IsZero():
		return errors.New("received is missing")
	case len(g.Expect) == 0 && !*update:
		return errors.New("expect is missing; -update writes it")
	}
	return nil
}

func (c *testCase) bind(m *manifest) error {
	c.name, c.isGuard = m.Name, m.Guard
	if !m.Guard && len(c.golden.Events) > 0 {
		return errors.New("events are a guard's, and the plugin is none")
	}
	if err := c.set(m); err != nil {
		return err
	}
	c.secrets = make(map[string]*secret)
	for _, s := range m.Secrets {
		values := c.golden.Secrets[s.Name]
		err := s.resolve(m, c.settings, len(values) > 0)
		if err == nil {
			err = s.bind(values)
		}
		if err == nil && len(values) == 0 && !s.Optional {
			err = errors.New("is required and not bound")
		}
		if err != nil {
			return fmt.Errorf("secrets.%s: %w", s.Name, err)
		}
		c.secrets[s.Name] = s
	}
	for name := range c.golden.Secrets {
		if c.secrets[name] == nil {
			return fmt.Errorf("secrets.%s is not in the manifest", name)
		}
	}
	return c.place(m.Secrets)
}

// set applies the manifest's defaults to the golden's settings.
func (c *testCase) set(m *manifest) error {
	defaults := make(map[string]json.RawMessage)
	for name, p := range m.Settings.Properties {
		if p.Default != nil {
			defaults[name] = p.Default
		}
	}
	for name := range c.golden.Settings {
		if _, ok := m.Settings.Properties[name]; !ok {
			return fmt.Errorf("settings.%s is not in the manifest", name)
		}
	}
	var err error
	if c.settings, err = settle(defaults, c.golden.Settings); err != nil {
		return err
	}
	for name, values := range m.Unverified {
		for _, raw := range values {
			one, err := settle(nil, map[string]json.RawMessage{name: raw})
			if err != nil {
				return err
			}
			if text, set := c.settings[name]; set && text == one[name] && !c.golden.Unverified {
				return fmt.Errorf("settings.%s %q takes events without evidence, and the golden is not unverified", name, text)
			}
		}
	}
	return nil
}

// place finds the token of each place: the bound one, or else the first.
func (c *testCase) place(secrets []*secret) error {
	at := make(map[string]int)
	c.tokens = nil
	for _, s := range secrets {
		if !s.isToken() {
			continue
		}
		i, taken := at[s.place()]
		switch {
		case !taken:
			at[s.place()] = len(c.tokens)
			c.tokens = append(c.tokens, s)
		case len(s.keys) > 0 && len(c.tokens[i].keys) > 0:
			return fmt.Errorf("secrets.%s and secrets.%s have one place, and both are bound", c.tokens[i].Name, s.Name)
		case len(s.keys) > 0:
			c.tokens[i] = s
		}
	}
	// An endpoint that binds no token of the path has no segment for one.
	c.tokens = slices.DeleteFunc(c.tokens, func(s *secret) bool { return s.In == "path" && len(s.keys) == 0 })
	return nil
}

// host makes the host of one run.
func (c *testCase) host(t *testing.T) *host {
	t.Helper()
	r, err := parseRequest(c.request)
	if err != nil {
		t.Fatal(err)
	}
	if r.public = c.golden.PublicURL; r.public == "" {
		r.public = "https://postern.test"
	}
	return &host{
		req: r, received: c.golden.Received, secrets: c.secrets, settings: c.settings,
		tokens: make(map[string]token), spoken: make(map[string]string), chunks: []chunk{{bytes: r.body}},
		log: func(line string) { t.Log("plugin:", line) },
	}
}

// judge runs the callback as docs/goldens.md §2 says and returns the result's
// canonical form.
func (c *testCase) judge(t *testing.T) []byte {
	t.Helper()
	h := c.host(t)
	if c.isGuard {
		g := c.guard(h)
		abi.Use(g)
		r, err := g.rule(abi.GuardExport())
		if err != nil {
			t.Fatal("the guard failed:", err)
		}
		return written(t, r)
	}
	right, before := true, h.req.target
	for _, s := range c.tokens {
		switch found, ok := h.req.take(s); {
		case ok:
			h.tokens[s.Name] = found
		case len(s.keys) > 0:
			right = false
		}
	}
	h.req.wipe(before)
	r := refused("a static token is missing or wrong")
	if right {
		abi.Use(h)
		var err error
		if r, err = h.finish(abi.HandleExport(), c.golden.Unverified); err != nil {
			t.Fatal("the plugin failed:", err)
		}
	}
	return written(t, r)
}

// written is the canonical form of a result or a ruling.
func written(t *testing.T, r any) []byte {
	t.Helper()
	text, err := canonical(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// rewrite puts expect into the golden's file and leaves every other byte.
func (c *testCase) rewrite(expect []byte) error {
	start, end, err := findExpect(c.text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.file, err)
	}
	var b bytes.Buffer
	b.Write(c.text[:start])
	if err := json.Indent(&b, expect, "  ", "  "); err != nil {
		return err
	}
	b.Write(c.text[end:])
	return os.WriteFile(c.file, b.Bytes(), 0o600)
}

// findExpect returns where the value of expect begins and ends.
func findExpect(text []byte) (start, end int64, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	if _, err := d.ReadToken(); err != nil {
		return 0, 0, err
	}
	for {
		name, err := d.ReadToken()
		if errors.Is(err, io.EOF) || name.Kind() == '}' {
			return 0, 0, errors.New(`add "expect": {} first`)
		}
		if err != nil {
			return 0, 0, err
		}
		member := name.String()
		v, err := d.ReadValue()
		if err != nil {
			return 0, 0, err
		}
		if end := d.InputOffset(); member == "expect" {
			return end - int64(len(v)), end, nil
		}
	}
}
