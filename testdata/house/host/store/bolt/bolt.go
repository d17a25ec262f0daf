// Package bolt breaks a rule.
package bolt

import _ "github.com/postern/postern/host/store/storetest"
