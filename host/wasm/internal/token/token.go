// Package token puts tokens into a callback that is being made, where a provider
// would.
package token

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/postern/postern/host"
)

// Put writes the first value of each token where its provider would. spoken are
// the texts that the signed ones speak for, by name. A token without a value is
// passed over; a signed one without a text is an error.
func Put(cb *host.Callback, tokens []host.Token, spoken map[string]string) error {
	for _, t := range tokens {
		if len(t.Values) == 0 {
			continue
		}
		value := string(t.Values[0])
		if t.Signed {
			text, said := spoken[t.Name]
			if !said {
				return fmt.Errorf("the plugin did not say what the signed token %s speaks for (out_token)", t.Name)
			}
			value = text + "." + host.SignToken(t.Values[0], text)
		}
		switch t.In {
		case host.InHeader:
			SetHeader(cb, t.Key, value)
		case host.InQuery:
			separator := "?"
			if strings.Contains(cb.Target, "?") {
				separator = "&"
			}
			retarget(cb, cb.Target+separator+url.QueryEscape(t.Key)+"="+url.QueryEscape(value))
		case host.InPath:
			retarget(cb, strings.TrimSuffix(cb.Target, "/")+"/"+value)
		case host.InAny: // of no manifest
		}
	}
	return nil
}

// retarget sets the target, and with it the end of the public URL.
func retarget(cb *host.Callback, target string) {
	if base, ends := strings.CutSuffix(cb.PublicURL, cb.Target); ends {
		cb.PublicURL = base + target
	}
	cb.Target = target
}

// SetHeader sets a header in place of any of that name.
func SetHeader(cb *host.Callback, name, value string) {
	cb.Headers = slices.DeleteFunc(cb.Headers, func(h host.Header) bool {
		return strings.EqualFold(h.Name, name)
	})
	cb.Headers = append(cb.Headers, host.Header{Name: name, Value: value})
}
