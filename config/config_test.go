package config

import (
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/postern/postern/host"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const validSigning = "whsec_ZGVtby1rZXktdGhhdC1wcm90ZWN0cy1ub3RoaW5n"

var exampleEnviron = []string{
	"OTTU_KEY=new-key", "OTTU_KEY_OLD=old-key",
	"OTTU_PATH_TOKEN=0123456789abcdef", "BACK_OFFICE_KEY=" + validSigning,
	"BACK_OFFICE_AUTHORIZATION=Bearer abc",
	"NATS_PASSWORD=a-password", "WAREHOUSE_DSN=postgres://db.example.com/events",
}

// load loads text with exactly the given environment.
func load(t *testing.T, text string, environ ...string) (*Config, error) {
	t.Helper()
	return Load(Options{Text: []byte(text), Environ: append([]string{}, environ...)})
}

func mustLoad(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	cfg, err := load(t, text, environ...)
	if err != nil {
		t.Fatalf("Load = %v", err)
	}
	return cfg
}

func mustFail(t *testing.T, text string, environ ...string) string {
	t.Helper()
	_, err := load(t, text, environ...)
	if err == nil {
		t.Fatalf("Load of %q succeeded", text)
	}
	return err.Error()
}

var (
	sameConfig   = cmpopts.IgnoreUnexported(Config{}, Sink{})
	samePrefixes = cmpopts.EquateComparable(netip.Prefix{})
)

func TestLoad_nothingIsTheDefault(t *testing.T) {
	t.Parallel()
	got, err := Load(Options{Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Plugins.Cache = "data/cache"
	if diff := cmp.Diff(want, got, sameConfig); diff != "" {
		t.Errorf("Load differs from Default (-want +got):\n%s", diff)
	}
}

func TestLoad_everyFaultInOneRun(t *testing.T) {
	t.Parallel()
	_, err := Load(Options{File: "testdata/faults.yaml", Environ: []string{}})
	if err == nil {
		t.Fatal("Load succeeded")
	}
	got := err.Error() + "\n"
	golden(t, "testdata/faults.golden", got)

	const planted = 36
	if n := strings.Count(got, "\n"); n != planted {
		t.Errorf("%d problems, want %d", n, planted)
	}
	line := regexp.MustCompile(`^[A-Za-z0-9_.-]+: .+ \(.+\)$`)
	for l := range strings.Lines(got) {
		if !line.MatchString(strings.TrimSpace(l)) {
			t.Errorf("%q is not path: problem (fix)", l)
		}
	}
	if strings.Contains(got, "planted-secret") || strings.Contains(got, "4711") {
		t.Errorf("a secret is among the problems:\n%s", got)
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

func TestExample_isTheDefaults(t *testing.T) {
	t.Parallel()
	got, err := Load(Options{File: "example.yaml", Environ: exampleEnviron})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Plugins.Cache = "data/cache"
	endpoint := defaultEndpoint()
	endpoint.Plugin = "ottu"
	endpoint.Guards = []Guard{{Plugin: "hold-amount", Settings: map[string]any{"limits": map[string]any{"KWD": "1000"}}}}
	endpoint.Secrets = map[string][]Secret{"hmac-key": {NewSecret("new-key"), NewSecret("old-key")}}
	endpoint.Token = []Secret{NewSecret("0123456789abcdef")}
	endpoint.Settings = map[string]any{"ack_status": 201}
	want.Tenants = map[string]Tenant{"acme": {Endpoints: map[string]Endpoint{"ottu-payments": endpoint}}}
	ledger, backOffice := defaultSink(TypeFile), defaultSink(TypeWebhook)
	ledger.Type, ledger.File.Path = TypeFile, "./data/events.ndjson"
	backOffice.Type, backOffice.Filter = TypeWebhook, host.Filter{Types: []string{"payment.*"}}
	backOffice.Webhook.URL = "https://back-office.example.com/events"
	backOffice.Webhook.Secrets = []Secret{NewSecret(validSigning)}
	backOffice.Webhook.Headers = map[string]Secret{"Authorization": NewSecret("Bearer abc")}
	pipe := defaultSink(TypeStdout)
	pipe.Type = TypeStdout
	stream, warehouse := defaultSink(TypeNATS), defaultSink(TypePostgres)
	stream.Type, stream.NATS.Servers, stream.NATS.Stream = TypeNATS, []string{"tls://nats.example.com:4222"}, "EVENTS"
	stream.NATS.User, stream.NATS.Password = "postern", NewSecret("a-password")
	warehouse.Type, warehouse.Postgres.DSN = TypePostgres, NewSecret("postgres://db.example.com/events")
	want.Sinks = map[string]Sink{"ledger": ledger, "back-office": backOffice, "pipe": pipe, "stream": stream, "warehouse": warehouse}
	if diff := cmp.Diff(want, got, sameConfig, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("example.yaml differs from the defaults (-want +got):\n%s", diff)
	}
	if w := got.Warnings(); len(w) != 0 {
		t.Errorf("example.yaml has warnings: %q", w)
	}
}

func TestExample_hasEveryKey(t *testing.T) {
	t.Parallel()
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Map || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			isKey := f.IsExported() && f.Type.Kind() != reflect.Pointer && key != "-"
			if isKey && !regexp.MustCompile(`(?m)^ *`+key+`:`).Match(example) {
				t.Errorf("example.yaml lacks %s of %s", key, typ)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Config]())
}

func TestDemo_loads(t *testing.T) {
	t.Parallel()
	got, err := Load(Options{Text: Demo(), Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	endpoints := got.Tenants["demo"].Endpoints
	if len(endpoints["wibmo"].Secrets) != 3 || endpoints["ottu"].Secrets["hmac-key"][0].Reveal() == "" {
		t.Errorf("endpoints = %v", endpoints)
	}
	if got.Sinks["events"].File.Path != "./data/events.ndjson" {
		t.Errorf("sinks = %v", got.Sinks)
	}
	if bank := endpoints["wibmo"].Secrets["bank-id"][0].Reveal(); bank != "0000" {
		t.Errorf("bank-id = %q", bank)
	}
}

// The commented sink is advice: it must hold when someone takes the # away.
func TestDemo_loadsWithItsCommentedSink(t *testing.T) {
	t.Parallel()
	text := regexp.MustCompile(`(?m)^  # (orders:|  )`).ReplaceAllString(string(Demo()), "  $1")
	got := mustLoad(t, text)
	if s := got.Sinks["orders"]; s.Webhook == nil || !s.Webhook.AllowPrivate || len(s.Filter.Types) != 1 {
		t.Errorf("orders = %+v", s)
	}
}

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	fs.String("config", "", "")
	AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestLoad_laterLayersWin(t *testing.T) {
	t.Parallel()
	text := "intake: {listen: ':1', read_timeout: 1s, max_body: 1KiB}"
	environ := []string{"POSTERN__INTAKE__LISTEN=:2", "POSTERN__INTAKE__READ_TIMEOUT=2s", "POSTERN_PORT=tcp://10.0.0.1:80"}
	got, err := Load(Options{Text: []byte(text), Environ: environ, Flags: flags(t, "--config=x", "--intake.listen=:3")})
	if err != nil {
		t.Fatal(err)
	}
	want := Default().Intake
	want.Listen, want.ReadTimeout, want.MaxBody = ":3", 2*time.Second, 1024
	if diff := cmp.Diff(want, got.Intake); diff != "" {
		t.Errorf("Intake (-want +got):\n%s", diff)
	}
}

func TestLoad_environmentReachesEverything(t *testing.T) {
	t.Parallel()
	got := mustLoad(t, `
tenants: {acme-eu: {endpoints: {pay-in: {plugin: ottu, secrets: {hmac-key: env:UNSET}}}}}
sinks: {out: {type: file, path: a}, far: {type: webhook, url: 'https://x', secrets: `+validSigning+`, headers: {Authorization: a}}}`,
		"POSTERN__TENANTS__ACME_EU__ENDPOINTS__PAY_IN__SECRETS__HMAC_KEY=env:KEY",
		"POSTERN__TENANTS__ACME_EU__ENDPOINTS__PAY_IN__SETTINGS__ACK_STATUS=201",
		"POSTERN__TENANTS__ACME_EU__ENDPOINTS__PAY_IN__SETTINGS__STRICT=true",
		`POSTERN__TENANTS__ACME_EU__ENDPOINTS__PAY_IN__SETTINGS__CODE="201"`,
		"POSTERN__TENANTS__ACME_EU__ENDPOINTS__PAY_IN__SETTINGS__SECRETS__A_B=own",
		"POSTERN__TENANTS__ACME_EU__ENDPOINTS__PAY_IN__REJECT_STATUS=403",
		"POSTERN__SINKS__OUT__FILTER__TYPES=payment.*, payout.*",
		"POSTERN__SINKS__OUT__FILTER__CONFLICTS=true",
		"POSTERN__SINKS__OUT__ROTATE__SIZE=100MiB", "POSTERN__SINKS__OUT__ROTATE__AGE=1d", "POSTERN__SINKS__OUT__ROTATE__KEEP=7",
		"POSTERN__SINKS__FAR__HEADERS__X_API_KEY=env:KEY", "POSTERN__SINKS__FAR__TLS__SERVER_NAME=y",
		"POSTERN__SINKS__OUT__ORDER=subject",
		"POSTERN__SINKS__OUT__RATE__PER_SECOND=2.5",
		"POSTERN__SINKS__OUT__BREAKER__FAILURES=0",
		"POSTERN__LOG__LEVEL=debug",
		"POSTERN__INTAKE__TRUSTED_PROXIES=10.0.0.5, 2001:db8::/32",
		"POSTERN__INTAKE__TLS__CERT=c.pem", "POSTERN__INTAKE__TLS__KEY=k.pem",
		"POSTERN__TENANTS__ACME_EU__ALLOW_FROM=[]",
		"POSTERN__TENANTS__ACME_EU__RATE_LIMIT__PER_SECOND=100",
		"POSTERN__TENANTS__ACME_EU__ENDPOINTS__PAY_IN__ALLOW_FROM=192.0.2.0/24",
		"POSTERN__TENANTS__ACME_EU__ENDPOINTS__PAY_IN__RATE_LIMIT__PER_SECOND=0.5",
		"KEY=a-key",
	)
	e := got.Tenants["acme-eu"].Endpoints["pay-in"]
	if key := e.Secrets["hmac-key"][0].Reveal(); key != "a-key" {
		t.Errorf("hmac-key = %q", key)
	}
	want := map[string]any{"ack_status": 201, "strict": true, "code": "201", "secrets": map[string]any{"a_b": "own"}}
	if diff := cmp.Diff(want, e.Settings); diff != "" {
		t.Errorf("Settings (-want +got):\n%s", diff)
	}
	if e.RejectStatus != 403 || got.Log.Level != slog.LevelDebug {
		t.Errorf("RejectStatus, Level = %d, %s", e.RejectStatus, got.Log.Level)
	}
	in := Default().Intake
	in.TLS = TLS{Cert: "c.pem", Key: "k.pem"}
	in.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.5/32"), netip.MustParsePrefix("2001:db8::/32")}
	if diff := cmp.Diff(in, got.Intake, samePrefixes); diff != "" {
		t.Errorf("Intake (-want +got):\n%s", diff)
	}
	allowed := [][]netip.Prefix{nil, {netip.MustParsePrefix("192.0.2.0/24")}}
	if diff := cmp.Diff(allowed, [][]netip.Prefix{got.Tenants["acme-eu"].AllowFrom, e.AllowFrom}, samePrefixes); diff != "" {
		t.Errorf("AllowFrom (-want +got):\n%s", diff)
	}
	// A burst left out is a second's worth, and at least one.
	rates := []RateLimit{{PerSecond: 100, Burst: 100}, {PerSecond: 0.5, Burst: 1}}
	if diff := cmp.Diff(rates, []RateLimit{got.Tenants["acme-eu"].RateLimit, e.RateLimit}); diff != "" {
		t.Errorf("RateLimit (-want +got):\n%s", diff)
	}
	filter := host.Filter{Types: []string{"payment.*", "payout.*"}, Conflicts: true}
	if diff := cmp.Diff(filter, got.Sinks["out"].Filter); diff != "" {
		t.Errorf("Filter (-want +got):\n%s", diff)
	}
	rotation := Rotation{Size: 100 << 20, Age: 24 * time.Hour, Keep: 7}
	if diff := cmp.Diff(rotation, got.Sinks["out"].File.Rotate); diff != "" {
		t.Errorf("Rotate (-want +got):\n%s", diff)
	}
	far := got.Sinks["far"].Webhook
	headers := map[string]Secret{"Authorization": NewSecret("a"), "x-api-key": NewSecret("a-key")}
	if diff := cmp.Diff(headers, far.Headers); diff != "" {
		t.Errorf("Headers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ClientTLS{ServerName: "y"}, far.TLS); diff != "" {
		t.Errorf("TLS (-want +got):\n%s", diff)
	}
	out := defaultSink(TypeFile)
	out.Type, out.File.Path, out.File.Rotate, out.Filter, out.Order = TypeFile, "a", rotation, filter, host.OrderSubject
	out.Rate, out.Breaker = RateLimit{PerSecond: 2.5, Burst: 3}, Breaker{OpenFor: 30 * time.Second}
	if diff := cmp.Diff(out, got.Sinks["out"], cmpopts.IgnoreUnexported(Sink{})); diff != "" {
		t.Errorf("sink (-want +got):\n%s", diff)
	}
}

func TestLoad_problemsNameTheirVariableAndFlag(t *testing.T) {
	t.Parallel()
	_, err := Load(Options{
		Environ: []string{"POSTERN__INTAKE__LISEN=:1", "POSTERN__STORE__PATH=y", "POSTERN__STORE_X=z", "POSTERN__STORE=x"},
		Flags:   flags(t, "--log.format=xml"),
	})
	if err == nil {
		t.Fatal("Load succeeded")
	}
	for _, want := range []string{
		`intake.lisen: unknown key, set by POSTERN__INTAKE__LISEN (did you mean "listen"?)`,
		`log.format: "xml" is unknown, set by --log.format (known here: json, text)`,
		`store.path: has a value above it, set by POSTERN__STORE (unset one of the two)`,
		`store: must be a mapping, set by POSTERN__STORE (write its keys below it, indented)`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %s:\n%v", want, err)
		}
	}
}

// A later layer with a level must not sweep away an earlier value unseen.
func TestLoad_aLevelHidesNoValue(t *testing.T) {
	t.Parallel()
	const want = "intake: must be a mapping"
	if got := mustFail(t, "intake: ':1'", "POSTERN__INTAKE__MAX_BODY=1KiB"); !strings.HasPrefix(got, want) {
		t.Errorf("environment over file: %s", got)
	}
	_, err := Load(Options{Text: []byte("intake: ':1'"), Environ: []string{}, Flags: flags(t, "--intake.max_body=1KiB")})
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("flag over file: %v", err)
	}
	_, err = Load(Options{Environ: []string{"POSTERN__INTAKE=x"}, Flags: flags(t, "--intake.max_body=1KiB")})
	if err == nil || !strings.Contains(err.Error(), "intake.max_body: has a value above it, set by POSTERN__INTAKE") {
		t.Errorf("flag over environment: %v", err)
	}
	mustLoad(t, "intake:", "POSTERN__INTAKE__MAX_BODY=1KiB")
}

func TestLoad_flagsNotGivenAreNotBlamed(t *testing.T) {
	t.Parallel()
	_, err := Load(Options{Text: []byte("log: {format: xml}"), Environ: []string{}, Flags: flags(t)})
	if err == nil || strings.Contains(err.Error(), "--") {
		t.Errorf("Load = %v, want a problem that names no flag", err)
	}
}

func TestAddFlags_coversTheFixedSections(t *testing.T) {
	t.Parallel()
	fs := flags(t)
	for _, name := range []string{"intake.listen", "intake.tls.client_ca", "admin.listen", "log.level", "store.path", "plugins.max_memory"} {
		if fs.Lookup(name) == nil {
			t.Errorf("no flag --%s", name)
		}
	}
	// Every flag given with its default must parse to the default.
	var args []string
	fs.VisitAll(func(f *pflag.Flag) {
		if strings.Contains(f.Name, ".") {
			args = append(args, "--"+f.Name+"="+f.DefValue)
		}
	})
	got, err := Load(Options{Environ: []string{}, Flags: flags(t, args...)})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Plugins.Cache = "data/cache"
	if diff := cmp.Diff(want, got, sameConfig); diff != "" {
		t.Errorf("defaults by flags (-want +got):\n%s", diff)
	}
}

func TestLoad_unreadableFiles(t *testing.T) {
	t.Parallel()
	rows := []struct{ name, text, want string }{
		{"a duplicate key", "intake:\n  listen: ':1'\n  listen: ':2'\n", "line 3: mapping key \"listen\" already defined at line 2"},
		{"a duplicate tenant", "tenants:\n  a: {}\n  b: {}\n  a: {}\n", "line 4: mapping key \"a\" already defined at line 2"},
		{"a second document", "intake: {}\n---\nadmin: {}\n", "line 2: a second document begins"},
		{"no mapping", "planted-secret", "line 1: cannot unmarshal !!str a value"},
		{"bad syntax", "intake: [", "line 1: did not find expected node content"},
		{"a tag that does not fit", "intake: {listen: !!int planted-secret}", "cannot decode !!str a value as a !!int"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(Options{File: "postern.yaml", Text: []byte(r.text), Environ: []string{}})
			if err == nil {
				t.Fatal("Load succeeded")
			}
			if !strings.HasPrefix(err.Error(), "postern.yaml: ") || !strings.Contains(err.Error(), r.want) {
				t.Errorf("error = %q, want %q", err, r.want)
			}
			if strings.Contains(err.Error(), "planted") {
				t.Errorf("error %q shows a value of the file", err)
			}
		})
	}
	_, err := Load(Options{File: filepath.Join(t.TempDir(), "none.yaml")})
	if err == nil || !strings.Contains(err.Error(), "none.yaml: cannot be read: no such file") {
		t.Errorf("missing file: %v", err)
	}
}

func TestLoad_oneDocumentWithMarkersIsFine(t *testing.T) {
	t.Parallel()
	got := mustLoad(t, "# a comment\n---\nintake: {listen: ':1'}\n")
	if got.Intake.Listen != ":1" {
		t.Errorf("Listen = %q", got.Intake.Listen)
	}
	mustLoad(t, "")
}

func TestLoad_emptyLevelsKeepTheirDefaults(t *testing.T) {
	t.Parallel()
	got := mustLoad(t, "intake:\ntenants:\nsinks:\nstore: {}\n")
	if diff := cmp.Diff(Default().Intake, got.Intake); diff != "" {
		t.Errorf("Intake (-want +got):\n%s", diff)
	}
	if got := mustFail(t, "intake:\n  listen:\n"); !strings.Contains(got, "intake.listen: has no value") {
		t.Errorf("error = %q", got)
	}
}

func TestLoad_endpointsInheritThePublicURL(t *testing.T) {
	t.Parallel()
	got := mustLoad(t, `
intake: {public_url: https://a.example.com}
tenants: {t: {endpoints: {x: {plugin: p}, y: {plugin: p, public_url: https://b.example.com/hooks}}}}`)
	for name, want := range map[string]string{"x": "https://a.example.com", "y": "https://b.example.com/hooks"} {
		if url := got.Tenants["t"].Endpoints[name].PublicURL; url != want {
			t.Errorf("%s: PublicURL = %q, want %q", name, url, want)
		}
	}
}

func TestLoad_conditionOfAFilter(t *testing.T) {
	t.Parallel()
	got := mustLoad(t, "sinks: {out: {type: file, path: a, filter: {verified_by: hmac-*, where: 'data.amount.minor > 5'}}}",
		"POSTERN__SINKS__OUT__FILTER__WHERE=decimal(data.amount.value) > decimal(\"5\") && provider == \"ottu\"")
	s := got.Sinks["out"]
	var failed []error
	want := s.Want(func(err error) { failed = append(failed, err) })
	for _, filter := range []host.Filter{s.Filter, want} {
		if !filter.Ready() {
			t.Fatal("the filter is not ready")
		}
		for data, matches := range map[string]bool{
			`{"amount":{"value":"12.50"}}`: true,
			`{"amount":{"value":"4.99"}}`:  false,
			`{}`:                           true, // it does not fit, and is not lost
		} {
			ev := &host.Event{Provider: "ottu", VerifiedBy: host.HMACSHA256, Data: []byte(data)}
			if filter.Match(ev) != matches {
				t.Errorf("%s: Match = %t, want %t", data, !matches, matches)
			}
			ev.VerifiedBy = host.StaticToken
			if filter.Match(ev) {
				t.Errorf("%s: verified by a token, and wanted", data)
			}
		}
	}
	if len(failed) != 1 || !strings.Contains(failed[0].Error(), "a member is not there") {
		t.Errorf("failed was told of %v, want of the event without an amount", failed)
	}
}
