// Postern takes in the callbacks of many providers, verifies each one, keeps
// what it says and hands it on. This file is the door; see server/cli.
package main

import (
	"os"

	"github.com/postern/postern/server/cli"
)

// version is set by the linker (-X main.version=…).
var version string

func main() {
	os.Exit(cli.Main(cli.Call{
		Name: os.Args[0], Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Environ: os.Environ(), Version: version,
	}))
}
