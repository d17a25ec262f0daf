package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/outgoing"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
)

// sendFlags are what "send" takes beside the plugin or file.
type sendFlags struct {
	endpoint, url, data string
	headers             []string
	unsigned            bool
}

func (p *program) sendCommand() *cobra.Command {
	var f sendFlags
	c := &cobra.Command{
		Use:   "send <plugin | file.http>",
		Short: "Post a callback to an endpoint, signed as its provider would",
		Long: `Makes a callback, signs it with the endpoint's newest secrets and posts it. The
callback is a .http file (a request line, headers, an empty line, a body), or
--data, or the first that the plugin's own tests accept. A server on this
machine that speaks TLS is known by the certificate in intake.tls.cert.`,
		Example: `  ` + p.command("send", "ottu") + `
  ` + p.command("send", "ottu", "--data") + ` '{"amount":"1.000"}'
  ` + p.command("send", "plugins/ottu/testdata/paid.http", "--endpoint", "main/ottu"),
		Args: takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error { return p.send(c, args[0], &f) },
	}
	c.Flags().StringVar(&f.endpoint, "endpoint", "", "the endpoint, as `tenant/name`; needed where several fit")
	c.Flags().StringVar(&f.url, "url", "", "the server's `URL`, if not intake.listen of the configuration")
	c.Flags().StringVar(&f.data, "data", "", "the `body`; @file reads a file, - the standard input")
	c.Flags().StringArrayVar(&f.headers, "header", nil, "a header, as `Name:value`; may be repeated")
	c.Flags().BoolVar(&f.unsigned, "unsigned", false, "post it as it is, without signature and tokens")
	return c
}

func (p *program) send(c *cobra.Command, what string, f *sendFlags) error {
	cfg, err := p.loadConfig(c)
	if err != nil {
		return err
	}
	s, err := choose(cfg, f.endpoint, pluginIn(what))
	if err != nil {
		return err
	}
	cb, err := p.callback(what, f, &cfg.Plugins, s.Endpoint.Plugin)
	if err != nil {
		return err
	}
	ctx := c.Context()
	if !f.unsigned {
		rt, plugin, err := outgoing.SignerFor(ctx, cfg, s.Endpoint)
		if err != nil {
			return err
		}
		defer func() { _ = rt.Close(ctx) }()
		s.Plugin = plugin
	}
	if s.Base = strings.TrimSuffix(f.url, "/"); s.Base == "" {
		s.Base = outgoing.IntakeURL(&cfg.Intake, cfg.Intake.Listen)
	}
	if cfg.Intake.TLS.On() && (f.url == "" || outgoing.Here(s.Base)) {
		if s.HTTP, err = outgoing.Trusting(cfg.Intake.TLS.Cert); err != nil {
			return err
		}
	}
	before, after := watch(ctx, cfg.Store.Path, s.Where)
	got, err := s.Send(ctx, cb)
	if errors.Is(err, syscall.ECONNREFUSED) && f.url == "" {
		return fmt.Errorf("%w\nno server is running there; start one: %s", err,
			p.command(append([]string{"serve"}, p.sameConfig()...)...))
	}
	if err != nil && cfg.Intake.TLS.ClientCA != "" && strings.HasPrefix(s.Base, "https:") {
		return fmt.Errorf("%w\nthe server asks for a client's certificate (intake.tls.client_ca) and send has none to show: "+
			"post with a client that has one, or take client_ca out to try things", err)
	}
	if err != nil {
		return err
	}
	look := p.sameConfig()
	if p.overridden(c, "store.path") {
		look = []string{"--data", cfg.Store.Path}
	}
	return p.printSent(s, got, before, after(ctx), look)
}

// callback makes what is sent: from --data, the file, or the plugin's goldens.
func (p *program) callback(what string, f *sendFlags, plugins *config.Plugins, plugin string) (*host.Callback, error) {
	cb := &host.Callback{Method: http.MethodPost, Target: "/"}
	var err error
	switch {
	case isFile(what):
		cb, err = outgoing.Read(what)
	case f.data == "":
		cb, err = outgoing.Accepted(plugins, plugin)
	}
	if err != nil {
		return nil, err
	}
	if f.data != "" {
		if cb.Body, err = p.body(f.data); err != nil {
			return nil, fmt.Errorf("read the body: %w", err)
		}
	}
	for _, line := range f.headers {
		h, err := outgoing.Header(line)
		if err != nil {
			return nil, usageError{err}
		}
		cb.Headers = append(cb.Headers, h)
	}
	return cb, nil
}

func (p *program) body(data string) ([]byte, error) {
	if data == "-" {
		return io.ReadAll(p.stdin)
	}
	if file, ok := strings.CutPrefix(data, "@"); ok {
		return os.ReadFile(file) //nolint:gosec // the operator names the file
	}
	return []byte(data), nil
}

