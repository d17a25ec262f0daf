package config

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern/postern/config/internal/where"
	"github.com/postern/postern/host"
)

// decoder fills structs from what was parsed. It is not mapstructure because
// that drops a map's element, with everything else that is wrong in it, at its
// first error, and cannot report a key nobody knows beside one.
type decoder struct {
	*problems
	lookup func(string) (string, bool)
	// files are those that secrets were read from, or could not be.
	files map[string]bool
}

// name is the form of all names: they stand in URLs, file names and metrics.
var name = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

const (
	mustBeMapping = "must be a mapping"
	indentKeys    = "write its keys below it, indented"
)

const nameForm = "1 to 63 of a-z, 0-9 and -, not beginning with -"

// CheckName says what is wrong with a name of a tenant, an endpoint or a sink;
// nil if nothing is.
func CheckName(text string) error {
	if name.MatchString(text) {
		return nil
	}
	return fmt.Errorf("%q is not the form of a name (%s)", text, nameForm)
}

// fields are the keys of a struct and where their values go. Pointers are left
// out: they are a sink's own settings, which stand beside the common ones.
func fields(v reflect.Value) iter.Seq2[string, reflect.Value] {
	return func(yield func(string, reflect.Value) bool) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() || f.Type.Kind() == reflect.Pointer {
				continue
			}
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if key == "-" {
				continue
			}
			if !yield(key, v.Field(i)) {
				return
			}
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// mapping decodes one level into the structs that share it. With strict a key
// that none of them has is a problem.
func (d *decoder) mapping(path string, raw map[string]any, strict bool, parts ...reflect.Value) {
	known := map[string]reflect.Value{}
	for _, p := range parts {
		maps.Insert(known, fields(p))
	}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		to, ok := known[key]
		switch {
		case ok:
			d.decode(join(path, key), raw[key], to)
		case strict:
			d.add(join(path, key), "unknown key", suggest(key, slices.Collect(maps.Keys(known))))
		}
	}
}

// decode fills to, which keeps its default if raw does not fit.
func (d *decoder) decode(path string, raw any, to reflect.Value) {
	if convert := d.leaf(to.Addr().Interface()); convert != nil {
		d.scalar(path, raw, convert)
		return
	}
	if to.Kind() == reflect.Slice {
		d.list(path, raw, to)
		return
	}
	level, ok := raw.(map[string]any)
	if !ok && raw != nil {
		d.add(path, mustBeMapping, indentKeys)
		return
	}
	switch {
	case to.Type() == reflect.TypeFor[Sink]():
		d.sink(path, level, to.Addr().Interface().(*Sink))
	case to.Kind() == reflect.Struct:
		d.mapping(path, level, true, to)
	default:
		d.byName(path, level, to)
	}
}

// list decodes a list of levels.
func (d *decoder) list(path string, raw any, to reflect.Value) {
	list, ok := raw.([]any)
	if !ok && raw != nil {
		d.add(path, "must be a list", "write each element below it, indented, with - before it")
		return
	}
	out := reflect.MakeSlice(to.Type(), len(list), len(list))
	for i, elem := range list {
		d.decode(join(path, strconv.Itoa(i)), elem, out.Index(i))
	}
	to.Set(out)
}

// byName decodes a map whose keys are names.
func (d *decoder) byName(path string, raw map[string]any, to reflect.Value) {
	out := reflect.MakeMap(to.Type())
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		at := join(path, key)
		if !name.MatchString(key) {
			d.add(at, "is not the form of a name", nameForm)
		}
		elem := reflect.New(to.Type().Elem()).Elem()
		if e, ok := elem.Addr().Interface().(*Endpoint); ok {
			*e = defaultEndpoint()
		}
		d.decode(at, raw[key], elem)
		out.SetMapIndex(reflect.ValueOf(key), elem)
	}
	to.Set(out)
}

