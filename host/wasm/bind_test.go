package wasm

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/postern/postern/host"
)

// TestBind_reportsEverything: one start tells an operator all that is to be
// mended, each with its place and never with a secret.
func TestBind_reportsEverything(t *testing.T) {
	manifest := `{"name":"m","version":"0.1.0","secrets":[
		{"name":"a","summary":"the signing key","use":"hmac-sha256","form":"hex"},
		{"name":"b","summary":"the other key","use":"hmac-sha256","form":"whsec"},
		{"name":"c","summary":"a token","use":"token","in":"path"},
		{"name":"d","summary":"not needed","use":"hmac-sha1","form":"utf8","optional":true}],
		"settings":{"type":"object","properties":{"n":{"type":"integer","minimum":1}},"additionalProperties":false}}`
	m, err := newRuntime(t, Options{}).Load(t.Context(), write(t, packed(t, "counter", manifest)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Bind(Binding{
		Secrets:  map[string][]string{"a": {"not-hex", "", "00ff"}, "b": {"whsec_"}, "x": {"hidden"}},
		Settings: map[string]any{"n": 0, "zz": true},
	})
	if err == nil {
		t.Fatal("Bind takes it")
	}
	for _, want := range []string{
		"secrets.a[0]: is not hexadecimal text (its form is hex)", "secrets.a[1]: is empty", "secrets.b: decodes to an empty key",
		"secrets.c: is not set (a token)", "secrets.x: the plugin m does not use it (it uses a, b, c, d)",
		"settings.n: minimum: got 0, want 1", "zz",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error\n%v\ndoes not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "not-hex") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("a secret stands in the error: %v", err)
	}
	p, err := m.Bind(Binding{Secrets: map[string][]string{"a": {"00ff"}, "b": {"whsec_AAAA"}, "c": {"test-token-of-today", "test-token-of-old"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Tokens(); len(got) != 1 || got[0].In != host.InPath || len(got[0].Values) != 2 {
		t.Errorf("tokens = %+v, want one in the path with two values", got)
	}
}

func TestLog_isCapped(t *testing.T) {
	var log bytes.Buffer
	d := drive(t, "[]", Binding{}, callback(""))
	d.in.module.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	d.in.api.Memory().Grow(4)
	for range 10 * maxLines {
		d.do("log", 0, strings.Repeat("x", 4*maxLine))
	}
	if got := strings.Count(log.String(), "plugin says"); got != maxLines {
		t.Errorf("%d lines, want %d", got, maxLines)
	}
	if got := strings.Count(log.String(), "x"); got != maxLines*maxLine {
		t.Errorf("%d bytes, want %d", got, maxLines*maxLine)
	}
}