// isFile tells a .http file from a plugin's name.
func isFile(what string) bool {
	return strings.HasSuffix(what, ".http") || strings.ContainsRune(what, filepath.Separator)
}

// pluginIn is the plugin that the argument speaks of: itself, or, of a file in
// some plugin's testdata, the folder's name. Empty means unknown.
func pluginIn(what string) string {
	if !isFile(what) {
		return what
	}
	if path, err := filepath.Abs(what); err == nil && filepath.Base(filepath.Dir(path)) == "testdata" {
		return filepath.Base(filepath.Dir(filepath.Dir(path)))
	}
	return ""
}

// choose finds the endpoint: the one that is named, or the only one with the
// plugin, or the only one there is.
func choose(cfg *config.Config, where, plugin string) (*outgoing.Sender, error) {
	var fit []*outgoing.Sender
	var all []string
	for path, e := range endpointsOf(cfg) {
		name := shortName(path)
		all = append(all, name)
		ref, _ := host.ParseRef(e.Plugin)
		if name == where || where == "" && (plugin == "" || e.Plugin == plugin || ref.Name == plugin) {
			fit = append(fit, &outgoing.Sender{Where: name, Endpoint: e, HTTP: outgoing.Client(nil)})
		}
	}
	known := strings.Join(all, ", ")
	switch {
	case len(all) == 0:
		return nil, errors.New("the configuration has no endpoint")
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		return nil, usageError{fmt.Errorf("several endpoints fit: say --endpoint, one of %s", known)}
	case where != "":
		return nil, usageError{fmt.Errorf("there is no endpoint %q; there are: %s", where, known)}
	}
	return nil, usageError{fmt.Errorf("no endpoint uses the plugin %q; there are: %s", plugin, known)}
}

// shortName is "tenant/name" of an endpoint's path in the configuration.
func shortName(path string) string {
	parts := strings.Split(path, ".")
	return parts[1] + "/" + parts[3]
}

// watch notes where the store stands, if a server answers for the directory,
// and returns a way to ask for the endpoint's events since then.
func watch(ctx context.Context, dir, endpoint string) (live bool, since func(context.Context) []client.Stored) {
	none := func(context.Context) []client.Stored { return nil }
	cl := client.Socket(dir)
	before, err := cl.Newest(ctx)
	if err != nil {
		return false, none
	}
	return true, func(ctx context.Context) []client.Stored {
		got, err := cl.Since(ctx, client.Filter{Tenant: strings.SplitN(endpoint, "/", 2)[0]}, before)
		if err != nil {
			return nil
		}
		return slices.DeleteFunc(got.Events, func(s client.Stored) bool { return show.Where(&s.Fact) != endpoint })
	}
}

// sent is the answer of "send" for programs.
type sent struct {
	Endpoint string   `json:"endpoint"`
	Status   int      `json:"status"`
	Body     string   `json:"body"`
	Events   []string `json:"events"`
}

// printSent shows the answer; one that is no success is a failure of the
// command. look are the flags with which the events are found again.
func (p *program) printSent(s *outgoing.Sender, got outgoing.Answer, live bool, events []client.Stored, look []string) error {
	out := sent{Endpoint: s.Where, Status: got.Status, Body: string(got.Body), Events: []string{}}
	for i := range events {
		out.Events = append(out.Events, events[i].Fact.ID)
	}
	var failed error
	if got.Status/100 != 2 {
		failed = fmt.Errorf("%s answered %d", s.Where, got.Status)
	}
	if p.asJSON {
		if err := jsonLine(p.stdout, out); err != nil || failed == nil {
			return err
		}
		return silentError{failed}
	}
	t := screen.Good
	if failed != nil {
		t = screen.Bad
	}
	sc := p.screen()
	sc.Printf("%s  %s  %s\n", sc.Paint(t, fmt.Sprintf("%d %s", got.Status, http.StatusText(got.Status))),
		s.Base+"/in/"+s.Where+mask(s), got.Took.Round(100*time.Microsecond))
	if len(got.Body) > 0 {
		sc.Printf("%s\n", screen.Clean(string(got.Body)))
	}
	for i := range events {
		f := &events[i].Fact
		sc.Printf("event %s  %s  %s\n", f.ID, sc.Show(show.Kind(f)), screen.Clean(show.Amount(f)))
	}
	switch {
	case got.Status/100 == 3:
		sc.Printf("a redirect, not followed: the URL's token and the callback would go elsewhere; give the server itself with --url\n")
		return silentError{failed}
	case failed != nil:
		return silentError{failed}
	case len(events) > 0:
		sc.Command("see it: ", p.command(append([]string{"events", "show", events[0].Fact.ID}, look...)...))
	case live:
		sc.Printf("no new event: seen before, or of no interest to the plugin\n")
	}
	return nil
}

// mask is the path's token as it is shown.
func mask(s *outgoing.Sender) string {
	if len(s.Endpoint.Token) == 0 {
		return ""
	}
	return "/{token}"
}