// sink decodes the common settings of a sink and, beside them, those of its type.
func (d *decoder) sink(path string, raw map[string]any, to *Sink) {
	kind, _ := raw["type"].(string)
	*to = defaultSink(kind)
	parts := []reflect.Value{reflect.ValueOf(to).Elem()}
	switch {
	case to.File != nil:
		parts = append(parts, reflect.ValueOf(to.File).Elem())
	case to.Stdout != nil:
		parts = append(parts, reflect.ValueOf(to.Stdout).Elem())
	case to.NATS != nil:
		parts = append(parts, reflect.ValueOf(to.NATS).Elem())
	case to.Postgres != nil:
		parts = append(parts, reflect.ValueOf(to.Postgres).Elem())
	case to.Webhook != nil:
		parts = append(parts, reflect.ValueOf(to.Webhook).Elem())
	}
	// Without a known type nobody can say which other keys belong here.
	d.mapping(path, raw, len(parts) > 1, parts...)
	d.condition(path+".filter.where", to)
}

// condition compiles the expression of a filter.
func (d *decoder) condition(path string, to *Sink) {
	if to.Filter.Where == "" {
		return
	}
	c, err := where.Compile(to.Filter.Where)
	var wrong *where.Error
	if errors.As(err, &wrong) {
		fix := wrong.Fix
		switch {
		case wrong.Unknown != "":
			fix = suggest(wrong.Unknown, where.Names())
		case fix == "":
			fix = `write it like type == "payment.succeeded" && data.amount.minor > 5000, see docs/events.md`
		}
		d.add(path, err.Error(), fix)
		return
	}
	to.condition = c.Test
	to.Filter.Test = to.Want(func(error) {}).Test
}

// scalar reports what convert has against raw.
func (d *decoder) scalar(path string, raw any, convert func(string, any) (problem, fix string)) {
	if problem, fix := convert(path, raw); problem != "" {
		d.add(path, problem, fix)
	}
}

// leaf returns what fills to, or nil if to is a level of its own. Values from
// the environment and from flags are text, so every type takes text.
func (d *decoder) leaf(to any) func(path string, raw any) (problem, fix string) {
	switch to := to.(type) {
	case *[]Secret:
		return func(path string, raw any) (string, string) { return d.secrets(path, raw, to) }
	case *map[string]Secret:
		return func(path string, raw any) (string, string) { return d.headers(path, raw, to) }
	case *Secret:
		return func(path string, raw any) (string, string) { return d.one(path, raw, to) }
	case *[]string:
		return func(path string, raw any) (string, string) { return d.texts(path, raw, to) }
	case *[]netip.Prefix:
		return func(path string, raw any) (string, string) { return d.prefixes(path, raw, to) }
	case *map[string]any:
		return func(_ string, raw any) (string, string) { return settings(raw, to) }
	}
	convert := textLeaf(to)
	if convert == nil {
		convert = otherLeaf(to)
	}
	if convert == nil {
		return nil
	}
	return func(_ string, raw any) (string, string) {
		if raw == nil {
			return "has no value", "give it one, or remove the line to have the default"
		}
		return convert(raw)
	}
}

type converter func(raw any) (problem, fix string)

func textLeaf(to any) converter {
	switch to := to.(type) {
	case *string:
		return func(raw any) (string, string) { return text(raw, to) }
	case *host.From:
		return func(raw any) (string, string) { return text(raw, (*string)(to)) }
	case *host.Order:
		return func(raw any) (string, string) { return text(raw, (*string)(to)) }
	case *slog.Level:
		return func(raw any) (string, string) { return level(raw, to) }
	case *time.Duration:
		return func(raw any) (string, string) { return duration(raw, to) }
	}
	return nil
}

func otherLeaf(to any) converter {
	switch to := to.(type) {
	case *bool:
		return func(raw any) (string, string) { return boolean(raw, to) }
	case *int:
		return func(raw any) (string, string) { return whole(raw, to) }
	case *float64:
		return func(raw any) (string, string) { return number(raw, to) }
	case *Size:
		return func(raw any) (string, string) { return size(raw, to) }
	}
	return nil
}

