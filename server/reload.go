package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/postern/postern/config"
	"github.com/postern/postern/server/admin"
	"github.com/postern/postern/server/watch"
)

// Reload serves the tenants of cfg, and the plugins that there are now, in place of
// those served so far, all or nothing: with an error nothing has changed. The error
// joins everything that is wrong, each with its path, and names the keys outside
// tenants that differ, since only another start takes those. Callbacks under way
// end with the endpoint and the plugin that they began with. Reload blocks while it
// loads plugins. It is safe for concurrent use.
func (s *Server) Reload(ctx context.Context, cfg *config.Config) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	_, err := s.reload(ctx, cfg, true)
	if err != nil {
		s.metrics.Reloaded(false)
	}
	return err
}

// Reread is [Server.Reload] of the configuration as [Options].Load reads it. What is
// wrong is logged, a line each.
func (s *Server) Reread(ctx context.Context) (admin.Difference, error) {
	return s.reread(ctx, true)
}

// reread is [Server.Reread] and, unless it was asked for, says nothing where nothing
// differs, or where the same is wrong as the last time.
func (s *Server) reread(ctx context.Context, asked bool) (admin.Difference, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	cfg, err := s.load()
	var d admin.Difference
	if err != nil {
		d.Problems = config.Lines(err)
	} else if d, err = s.reload(ctx, cfg, asked); err == nil {
		s.refused = nil
		return d, nil
	}
	lines := config.Lines(err)
	if !asked && slices.Equal(lines, s.refused) {
		return d, err
	}
	s.refused = lines
	s.metrics.Reloaded(false)
	for _, problem := range lines {
		s.log.Error("configuration not reloaded", "problem", problem)
	}
	return d, err
}

// Preview says what [Server.Reread] would change, or why it would be refused. It
// blocks while plugins are loaded that are not.
func (s *Server) Preview(ctx context.Context) (admin.Difference, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if err := s.checkIntake(); err != nil {
		return admin.Difference{}, fmt.Errorf("look at the configuration: the server is %w", err)
	}
	cfg, err := s.load()
	if err != nil {
		return admin.Difference{Problems: config.Lines(err)}, nil
	}
	after, d, _ := s.compare(ctx, cfg)
	after.end()
	return d, nil
}

func (s *Server) load() (*config.Config, error) {
	if s.options.Load == nil {
		return nil, errors.New("nobody here knows where the configuration is")
	}
	cfg, err := s.options.Load()
	if err == nil {
		files := cfg.Files()
		s.files.Store(&files)
	}
	return cfg, err
}

// startWatching has the configuration read again when its files change, or the
// plugins. Where that cannot be, SIGHUP has.
func (s *Server) startWatching(ctx context.Context) {
	if !s.cfg.Reload.Watch || s.options.Load == nil {
		return
	}
	files := s.cfg.Files()
	s.files.Store(&files)
	plugins := s.cfg.Plugins.Path
	ctx = context.WithoutCancel(ctx)
	var err error
	s.watcher, err = watch.Start(watch.Options{
		Paths: func() ([]string, []string) {
			return *s.files.Load(), []string{plugins, filepath.Join(plugins, "versions")}
		},
		Changed: func() {
			if s.checkIntake() == nil {
				_, _ = s.reread(ctx, false) // which logs what is wrong
			}
		},
		Log: s.log,
	})
	if err != nil {
		s.log.Warn("changes of the configuration are taken on SIGHUP alone", "err", err)
	}
}

// reload serves cfg; where nothing differs only if that was asked for.
func (s *Server) reload(ctx context.Context, cfg *config.Config, asked bool) (admin.Difference, error) {
	if err := s.checkIntake(); err != nil {
		return admin.Difference{}, fmt.Errorf("reload: the server is %w", err)
	}
	after, d, err := s.compare(ctx, cfg)
	if err != nil || !asked && len(d.Lines()) == 0 {
		after.end()
		return d, err
	}
	// From here on callbacks begin with the one, and end with that they began with.
	s.table.Swap(after).end()
	s.metrics.Reloaded(true)
	s.log.Info("configuration reloaded", attrs(&d)...)
	s.tellUnable(d.Unable)
	if s.options.Reloaded != nil {
		s.options.Reloaded(cfg)
	}
	return d, nil
}

// compare makes the table of cfg, which the caller serves or ends, and says how it
// differs from the one that is served. The error says why it must not be.
func (s *Server) compare(ctx context.Context, cfg *config.Config) (*table, admin.Difference, error) {
	before := s.table.Load()
	after, err := s.modules.newTable(ctx, cfg, before)
	d := difference(before, after)
	if d.Restart = needsRestart(s.cfg, cfg); len(d.Restart) > 0 {
		err = errors.Join(errors.New(admin.RestartProblem(d.Restart)), err)
	}
	if err != nil {
		lines := config.Lines(err)
		d.Problems = lines[min(len(d.Restart), 1):]
	}
	return after, d, err
}

// tellUnable logs the endpoints that have no plugin.
func (s *Server) tellUnable(all []string) {
	for _, text := range all {
		s.log.Error("an endpoint has no plugin, and is unable to judge", "endpoint", text)
	}
}

