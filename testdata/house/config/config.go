// Package config breaks a rule.
package config

import _ "github.com/postern/postern/host/dispatch"
