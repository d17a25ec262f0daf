package nats

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/postern/postern/host"
)

// DefaultSubject is the template of an empty [Config.Subject].
const DefaultSubject = "postern.{tenant}.{provider}.{type}"

// maxTemplate keeps a subject, with all that stands for its placeholders, well
// below the 4 KiB that a server reads of a line.
const maxTemplate = 255

// template is a subject with placeholders.
type template string

var (
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
	// literal is what may stand in a template beside placeholders.
	literal = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

func parseTemplate(text string) (template, error) {
	if text == "" {
		text = DefaultSubject
	}
	if len(text) > maxTemplate {
		return "", fmt.Errorf("subject: has %d characters, the limit is %d", len(text), maxTemplate)
	}
	for _, p := range placeholder.FindAllString(text, -1) {
		switch p {
		case "{tenant}", "{endpoint}", "{provider}", "{type}":
		default:
			return "", fmt.Errorf("subject: %s is unknown; use {tenant}, {endpoint}, {provider} and {type}", p)
		}
	}
	if !literal.MatchString(placeholder.ReplaceAllString(text, "x")) {
		return "", errors.New("subject: must be tokens of A-Z, a-z, 0-9, - and _ with dots between them, like " + DefaultSubject)
	}
	return template(text), nil
}

// of is the subject of an event.
func (t template) of(ev *host.Event) string {
	return strings.NewReplacer(
		"{tenant}", token(ev.Tenant), "{endpoint}", token(ev.Endpoint),
		"{provider}", token(ev.Provider), "{type}", levels(ev.Type),
	).Replace(string(t))
}

// levels are the parts of a type, a token each.
func levels(kind string) string {
	parts := strings.Split(kind, ".")
	for i, p := range parts {
		parts[i] = token(p)
	}
	return strings.Join(parts, ".")
}

// token is text as one token of a subject.
func token(text string) string {
	if text == "" {
		return "%"
	}
	return escape(text, func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	})
}

// escape writes every byte that is not plain as "%" and two hexadecimal digits.
func escape(text string, plain func(byte) bool) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; plain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
