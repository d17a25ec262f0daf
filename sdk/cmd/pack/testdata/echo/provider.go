// Command echo is the plugin that the tests of pack build.
package main

import postern "github.com/postern/postern/sdk"

func init() { postern.Register(postern.Plugin{Handle: handle}) }

func main() {}

func handle(cb *postern.Callback) postern.Verdict { return cb.Ignore("echo") }
