package author

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server/cli/internal/outgoing"
)

// What became of a golden.
const (
	Passed  = "ok"
	Failed  = "failed"
	Updated = "updated" // what came out was written into it
	Made    = "new"     // it was written for a request that had none
)

// Report is what a plugin made of its goldens.
type Report struct {
	Plugin  string    `json:"plugin"`
	Version string    `json:"version"`
	Goldens []Outcome `json:"goldens"`
	// Failed is how many of them failed.
	Failed int `json:"failed"`
}

// Outcome is what became of one golden.
type Outcome struct {
	Name  string `json:"name"`
	About string `json:"about"`
	// Became is Passed, Failed, Updated or Made.
	Became string `json:"result"`
	// Signed says that its request was signed anew.
	Signed bool `json:"signed,omitempty"`
	// Verdict is what the plugin said, with the reason of a rejection.
	Verdict string `json:"verdict,omitempty"`
	// Fuel is what judging it burnt, and Memory the size of the plugin's linear
	// memory at its end, in bytes.
	Fuel   int64 `json:"fuel,omitempty"`
	Memory int64 `json:"memory,omitempty"`
	// Error is why there was nothing to compare.
	Error       string       `json:"error,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
	// Log has the plugin's own lines.
	Log []string `json:"log,omitempty"`

	golden *golden
	parsed *wasm.Golden
	got    []byte
}

// Trial runs the goldens of a plugin through the sandbox.
type Trial struct {
	// Target is a plugin's folder or a packed module.
	Target string
	// Update has what came out written into the goldens, and a golden made for
	// each request that has none. Sign names cases whose requests are signed first.
	// Both need a folder.
	Update bool
	Sign   []string
	Tools  Toolchain
	// Now is when a golden that is made was received.
	Now time.Time

	tmp  string
	bare []byte
	log  bytes.Buffer
}

// Run compiles a folder, and judges each golden twice: as in a first call, and
// as in serve, where the module has proved itself in compiler and interpreter and
// every call begins with what a few goldens left. An error means that nothing
// was judged. It blocks for some seconds.
func (t *Trial) Run(ctx context.Context) (report *Report, err error) {
	if t.tmp, err = os.MkdirTemp("", "postern-test-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(t.tmp)) }()
	goldens, err := t.read(ctx)
	if err != nil {
		return nil, err
	}
	rt, err := wasm.New(ctx, wasm.Options{Instances: 1, Log: slog.New(slog.NewTextHandler(&t.log, &slog.HandlerOptions{
		Level: slog.LevelDebug, ReplaceAttr: plain,
	}))})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	m, err := t.load(ctx, rt, t.bare)
	if err != nil {
		return nil, err
	}
	report = &Report{Plugin: m.Manifest().Name, Version: m.Manifest().Version}
	for _, g := range goldens {
		report.Goldens = append(report.Goldens, Outcome{Name: g.Name, golden: g, Became: Passed})
	}
	for i := range report.Goldens {
		t.begin(ctx, m, &report.Goldens[i])
	}
	if err := t.prove(ctx, rt, report.Goldens); err != nil {
		return nil, err
	}
	return report, t.settle(report)
}

// read finds the module without its goldens, and the goldens.
func (t *Trial) read(ctx context.Context) ([]*golden, error) {
	info, err := os.Stat(t.Target)
	if err != nil {
		return nil, fmt.Errorf("there is nothing to test: %w", err)
	}
	var goldens []*golden
	if info.IsDir() {
		goldens, err = t.compile(ctx)
	} else {
		goldens, err = t.open()
	}
	if err != nil {
		return nil, err
	}
	if len(goldens) == 0 {
		return nil, fmt.Errorf("%s has no goldens: put a callback into testdata/NAME.http and say --update", t.Target)
	}
	for _, name := range t.Sign {
		if !slices.ContainsFunc(goldens, func(g *golden) bool { return g.Name == name }) {
			return nil, Misuse{fmt.Errorf("--sign %s: there is no testdata/%s%s", name, name, requestSuffix)}
		}
	}
	return goldens, nil
}

func (t *Trial) compile(ctx context.Context) ([]*golden, error) {
	goldens, err := readGoldens(t.Target)
	if err != nil {
		return nil, err
	}
	for _, g := range goldens {
		if !g.fresh {
			continue
		}
		if !t.Update {
			return nil, fmt.Errorf("testdata/%s%s has no golden: --update makes one of what the plugin says", g.Name, requestSuffix)
		}
		if err := g.invent(goldens, t.Now); err != nil {
			return nil, err
		}
	}
	file, err := t.Tools.Build(ctx, t.Target, t.tmp, true)
	if err != nil {
		return nil, err
	}
	t.bare, err = os.ReadFile(file) //nolint:gosec // the file just built
	return goldens, err
}

func (t *Trial) open() (goldens []*golden, err error) {
	if t.Update || len(t.Sign) > 0 {
		return nil, Misuse{errors.New("--update and --sign write into testdata: name the plugin's folder, not its module")}
	}
	module, err := os.ReadFile(t.Target)
	if err == nil {
		t.bare, goldens, err = split(module)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", t.Target, err)
	}
	return goldens, nil
}

// load loads a module that has no file of its own.
func (t *Trial) load(ctx context.Context, rt *wasm.Runtime, module []byte) (*wasm.Module, error) {
	file := filepath.Join(t.tmp, "plugin.wasm")
	if err := os.WriteFile(file, module, 0o600); err != nil {
		return nil, err
	}
	m, err := rt.Load(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", t.Target, strings.TrimPrefix(err.Error(), "load plugin "+file+": "))
	}
	return m, nil
}

// begin reads a case, signs it where that is asked for, and has it judged for the
// first time.
func (t *Trial) begin(ctx context.Context, m *wasm.Module, o *Outcome) {
	var err error
	if o.parsed, err = o.golden.parse(t.tmp); err == nil {
		o.About = o.parsed.About
		if slices.Contains(t.Sign, o.Name) {
			err = t.sign(ctx, m, o)
		}
	}
	if err != nil {
		o.fail(err)
		return
	}
	if err := t.judge(ctx, m, o); err != nil {
		o.fail(err)
		return
	}
	o.Differences = Differences(o.parsed.Expect, o.got)
}

func (o *Outcome) fail(err error) { o.Became, o.Error = Failed, err.Error() }

// sign makes the request of a case one that its provider could have sent.
func (t *Trial) sign(ctx context.Context, m *wasm.Module, o *Outcome) error {
	p, err := m.Bind(bindingOf(o.parsed, true))
	if err != nil {
		return err
	}
	cb, err := o.parsed.Callback()
	if err != nil {
		return err
	}
	signed, err := outgoing.Sign(ctx, p, cb)
	if err != nil {
		return fmt.Errorf("%w; does provider.go have a Sign?", err)
	}
	o.Signed = true
	o.golden.HTTP = written(signed)
	if o.parsed, err = o.golden.parse(t.tmp); err != nil {
		return err
	}
	return o.golden.write(t.Target, requestSuffix, o.golden.HTTP)
}

func bindingOf(g *wasm.Golden, signing bool) wasm.Binding {
	return wasm.Binding{Secrets: g.Secrets, Settings: g.Settings, Unverified: g.Unverified, Signing: signing}
}

// judge runs a golden as the host would run its callback, or a guard on its events,
// and keeps what came out in its canonical form.
func (t *Trial) judge(ctx context.Context, m *wasm.Module, o *Outcome) error {
	p, err := m.Bind(bindingOf(o.parsed, false))
	if err != nil {
		return err
	}
	t.log.Reset()
	if m.Manifest().Guard {
		err = o.rule(ctx, p)
	} else {
		err = o.judge(ctx, p, m.Version())
	}
	o.Log = nil
	for line := range strings.Lines(t.log.String()) {
		o.Log = append(o.Log, strings.TrimSpace(line))
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "plugin "+m.Version()+": "))
	}
	return nil
}

func (o *Outcome) judge(ctx context.Context, p *wasm.Plugin, version string) error {
	cb, err := o.parsed.Callback()
	if err != nil {
		return err
	}
	ep := &host.Endpoint{Plugin: p, Tokens: p.Tokens(), PluginVersion: version, Unverified: o.parsed.Unverified}
	res, err := ep.Judge(ctx, cb)
	if err != nil {
		return err
	}
	o.Verdict = strings.TrimSpace(res.Verdict.String() + " " + res.Reason.String())
	o.Fuel, o.Memory = res.Fuel, res.Memory
	o.got, err = o.parsed.Canonical(res)
	return err
}

func (o *Outcome) rule(ctx context.Context, p *wasm.Plugin) error {
	res, err := p.RuleOn(ctx, o.parsed)
	if err != nil {
		return err
	}
	o.Verdict, o.Fuel, o.Memory = res.Verdict.String(), res.Fuel, res.Memory
	o.got, err = o.parsed.CanonicalRuling(res)
	return err
}

// prove loads the module again, now with goldens in it that expect what came out,
// and has each judged in the state that the module serves in.
func (t *Trial) prove(ctx context.Context, rt *wasm.Runtime, all []Outcome) error {
	var carried []*golden
	for i := range all {
		if all[i].Error != "" {
			continue
		}
		text, err := all[i].golden.expecting(all[i].got)
		if err != nil {
			all[i].fail(err)
			continue
		}
		carried = append(carried, &golden{Name: all[i].Name, HTTP: all[i].golden.HTTP, Text: text})
	}
	module, err := carry(t.bare, carried)
	if err != nil {
		return err
	}
	m, err := t.load(ctx, rt, module)
	if err != nil {
		return fmt.Errorf("asked again it does not say the same: %w", err)
	}
	for i := range all {
		o := &all[i]
		if o.Error != "" {
			continue
		}
		first := o.got
		err := t.judge(ctx, m, o)
		switch {
		case err != nil:
			o.fail(err)
		case !bytes.Equal(first, o.got):
			o.fail(errors.New("it says something else when it is asked again: expected is what it said first"))
			o.Differences = Differences(first, o.got)
		}
	}
	return nil
}

// settle writes what is to be written, and counts.
func (t *Trial) settle(r *Report) error {
	for i := range r.Goldens {
		o := &r.Goldens[i]
		switch {
		case o.Error != "" || len(o.Differences) > 0 && !t.Update:
			o.Became = Failed
			r.Failed++
			continue
		case o.golden.fresh:
			o.Became = Made
		case len(o.Differences) > 0:
			o.Became = Updated
		default:
			continue
		}
		text, err := o.golden.expecting(o.got)
		if err == nil {
			err = o.golden.write(t.Target, goldenSuffix, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plain leaves out of a plugin's lines what is the same in all of them.
func plain(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "plugin" {
		return slog.Attr{}
	}
	return a
}
