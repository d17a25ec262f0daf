package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Prefix begins every environment variable that is read. It has two
// underscores so that the POSTERN_… variables Kubernetes makes for a service of
// that name do no harm.
const Prefix = "POSTERN__"

// Options say where a configuration comes from. The zero Options mean the
// defaults and the environment of the process.
type Options struct {
	// File is the path of the YAML file; empty means none.
	File string
	// Text is the file's content, for one that is not on the disk; File is then
	// only its name in problems. Nil means to read File.
	Text []byte
	// Flags override everything else. A flag counts if it was given and its name
	// is a dotted key; the others are left alone. Nil means none. See [AddFlags].
	Flags *pflag.FlagSet
	// Environ is the environment as of [os.Environ], for overrides and for
	// secrets written env:NAME. Nil means os.Environ.
	Environ []string
}

// Load reads, decodes and checks the layers. An error joins all that is wrong,
// a *[Problem] each, in the order of their paths; only a file that cannot be
// parsed hides the rest. Secrets are read here, and neither errors nor warnings
// hold one.
func Load(o Options) (*Config, error) {
	if o.Environ == nil {
		o.Environ = os.Environ()
	}
	ps := &problems{origin: map[string]string{}}
	ko := koanf.New(".")
	if err := loadFile(ko, o); err != nil {
		return nil, err
	}
	loadEnv(ko, ps, o.Environ)
	if o.Flags != nil {
		loadFlags(ko, ps, o.Flags)
	}
	cfg := Default()
	d := decoder{problems: ps, lookup: lookupIn(o.Environ), files: make(map[string]bool)}
	d.mapping("", ko.Raw(), true, reflect.ValueOf(cfg).Elem())
	check(ps, cfg)
	if err := ps.err(); err != nil {
		return nil, err
	}
	inherit(cfg)
	if o.Text != nil {
		o.File = "" // only a name
	}
	if o.File != "" {
		d.files[o.File] = true
	}
	cfg.files = slices.Sorted(maps.Keys(d.files))
	cfg.warnings = warn(cfg, o.File)
	return cfg, nil
}

// inherit fills in what an empty value takes from elsewhere.
func inherit(cfg *Config) {
	if cfg.Plugins.Cache == "" {
		cfg.Plugins.Cache = filepath.Join(cfg.Store.Path, "cache")
	}
	for tenant, t := range cfg.Tenants {
		t.RateLimit.inherit()
		cfg.Tenants[tenant] = t
		for name, e := range t.Endpoints {
			e.RateLimit.inherit()
			if e.PublicURL == "" {
				e.PublicURL = cfg.Intake.PublicURL
			}
			t.Endpoints[name] = e
		}
	}
	for name, s := range cfg.Sinks {
		s.Rate.inherit()
		cfg.Sinks[name] = s
	}
}

func (r *RateLimit) inherit() {
	if r.Burst == 0 {
		r.Burst = int(math.Ceil(r.PerSecond))
	}
}

func loadFile(ko *koanf.Koanf, o Options) error {
	var from koanf.Provider
	switch {
	case o.Text != nil:
		from = rawbytes.Provider(o.Text)
	case o.File != "":
		from = file.Provider(o.File)
	default:
		return nil
	}
	err := ko.Load(from, strictYAML{})
	if err == nil {
		return nil
	}
	name := o.File
	if name == "" {
		name = "configuration"
	}
	var cause *fs.PathError
	if errors.As(err, &cause) {
		return &Problem{Path: name, Text: "cannot be read: " + cause.Err.Error()}
	}
	var several interface{ Unwrap() []error }
	if !errors.As(err, &several) {
		return &Problem{Path: name, Text: safeText(err)}
	}
	var errs []error
	for _, e := range several.Unwrap() {
		errs = append(errs, &Problem{Path: name, Text: safeText(e)})
	}
	return errors.Join(errs...)
}

// excerpt is how the YAML parser quotes a value it could not use.
var excerpt = regexp.MustCompile("`[^`]*`")

// safeText is the parser's error without excerpts of the file, which may be
// secrets.
func safeText(err error) string {
	return excerpt.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "a value")
}

// strictYAML parses YAML and refuses what its parser passes over or reports in
// bulk: a second document, and each key that stands twice.
type strictYAML struct{}

// Unmarshal implements [koanf.Parser].
func (strictYAML) Unmarshal(b []byte) (map[string]any, error) {
	out, err := yaml.Parser().Unmarshal(b)
	if err != nil {
		// The parser lists what it could not decode below a heading, a line each.
		heading, list, ok := strings.Cut(err.Error(), ":\n")
		if !ok || !strings.Contains(heading, "unmarshal errors") {
			return nil, err
		}
		var errs []error
		for line := range strings.Lines(list) {
			errs = append(errs, errors.New(strings.TrimSpace(line)))
		}
		return nil, errors.Join(errs...)
	}
	if line := secondDocument(b); line > 0 {
		return nil, fmt.Errorf("line %d: a second document begins, which nothing would read", line)
	}
	return out, nil
}