func text(raw any, to *string) (problem, fix string) {
	s, ok := raw.(string)
	if !ok {
		return "must be text", "put the value in quotes"
	}
	*to = s
	return "", ""
}

func level(raw any, to *slog.Level) (problem, fix string) {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	s, _ := raw.(string)
	l, ok := levels[strings.ToLower(s)]
	if !ok {
		return fmt.Sprintf("%q is no level", s), suggest(s, slices.Collect(maps.Keys(levels)))
	}
	*to = l
	return "", ""
}

func boolean(raw any, to *bool) (problem, fix string) {
	switch raw {
	case true, "true":
		*to = true
	case false, "false":
		*to = false
	default:
		return "is neither true nor false", "write true or false"
	}
	return "", ""
}

func whole(raw any, to *int) (problem, fix string) {
	n, ok := raw.(int)
	if s, isText := raw.(string); isText {
		var err error
		n, err = strconv.Atoi(s)
		ok = err == nil
	}
	if !ok {
		return "is no whole number", "write it in digits, without a unit"
	}
	*to = n
	return "", ""
}

// number takes a whole number or a fraction, in digits.
func number(raw any, to *float64) (problem, fix string) {
	var f float64
	ok := true
	switch raw := raw.(type) {
	case int:
		f = float64(raw)
	case float64:
		f = raw
	case string:
		var err error
		f, err = strconv.ParseFloat(raw, 64)
		ok = err == nil
	default:
		ok = false
	}
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		return "is no number", "write it in digits, without a unit: 10 or 0.5"
	}
	*to = f
	return "", ""
}

func size(raw any, to *Size) (problem, fix string) {
	if n, ok := raw.(int); ok {
		*to = Size(n)
		return "", ""
	}
	s, ok := raw.(string)
	if !ok || to.UnmarshalText([]byte(s)) != nil {
		return fmt.Sprintf("%q is no size", fmt.Sprint(raw)), "write a number of bytes, or one with KiB, MiB or GiB: 512KiB, 1MiB"
	}
	return "", ""
}

func duration(raw any, to *time.Duration) (problem, fix string) {
	if n, ok := raw.(int); ok {
		return fmt.Sprintf("%d has no unit", n), fmt.Sprintf("write %ds for seconds", n)
	}
	s, _ := raw.(string)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err == nil {
			*to = time.Duration(n) * day
			return "", ""
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Sprintf("%q is no duration", fmt.Sprint(raw)), "write a number with ms, s, m, h or d: 250ms, 5s, 7d"
	}
	*to = v
	return "", ""
}

