package cli

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
)

func (p *program) quarantineCommand() *cobra.Command {
	c := group("quarantine", "See what was refused, kept or held; run it again, or release it",
		p.quarantineList(), p.quarantineShow(), p.quarantineRetry(), p.quarantineRelease(), p.quarantineDiscard())
	dataFlag(c)
	return c
}

// wantedFlags are the flags that choose callbacks in quarantine.
func wantedFlags(c *cobra.Command, w *client.Wanted) {
	c.Flags().StringVar(&w.Tenant, "tenant", "", "only callbacks of this tenant")
	c.Flags().StringVar(&w.Endpoint, "endpoint", "", "only callbacks of this `endpoint`; tenant/endpoint names both")
	c.Flags().StringVar(&w.Reason, "reason", "", "only callbacks that are there for this `reason`; \"kept\" and \"held\" are two")
}

// split takes an endpoint apart that is written with its tenant.
func split(w *client.Wanted) error {
	tenant, endpoint, both := strings.Cut(w.Endpoint, "/")
	if !both {
		return nil
	}
	if w.Tenant != "" && w.Tenant != tenant {
		return usageError{fmt.Errorf("--tenant %s and --endpoint %s name two tenants", w.Tenant, w.Endpoint)}
	}
	w.Tenant, w.Endpoint = tenant, endpoint
	return nil
}

func (p *program) quarantineList() *cobra.Command {
	var w client.Wanted
	var limit int
	c := &cobra.Command{
		Use:   "list",
		Short: "List callbacks in quarantine, the oldest first",
		Args:  takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError{fmt.Errorf("--limit %d: must be 1 or more", limit)}
			}
			if err := split(&w); err != nil {
				return err
			}
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			all, err := cl.Quarantine(c.Context(), w, limit)
			if err != nil {
				return err
			}
			if p.asJSON {
				return jsonLines(p, all)
			}
			s := p.screen()
			show.Quarantine(s, p.now(), all)
			if len(all) > 0 {
				s.Printf("\n")
				s.Command("look at one: ", p.onward(c, "quarantine", "show", all[0].ID))
			}
			return nil
		},
	}
	wantedFlags(c, &w)
	c.Flags().IntVar(&limit, "limit", 100, "the most callbacks to list")
	return c
}

func (p *program) quarantineShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show <id>",
		Short: "Show one callback in quarantine, as it came",
		Args:  takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			w, err := cl.Rejected(c.Context(), args[0])
			if client.NotFound(err) {
				return fmt.Errorf("%s is not in quarantine", args[0])
			}
			if err != nil {
				return err
			}
			if p.asJSON {
				return jsonLine(p.stdout, w.Answer)
			}
			s := p.screen()
			show.Rejected(s, w)
			s.Printf("\n")
			if w.Guard != "" {
				s.Command("release it:   ", p.onward(c, "quarantine", "release", w.ID))
			}
			s.Command("run it again: ", p.onward(c, "quarantine", "retry", w.ID))
			s.Command("give it up:   ", p.onward(c, "quarantine", "discard", w.ID))
			return nil
		},
	}
}

func (p *program) quarantineRetry() *cobra.Command {
	c := p.quarantineDo("retry", "Run callbacks in quarantine through their plugins again", func(c *cobra.Command, cl *client.Client) error {
		if cl.Live() {
			return nil
		}
		return errors.New("no server is running on this data directory: a retry needs its plugins" + p.serveHint(c))
	})
	c.Long = `Runs callbacks through the plugins of their endpoints again, as they are now:
after a plugin, a secret or a setting was mended. What is accepted becomes
events, which go to the sinks; what is rejected again stays. A callback that
became an event meanwhile is a duplicate, and makes no second one.`
	return c
}

func (p *program) quarantineRelease() *cobra.Command {
	c := p.quarantineDo("release", "Have callbacks that a guard holds delivered", func(*cobra.Command, *client.Client) error { return nil })
	c.Long = `Has the events of callbacks that a guard holds delivered, as they were completed
when they came. No plugin and no guard is asked again. What no guard holds is
left where it is. An event that came by another callback meanwhile is a
duplicate, and is delivered once.`
	return c
}

func (p *program) quarantineDiscard() *cobra.Command {
	c := p.quarantineDo("discard", "Drop callbacks in quarantine for good", func(*cobra.Command, *client.Client) error { return nil })
	c.Long = `Drops callbacks in quarantine for good. One that was kept or is held was
acknowledged, and may be the only copy of what its provider had to say: it goes
only by its id, or with --reason kept or held. A held one that its provider
sends again is not held again: it was dealt with.`
	return c
}

// quarantineDo is a command that does something to chosen callbacks, once ready
// has nothing against it.
func (p *program) quarantineDo(do, short string, ready func(*cobra.Command, *client.Client) error) *cobra.Command {
	var which client.Chosen
	c := &cobra.Command{
		Use:   do + " [id…]",
		Short: short,
		Args:  takes(0, math.MaxInt),
		RunE: func(c *cobra.Command, args []string) error {
			which.IDs = args
			if err := split(&which.Filter); err != nil {
				return err
			}
			ways := 0
			for _, given := range []bool{len(args) > 0, which.Filter != client.Wanted{}, which.All} {
				if given {
					ways++
				}
			}
			if ways != 1 {
				return usageError{errors.New("name ids, choose by --tenant, --endpoint or --reason, or say --all (one of the three)")}
			}
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			if err := ready(c, cl); err != nil {
				return err
			}
			return p.doQuarantined(c, cl, do, which)
		},
	}
	wantedFlags(c, &which.Filter)
	c.Flags().BoolVar(&which.All, "all", false, "everything in quarantine")
	return c
}

// doQuarantined tells what came of each callback, and of all together. One that
// failed fails the command, once the others are done.
func (p *program) doQuarantined(c *cobra.Command, cl *client.Client, do string, which client.Chosen) error {
	s := p.screen()
	var order []string
	number := map[string]int{}
	err := cl.Quarantined(c.Context(), do, which, func(r client.Result) error {
		if !slices.Contains(order, r.Result) {
			order = append(order, r.Result)
		}
		number[r.Result]++
		if p.asJSON {
			return jsonLine(p.stdout, r)
		}
		show.Result(s, r)
		return nil
	})
	if err != nil {
		return err
	}
	total := 0
	for i, what := range order {
		total += number[what]
		order[i] = fmt.Sprintf("%d %s", number[what], what)
	}
	if !p.asJSON {
		s.Printf("%s\n", screen.Clean(strings.Join(append([]string{show.Count(total, "callback")}, order...), ", ")))
	}
	if n := number[client.Failed] + number[client.NotThere]; n > 0 {
		return silentError{fmt.Errorf("%d failed", n)}
	}
	return nil
}
