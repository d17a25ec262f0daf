// Package server breaks a rule.
package server

import _ "github.com/postern/postern/server/cli"