// spell is a duration as one writes it: whole days as such.
func spell(d time.Duration) string {
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// settings takes a plugin's settings as they are.
func settings(raw any, to *map[string]any) (problem, fix string) {
	m, ok := raw.(map[string]any)
	if !ok && raw != nil {
		return mustBeMapping, indentKeys
	}
	*to = m
	return "", ""
}

// texts takes a list, one text, or several with commas between them. [] is an empty
// list, in the environment and in flags as well.
func (d *decoder) texts(path string, raw any, to *[]string) (problem, fix string) {
	if s, ok := raw.(string); ok {
		*to = nil
		if s == "[]" {
			return "", ""
		}
		for part := range strings.SplitSeq(s, ",") {
			*to = append(*to, strings.TrimSpace(part))
		}
		return "", ""
	}
	list, ok := raw.([]any)
	if !ok {
		return "must be a list", "write [a, b]"
	}
	*to = make([]string, len(list))
	for i, elem := range list {
		at := join(path, strconv.Itoa(i))
		d.scalar(at, elem, func(_ string, raw any) (string, string) { return text(raw, &(*to)[i]) })
	}
	return "", ""
}

// prefixes takes what texts takes. An empty text is not an empty list: a
// variable that was never set would open a door to everybody.
func (d *decoder) prefixes(path string, raw any, to *[]netip.Prefix) (problem, fix string) {
	if raw == "" {
		return "is empty", "write [] for an empty list"
	}
	*to = nil
	var list []string
	if problem, fix = d.texts(path, raw, &list); problem != "" {
		return problem, fix
	}
	for i, s := range list {
		at := join(path, strconv.Itoa(i))
		if d.below(at) {
			continue // no text
		}
		if len(list) == 1 {
			at = path
		}
		p, problem, fix := prefix(s)
		if problem != "" {
			d.add(at, problem, fix)
			continue
		}
		*to = append(*to, p)
	}
	return "", ""
}

// prefix is an address, or the first of a range with its length.
func prefix(s string) (p netip.Prefix, problem, fix string) {
	const forms = "write an address like 192.0.2.7, or a range like 192.0.2.0/24 or 2001:db8::/32"
	p, err := netip.ParsePrefix(s)
	if addr, one := netip.ParseAddr(s); one == nil {
		p, err = netip.PrefixFrom(addr.WithZone(""), addr.BitLen()), nil
		if addr.Zone() != "" {
			return p, fmt.Sprintf("%q has a zone, which names no other machine", s), forms
		}
	}
	switch {
	case err != nil:
		return p, fmt.Sprintf("%q is neither an address nor a range", s), forms
	case p.Addr().Is4In6():
		return p, fmt.Sprintf("%q is IPv4 written as IPv6, which no client's address is", s), "write it as IPv4"
	case p.Masked() != p:
		return p, fmt.Sprintf("%q has bits set behind its length", s), "write " + p.Masked().String() + ", or the address alone"
	}
	return p, "", ""
}

// secrets takes one secret or a list of them. The problems name no value.
func (d *decoder) secrets(path string, raw any, to *[]Secret) (problem, fix string) {
	list, ok := raw.([]any)
	if !ok {
		var s Secret
		problem, fix = d.secret(raw, &s)
		if problem == "" {
			s.plain = s.plain && d.origin[path] == ""
			*to = []Secret{s}
		}
		return problem, fix
	}
	if len(list) == 0 {
		return "is an empty list", "give it a value, or remove the line"
	}
	for i, elem := range list {
		d.scalar(join(path, strconv.Itoa(i)), elem, func(_ string, raw any) (string, string) {
			var s Secret
			problem, fix := d.secret(raw, &s)
			if problem == "" {
				*to = append(*to, s)
			}
			return problem, fix
		})
	}
	return "", ""
}

// headers takes one secret for each name, which is not of the form of ours.
func (d *decoder) headers(path string, raw any, to *map[string]Secret) (problem, fix string) {
	level, ok := raw.(map[string]any)
	if !ok {
		return mustBeMapping, indentKeys
	}
	*to = make(map[string]Secret, len(level))
	for _, key := range slices.Sorted(maps.Keys(level)) {
		at := join(path, key)
		d.scalar(at, level[key], func(_ string, raw any) (string, string) {
			var s Secret
			problem, fix := d.secret(raw, &s)
			s.plain = s.plain && d.origin[at] == ""
			(*to)[key] = s
			return problem, fix
		})
	}
	return "", ""
}

// one takes one secret, where there is nothing to rotate through. An empty text
// is none.
func (d *decoder) one(path string, raw any, to *Secret) (problem, fix string) {
	if raw == "" {
		*to = Secret{}
		return "", ""
	}
	if problem, fix = d.secret(raw, to); problem == "" {
		to.plain = to.plain && d.origin[path] == ""
	}
	return problem, fix
}

func (d *decoder) secret(raw any, to *Secret) (problem, fix string) {
	const forms = "write env:NAME, file:/path or value:text"
	if raw == nil {
		return "is empty", forms
	}
	s, ok := raw.(string)
	if !ok {
		return "must be text", "put the value in quotes: digits alone would be read as a number"
	}
	if file, ok := strings.CutPrefix(s, "file:"); ok {
		d.files[file] = true
	}
	secret, err := resolve(s, d.lookup)
	var unset unsetError
	switch {
	case errors.As(err, &unset):
		return err.Error(), "export " + string(unset) + " where postern starts, or write file:/path"
	case err != nil:
		return err.Error(), forms
	}
	*to = secret
	return "", ""
}
