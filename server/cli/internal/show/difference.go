package show

import (
	"strings"

	"github.com/postern/postern/server/admin"
	"github.com/postern/postern/server/cli/internal/screen"
)

// Difference shows what a reload would change, and not why it would be refused.
func Difference(s *screen.Screen, d *admin.Difference) {
	t := screen.Table{Columns: []screen.Column{{Title: "CHANGE"}, {Title: "OF"}, {Title: "WHAT"}}}
	rows := 0
	row := func(word, of, what string) {
		t.Add(screen.Text(word), screen.Text(of), screen.Text(what))
		rows++
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
		row("switched", one.Endpoint, shortSum(one.From)+" -> "+shortSum(one.To))
	}
	for _, key := range d.Restart {
		row("restart", key, "")
	}
	switch {
	case rows > 0:
		t.Print(s)
	case len(d.Unable)+len(d.Problems) == 0:
		s.Printf("%s: the server has it all\n", s.Paint(screen.Good, "no difference"))
	}
	for _, text := range d.Unable {
		s.Printf("%s %s\n", s.Paint(screen.Odd, "without its plugin:"), screen.Clean(text))
	}
	if len(d.Restart) > 0 {
		s.Printf("\n%s what says restart is taken by one only\n", s.Paint(screen.Odd, "a reload would be refused:"))
	}
}

// shortSum is "ottu@0.1.0+0123456789ab" of "ottu@0.1.0+sha256:0123456789ab", of each of
// several: of two files of one version it tells which.
func shortSum(version string) string { return strings.ReplaceAll(version, "+sha256:", "+") }
