package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/postern/postern/server/admin"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
)

func (p *program) configDiff() *cobra.Command {
	c := &cobra.Command{
		Use:   "diff",
		Short: "Say what a reload of the running server would change",
		Long: `Asks the running server to read its configuration, the files of its secrets and
its plugins as on SIGHUP, and to change nothing: it says which tenants and
endpoints would be added, removed and changed, by which keys and never with a
value, which plugins would become another version, and what would be refused.

The exit code is that of diff: 0 if nothing differs, 1 if something does, 2 if
the files are wrong or nobody can be asked.`,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := p.difference(c)
			if err != nil {
				return troubleError{err}
			}
			return p.printDifference(&d)
		},
	}
	dataFlag(c)
	return c
}

// troubleError makes "config diff" end as diff does when it could not compare.
type troubleError struct{ error }

func (e troubleError) Unwrap() error { return e.error }

func (p *program) difference(c *cobra.Command) (admin.Difference, error) {
	at, err := p.place(c)
	if err != nil {
		return admin.Difference{}, err
	}
	cl := client.Socket(at.Dir)
	defer func() { _ = cl.Close() }()
	d, err := cl.Preview(c.Context())
	if client.Absent(err) {
		return d, fmt.Errorf("no server is running on %s%s", at.Dir, p.serveHint(c))
	}
	return d, err
}

func (p *program) printDifference(d *admin.Difference) error {
	var err error
	switch {
	case len(d.Problems) > 0:
		err = fmt.Errorf("a reload would be refused: %s", show.Count(len(d.Problems), "problem"))
	case len(d.Lines())+len(d.Restart) > 0:
		err = silentError{errors.New("the files differ from what is served")}
	}
	if p.asJSON {
		err = errors.Join(jsonLine(p.stdout, d), silently(err))
	} else {
		show.Difference(p.screen(), d)
		for _, line := range d.Problems {
			_, _ = fmt.Fprintln(p.stderr, "postern: "+screen.Clean(line))
		}
	}
	if len(d.Problems) > 0 {
		return troubleError{err}
	}
	return err
}

// silently is an error that everything is said of already; nil stays nil.
func silently(err error) error {
	if err == nil {
		return nil
	}
	return silentError{err}
}
