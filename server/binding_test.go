package server

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
)

// secrets are values that are bound under names.
func secrets(nameAndText ...string) map[string][]config.Secret {
	all := make(map[string][]config.Secret)
	for i := 0; i < len(nameAndText); i += 2 {
		all[nameAndText[i]] = append(all[nameAndText[i]], config.NewSecret(nameAndText[i+1]))
	}
	return all
}

func TestBinding(t *testing.T) {
	t.Parallel()
	var (
		key    = wasm.Secret{Name: "hmac-key", Use: "hmac-sha256", Form: "utf8", Optional: true}
		needed = wasm.Secret{Name: "api-key", Use: "token", In: "header:X-Api-Key"}
		static = wasm.Secret{Name: "path-token", Use: "token", In: "path", Optional: true}
		signed = wasm.Secret{Name: "path-key", Use: "signed-token", In: "path", Form: "utf8", Optional: true}
		token  = []config.Secret{config.NewSecret("test-new"), config.NewSecret("test-old")}
	)
	for _, c := range []struct {
		name     string
		declared []wasm.Secret
		endpoint config.Endpoint
		secrets  map[string][]string
		own      *host.Token
		problem  string
	}{
		{
			name: "the token is the declared one's value, whatever its name", declared: []wasm.Secret{key, static, signed},
			endpoint: config.Endpoint{Token: token}, secrets: map[string][]string{"path-token": {"test-new", "test-old"}},
		},
		{
			name: "the token is the endpoint's own", declared: []wasm.Secret{key, signed},
			endpoint: config.Endpoint{Token: token, Secrets: secrets("hmac-key", "test-a", "hmac-key", "test-b")},
			secrets:  map[string][]string{"hmac-key": {"test-a", "test-b"}},
			own:      &host.Token{Name: "path", In: host.InPath, Values: [][]byte{[]byte("test-new"), []byte("test-old")}},
		},
		{
			name: "no token", declared: []wasm.Secret{key, static}, endpoint: config.Endpoint{Secrets: secrets("path-token", "test-a")},
			secrets: map[string][]string{"path-token": {"test-a"}},
		},
		{
			name: "a token and the same as a secret", declared: []wasm.Secret{static},
			endpoint: config.Endpoint{Token: token, Secrets: secrets("path-token", "test-a")}, secrets: map[string][]string{"path-token": {"test-a"}},
			problem: "token: the path's last segment is the secret path-token already (leave token or secrets.path-token out)",
		},
		{
			name: "a token and a signed one", declared: []wasm.Secret{static, signed},
			endpoint: config.Endpoint{Token: token, Secrets: secrets("path-key", "test-a")}, secrets: map[string][]string{"path-key": {"test-a"}},
			problem: "token: the path's last segment is the secret path-key already (leave token or secrets.path-key out)",
		},
		{
			name: "nothing bound", declared: []wasm.Secret{static, key}, secrets: map[string][]string{},
			problem: "nothing is bound to verify with (set token, or one of secrets path-token, hmac-key)",
		},
		{
			name: "nothing bound and nothing declared", secrets: map[string][]string{},
			problem: "nothing is bound to verify with (set token)",
		},
		{name: "nothing bound, and the plugin asks for one by itself", declared: []wasm.Secret{key, needed}, secrets: map[string][]string{}},
		{
			name: "nothing bound, and nothing asked for", declared: []wasm.Secret{key},
			endpoint: config.Endpoint{Verification: config.None}, secrets: map[string][]string{},
		},
	} {
		m := &wasm.Manifest{Secrets: c.declared}
		got, err := Binding(m, &c.endpoint)
		if diff := cmp.Diff(c.secrets, got.Secrets); diff != "" {
			t.Errorf("%s: secrets (-want +got):\n%s", c.name, diff)
		}
		problem := ""
		if err != nil {
			problem = err.Error()
		}
		if problem != c.problem {
			t.Errorf("%s: problem = %q, want %q", c.name, problem, c.problem)
		}
		if c.problem != "" {
			continue
		}
		if diff := cmp.Diff(c.own, ownToken(m, &c.endpoint)); diff != "" {
			t.Errorf("%s: the endpoint's own token (-want +got):\n%s", c.name, diff)
		}
	}
}
