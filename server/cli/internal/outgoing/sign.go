package outgoing

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/postern/postern/host"
)

// Sign has the plugin sign a callback. Some providers put their signature into
// the body, and a recorded callback has one already: where the plugin refuses
// to sign, the first of the body's members without which it does is left out,
// from the last on.
func Sign(ctx context.Context, plugin Signer, cb *host.Callback) (*host.Callback, error) {
	signed, err := plugin.Sign(ctx, cb)
	if err == nil {
		return signed, nil
	}
	members := membersOf(cb.Body)
	for i := len(members) - 1; i >= 0; i-- {
		less := *cb
		less.Body = joined(slices.Delete(slices.Clone(members), i, i+1))
		if signed, lessErr := plugin.Sign(ctx, &less); lessErr == nil {
			return signed, nil
		}
	}
	return nil, err
}

// Signer is what [wasm.Plugin] is to a sender.
type Signer interface {
	Sign(ctx context.Context, cb *host.Callback) (*host.Callback, error)
}

// membersOf are the members of a JSON object as they stand, "name":value; none
// if body is nothing of the kind.
func membersOf(body []byte) [][]byte {
	dec := json.NewDecoder(bytes.NewReader(body))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	var members [][]byte
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil
		}
		members = append(members, slices.Concat(quoted, []byte(":"), value))
	}
	return members
}

func joined(members [][]byte) []byte {
	return slices.Concat([]byte("{"), bytes.Join(members, []byte(",")), []byte("}"))
}