// Marshal implements [koanf.Parser].
func (strictYAML) Marshal(m map[string]any) ([]byte, error) { return yaml.Parser().Marshal(m) }

// secondDocument is the line on which a second document begins, or 0.
func secondDocument(b []byte) int {
	content, n := false, 0
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimRight(line, " \t\r\n")
		if line == "---" || strings.HasPrefix(line, "--- ") {
			if content {
				return n
			}
			content = len(line) > len("---")
			continue
		}
		content = content || line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "%")
	}
	return 0
}

func lookupIn(environ []string) func(string) (string, bool) {
	vars := make(map[string]string, len(environ))
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			vars[k] = v
		}
	}
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

func loadEnv(ko *koanf.Koanf, ps *problems, environ []string) {
	// In order, so that a variable comes before those of the levels below it.
	environ = slices.Sorted(slices.Values(environ))
	from := env.Provider(".", env.Opt{
		Prefix:      Prefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, text string) (string, any) {
			path := envPath(name)
			if hidden(ko, ps, path) {
				return "", nil
			}
			ps.origin[path] = name
			return path, scalar(path, text)
		},
	})
	// Neither this provider nor the merge of maps can fail.
	_ = ko.Load(from, nil)
}

// hidden notes a value that stands where path needs a level. The layers' merge
// would drop one of the two and say nothing.
func hidden(ko *koanf.Koanf, ps *problems, path string) bool {
	for i, c := range path {
		if c != '.' {
			continue
		}
		above := path[:i]
		if from, ok := ps.origin[above]; ok {
			ps.add(path, "has a value above it, set by "+from, "unset one of the two")
			return true
		}
		v := ko.Get(above)
		if _, level := v.(map[string]any); !level && v != nil {
			ps.add(above, mustBeMapping, indentKeys)
			return true
		}
	}
	return false
}

// named are the levels whose keys are names.
var named = []string{"tenants", "endpoints", "secrets", "sinks", "headers"}

// envPath is the dotted key of an environment variable.
func envPath(name string) string {
	levels := strings.Split(strings.ToLower(strings.TrimPrefix(name, Prefix)), "__")
	for i := 1; i < len(levels) && levels[i-1] != "settings"; i++ {
		if slices.Contains(named, levels[i-1]) {
			levels[i] = strings.ReplaceAll(levels[i], "_", "-")
		}
	}
	return strings.Join(levels, ".")
}

// scalar is what text stands for: among a plugin's settings, whose types are
// not known here, true, false and whole numbers are themselves and text in
// double quotes is always text; everywhere else the field decides.
func scalar(path, text string) any {
	if !strings.Contains(path, ".settings.") {
		return text
	}
	if text == "true" || text == "false" {
		return text == "true"
	}
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	if s, err := strconv.Unquote(text); err == nil && strings.HasPrefix(text, `"`) {
		return s
	}
	return text
}

func loadFlags(ko *koanf.Koanf, ps *problems, flags *pflag.FlagSet) {
	from := posflag.ProviderWithFlag(flags, ".", nil, func(f *pflag.Flag) (string, any) {
		if !f.Changed || !strings.Contains(f.Name, ".") || hidden(ko, ps, f.Name) {
			return "", nil
		}
		ps.origin[f.Name] = "--" + f.Name
		return f.Name, scalar(f.Name, f.Value.String())
	})
	_ = ko.Load(from, nil)
}

// AddFlags defines one flag for each key of the fixed sections, named like the
// key ("intake.listen"), all of them text. What is given there Load takes from
// Options.Flags.
func AddFlags(flags *pflag.FlagSet) {
	cfg := reflect.ValueOf(Default()).Elem()
	for section, v := range fields(cfg) {
		if v.Kind() != reflect.Struct {
			continue
		}
		addFlags(flags, section, v)
	}
}

func addFlags(flags *pflag.FlagSet, above string, level reflect.Value) {
	for key, v := range fields(level) {
		name := above + "." + key
		if v.Kind() == reflect.Struct {
			addFlags(flags, name, v)
			continue
		}
		value := fmt.Sprint(v.Interface())
		if d, ok := v.Interface().(time.Duration); ok {
			value = spell(d)
		}
		flags.String(name, value, "overrides "+name+" of the file and "+EnvName(name))
	}
}

// EnvName is the environment variable that sets a dotted key.
func EnvName(key string) string {
	return Prefix + strings.ToUpper(strings.NewReplacer(".", "__", "-", "_").Replace(key))
}
