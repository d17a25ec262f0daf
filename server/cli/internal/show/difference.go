package show

import (
	"strings"

	"github.com/postern/postern/server/admin"
	"github.com/postern/postern/server/cli/internal/screen"
)

// Difference shows what a reload would change, a line each, and what it could not.
func Difference(s *screen.Screen, d *admin.Difference) {
	t := screen.Table{Columns: []screen.Column{{Title: "CHANGE"}, {Title: "OF"}, {Title: "WHAT"}}}
	rows := 0
	row := func(word, of, what string) {
		rows++
		t.Add(screen.Text(word), screen.Text(of), screen.Text(what))
	}
	for _, name := range d.Added {
		row("added", name, "")
	}
	for _, name := range d.Removed {
		row("removed", name, "")
	}
	for _, c := range d.Changed {
		for _, key := range c.Keys {
			row("changed", c.Name, key)
		}
	}
	for _, one := range d.Switched {
		row("switched", one.Endpoint, shortSums(one.From)+" -> "+shortSums(one.To))
	}
	for _, key := range d.Restart {
		row("restart", key, "")
	}
	if rows > 0 {
		t.Print(s)
	}
	for _, text := range d.Unable {
		s.Printf("%s %s\n", s.Paint(screen.Odd, "without its plugin:"), screen.Clean(text))
	}
	if len(d.Restart) > 0 {
		s.Printf("\n%s %s\n", s.Paint(screen.Odd, "a reload would be refused:"), "what says restart is taken by one only")
	}
}

// shortSums is "ottu@0.1.0+0123456789ab" of "ottu@0.1.0+sha256:0123456789ab": of two
// files of one version it tells which.
func shortSums(versions string) string { return strings.ReplaceAll(versions, "+sha256:", "+") }
