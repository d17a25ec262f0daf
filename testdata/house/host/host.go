// Package host breaks a rule.
package host

import _ "github.com/google/uuid"
