// Command house breaks a rule.
package main

import _ "github.com/postern/postern/sdk"

func main() {}
