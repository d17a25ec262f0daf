package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/postern/postern/config"
)

// Reload serves the tenants of cfg in place of those served now, all or
// nothing: with an error nothing has changed. The error joins everything that
// is wrong, each with its path, and names the keys outside tenants that differ,
// since only another start takes those. Callbacks under way end with the
// endpoint they began with. Plugins that are served already are not read again;
// Reload blocks while it loads others. It is safe for concurrent use.
func (s *Server) Reload(ctx context.Context, cfg *config.Config) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	err := s.reload(ctx, cfg)
	s.metrics.Reloaded(err == nil)
	return err
}

// ReloadRefused counts a reload whose configuration could not even be read.
func (s *Server) ReloadRefused() { s.metrics.Reloaded(false) }

func (s *Server) reload(ctx context.Context, cfg *config.Config) error {
	if err := s.checkIntake(); err != nil {
		return fmt.Errorf("reload: the server is %w", err)
	}
	before := s.table.Load()
	after, err := newTable(ctx, cfg, s.runtime, before)
	if err := errors.Join(needsRestart(s.cfg, cfg), err); err != nil {
		return err
	}
	s.table.Store(after)
	s.log.Info("configuration reloaded", changes(before.tenants, after.tenants)...)
	return nil
}

// needsRestart names what differs outside the tenants.
func needsRestart(before, after *config.Config) error {
	a, b := *before, *after
	a.Tenants, b.Tenants = nil, nil
	keys := differences("", reflect.ValueOf(a), reflect.ValueOf(b))
	if len(keys) == 0 {
		return nil
	}
	return fmt.Errorf("changed, and taken by a restart only: %s", strings.Join(keys, ", "))
}

// changes says for the log which endpoints were added and removed, and which
// keys of the others changed. Never a value: it may be a secret.
func changes(before, after map[string]config.Tenant) []any {
	a, b := flat(before), flat(after)
	var added, removed, changed []string
	for _, name := range union(a, b) {
		was, there := a[name]
		is, here := b[name]
		switch {
		case !there:
			added = append(added, name)
		case !here:
			removed = append(removed, name)
		default:
			if keys := differences("", was, is); len(keys) > 0 {
				changed = append(changed, name+": "+strings.Join(keys, ", "))
			}
		}
	}
	var attrs []any
	for _, part := range []struct {
		word  string
		names []string
	}{{"added", added}, {"removed", removed}, {"changed", changed}} {
		if len(part.names) > 0 {
			attrs = append(attrs, part.word, part.names)
		}
	}
	return attrs
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
