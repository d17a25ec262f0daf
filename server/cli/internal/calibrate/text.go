package calibrate

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// advice is for who finds nothing.
const advice = `
Look whether
  - the secret is the one that this callback was made with, whole and as given
  - the callback is as it came, byte for byte: not laid out, cut or decoded
  - it has what the plugin verifies, and is of this provider at all
`

// several says what it means that more than one combination fits.
const several = `
Nothing in what was captured tells these apart: each is right for it. Another
callback, given by a further --callback, may leave fewer. If not, the plugin's
README says which to prefer.
`

// Title is the report in one line.
func (r *Report) Title() string {
	found := fmt.Sprintf("%d verify", len(r.Fits))
	switch len(r.Fits) {
	case 0:
		found = "none verifies"
	case 1:
		found = "1 verifies"
	}
	return fmt.Sprintf("%d combinations of %s tried: %s the callback", r.Tried, list(r.Settings), found)
}

// Text is the rest of the report, for people: the combinations that fit as they
// are put into the configuration. Verbose names those that cannot be tried. The
// text is not safe for a terminal: the plugin's reasons stand in it.
func (r *Report) Text(verbose bool) string {
	var b strings.Builder
	if verbose || len(r.Fits) == 0 {
		r.unfit(&b, verbose)
	}
	for i, settings := range r.Fits {
		b.WriteString("\n")
		if len(r.Fits) > 1 {
			fmt.Fprintf(&b, "# %d of %d\n", i+1, len(r.Fits))
		}
		b.WriteString("settings:\n")
		for _, name := range r.Settings {
			fmt.Fprintf(&b, "  %s: %s\n", name, yaml(settings[name]))
		}
	}
	switch len(r.Fits) {
	case 0:
		b.WriteString(advice)
	case 1:
	default:
		b.WriteString(several)
	}
	return b.String()
}

// unfit says why combinations do not fit, each reason with how many they are.
func (r *Report) unfit(b *strings.Builder, verbose bool) {
	for _, why := range slices.Sorted(maps.Keys(r.Rejected)) {
		fmt.Fprintf(b, "  %4d rejected: %s\n", r.Rejected[why], why)
	}
	refused := make(map[string][]Settings)
	for _, one := range r.Refused {
		refused[one.Reason] = append(refused[one.Reason], one.Settings)
	}
	for _, why := range slices.Sorted(maps.Keys(refused)) {
		fmt.Fprintf(b, "  %4d impossible: %s\n", len(refused[why]), why)
		for _, settings := range refused[why] {
			if verbose {
				fmt.Fprintf(b, "       %s\n", r.inline(settings))
			}
		}
	}
}

// inline is a combination on one line.
func (r *Report) inline(settings Settings) string {
	words := make([]string, len(r.Settings))
	for i, name := range r.Settings {
		words[i] = name + "=" + settings[name]
	}
	return strings.Join(words, " ")
}

// list is "a, b and c".
func list(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// What YAML reads as the text that it looks like, but for the words that it
// takes for something else.
var (
	plainYAML = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)
	wordYAML  = regexp.MustCompile(`^(?i:null|true|false|yes|no|on|off|y|n)$`)
)

// yaml is a text as a value in YAML.
func yaml(text string) string {
	if plainYAML.MatchString(text) && !wordYAML.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}