// needsRestart names what differs outside the tenants.
func needsRestart(before, after *config.Config) []string {
	a, b := *before, *after
	a.Tenants, b.Tenants = nil, nil
	return differences("", reflect.ValueOf(a), reflect.ValueOf(b))
}

// difference says which endpoints were added and removed, which keys of the others
// changed, and which plugins. Never a value: it may be a secret.
func difference(before, after *table) admin.Difference {
	a, b := flat(before.tenants), flat(after.tenants)
	var d admin.Difference
	for _, name := range union(a, b) {
		was, there := a[name]
		is, here := b[name]
		switch {
		case !there:
			d.Added = append(d.Added, name)
		case !here:
			d.Removed = append(d.Removed, name)
		default:
			if keys := differences("", was, is); len(keys) > 0 {
				d.Changed = append(d.Changed, admin.Change{Name: name, Keys: keys})
			}
		}
	}
	for i := range after.endpoints {
		e := &after.endpoints[i]
		of := name{e.Tenant, e.Name}
		old, there := before.routes[of]
		was, why := before.uses[of], after.missing(of)
		switch {
		case why != nil:
			if !there || old.Endpoint.PluginVersion != e.Plugin {
				d.Unable = append(d.Unable, of.String()+": "+why.Error())
			}
		case there && was == nil:
			d.Switched = append(d.Switched, admin.Switch{Endpoint: of.String(), From: "none", To: e.Plugin})
		case there && !slices.Equal(was, after.uses[of]):
			d.Switched = append(d.Switched, admin.Switch{Endpoint: of.String(), From: versions(was), To: versions(after.uses[of])})
		}
	}
	return d
}

// versions are those of a plugin and of the guards behind it.
func versions(all []*module) string {
	var out []string
	for _, m := range all {
		out = append(out, m.version)
	}
	return strings.Join(out, " + ")
}

// attrs are a difference for the log.
func attrs(d *admin.Difference) []any {
	var all []any
	add := func(word string, lines []string) {
		if len(lines) > 0 {
			all = append(all, word, lines)
		}
	}
	add("added", d.Added)
	add("removed", d.Removed)
	add("changed", linesOf(d.Changed))
	add("switched", linesOf(d.Switched))
	return all
}

func linesOf[T interface{ Line() string }](all []T) []string {
	var lines []string
	for _, one := range all {
		lines = append(lines, one.Line())
	}
	return lines
}

// flat are the tenants without their endpoints, "acme", and the endpoints,
// "acme/pay".
func flat(tenants map[string]config.Tenant) map[string]reflect.Value {
	all := make(map[string]reflect.Value)
	for tenant, t := range tenants {
		for endpoint, e := range t.Endpoints {
			all[tenant+"/"+endpoint] = reflect.ValueOf(e)
		}
		t.Endpoints = nil
		all[tenant] = reflect.ValueOf(t)
	}
	return all
}

func union[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// differences are the dotted keys under path at which two values of one type
// differ, in order. Secrets are compared by value.
func differences(path string, a, b reflect.Value) []string {
	if s, ok := a.Interface().(config.Secret); ok {
		other, _ := b.Interface().(config.Secret)
		return unless(s.Equal(other), path)
	}
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return unless(a.IsNil() == b.IsNil(), path)
		}
		return differences(path, a.Elem(), b.Elem())
	case reflect.Struct:
		return inFields(path, a, b)
	case reflect.Map:
		return inMaps(path, a, b)
	case reflect.Slice:
		same := a.Len() == b.Len()
		for i := 0; same && i < a.Len(); i++ {
			same = len(differences(path, a.Index(i), b.Index(i))) == 0
		}
		return unless(same, path)
	default:
		return unless(reflect.DeepEqual(a.Interface(), b.Interface()), path)
	}
}

// inFields compares structs by the keys of their fields. Those of a pointer
// stand beside its own, as in the file; a struct without keys is one value.
func inFields(path string, a, b reflect.Value) []string {
	var keys []string
	keyed := false
	for i := range a.NumField() {
		f := a.Type().Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || key == "" || key == "-" {
			continue
		}
		keyed = true
		below := join(path, key)
		if f.Type.Kind() == reflect.Pointer {
			below = path
		}
		keys = append(keys, differences(below, a.Field(i), b.Field(i))...)
	}
	if !keyed {
		return unless(reflect.DeepEqual(a.Interface(), b.Interface()), path)
	}
	return slices.Compact(keys)
}

func inMaps(path string, a, b reflect.Value) []string {
	names := make(map[string]bool)
	for _, m := range []reflect.Value{a, b} {
		for _, k := range m.MapKeys() {
			names[k.String()] = true
		}
	}
	var keys []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, is := a.MapIndex(reflect.ValueOf(name)), b.MapIndex(reflect.ValueOf(name))
		if !was.IsValid() || !is.IsValid() {
			keys = append(keys, join(path, name))
			continue
		}
		keys = append(keys, differences(join(path, name), was, is)...)
	}
	return keys
}

func unless(same bool, path string) []string {
	if same {
		return nil
	}
	return []string{path}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
