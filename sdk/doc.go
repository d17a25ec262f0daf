// Package postern is the SDK for Postern's plugins: it lets a provider's
// plugin judge one callback, prove it and say which events it carries. It is
// used by the plugins only; the host shares no code with it.
//
// A plugin is a main package with one handler:
//
//	package main
//
//	import postern "github.com/postern/postern/sdk"
//
//	func init() { postern.Register(postern.Plugin{Handle: handle}) }
//
//	func main() {}
//
//	func handle(cb *postern.Callback) postern.Verdict {
//		body, err := cb.JSON()
//		if err != nil {
//			return cb.Reject(postern.Malformed, "body is not JSON")
//		}
//		signature := cb.Header("X-Signature")
//		proof, ok := cb.Signed("hmac-key").Body().Check(signature, postern.Hex)
//		if !ok {
//			return cb.Reject(postern.NotVerified, "X-Signature does not match")
//		}
//		cb.Event(proof).
//			Type("payment.succeeded").
//			Subject(body.Text("/id")).
//			Key(body.Text("/id"), body.Text("/status")).
//			ProviderData(body, "")
//		return cb.Accept()
//	}
//
// Setters need no error check: the first failure sticks to the callback, and
// [Callback.Accept] then rejects it as malformed, naming the field.
//
// The handler is called once for each callback, in a sandbox that remembers
// nothing of the last call, with neither network, files, environment nor
// randomness. It must not start goroutines. Packages fmt, time and
// encoding/json work there but cost more than all the rest together; the host
// parses bodies and times for the plugin.
package postern
