package outgoing

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/postern/postern/host"
)

// fussy signs nothing that has the member "signature".
type fussy struct{}

var errFussy = errors.New("signed already")

// Sign implements Signer.
func (fussy) Sign(_ context.Context, cb *host.Callback) (*host.Callback, error) {
	if bytes.Contains(cb.Body, []byte(`"signature"`)) || !bytes.HasPrefix(cb.Body, []byte("{")) {
		return nil, errFussy
	}
	out := *cb
	out.Body = append(bytes.Clone(cb.Body), " signed"...)
	return &out, nil
}

func TestSign_takesOutAnOldSignature(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":1.50,"b":{"c":"<"}}`:             `{"a":1.50,"b":{"c":"<"}} signed`,
		`{"a":1.50,"signature":"x","b":[1,2]}`: `{"a":1.50,"b":[1,2]} signed`,
		`{"signature":"x"}`:                    `{} signed`,
	} {
		got, err := Sign(t.Context(), fussy{}, &host.Callback{Body: []byte(in)})
		if err != nil || string(got.Body) != want {
			t.Errorf("Sign(%s) = %v, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{`["signature"]`, `{"a":{"signature":1},"signature":2}`, `{"signature"`} {
		if _, err := Sign(t.Context(), fussy{}, &host.Callback{Body: []byte(in)}); !errors.Is(err, errFussy) {
			t.Errorf("Sign(%s) = %v, want the plugin's own error", in, err)
		}
	}
}
