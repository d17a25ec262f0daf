package stock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host/shelf"
	"github.com/postern/postern/server"
	"github.com/postern/postern/server/cli/internal/calibrate"
	"github.com/postern/postern/server/cli/internal/screen"
)

type signFlags struct{ key, password, expires string }

func (p *Program) sign() *cobra.Command {
	var f signFlags
	c := &cobra.Command{
		Use:   "sign <file.wasm>",
		Short: "Sign a plugin with a minisign key",
		Long: `Writes FILE.minisig, the signature of a module by a minisign secret key. It says
which plugin and version it is of, and perhaps until when it is good: who reads
the plugin later refuses it.`,
		Example: "  " + p.Command("plugin", "sign", "ottu.wasm", "--key", "postern.key", "--expires", "365d"),
		Args:    p.Takes(1, 1),
		RunE:    func(_ *cobra.Command, args []string) error { return p.signFile(args[0], &f) },
	}
	c.Flags().StringVar(&f.key, "key", "", "the `file` of the secret key")
	c.Flags().StringVar(&f.expires, "expires", "", "until `when`: 90d from now, or a date as 2030-01-31")
	passwordFlag(c, &f.password)
	return c
}

func passwordFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "password", "", "where the key's password is: `env:NAME`, file:/path or -; without it you are asked")
}

func (p *Program) signFile(file string, f *signFlags) error {
	if f.key == "" {
		return p.Usage(errors.New("give the secret key: --key FILE; plugin keygen makes one"))
	}
	until, err := p.until(f.expires)
	if err != nil {
		return p.Usage(err)
	}
	s, err := server.OpenShelf(&config.Plugins{Path: "."})
	if err != nil {
		return err
	}
	code, _, err := s.Take(file)
	if err != nil {
		return err
	}
	plugin, err := s.Verify(code, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		return fmt.Errorf("read the key: %w", err)
	}
	password := ""
	if shelf.HasPassword(key) {
		if password, err = p.password(f.password, false); err != nil {
			return err
		}
	}
	text, err := shelf.Sign(key, password, plugin, until)
	if err != nil {
		return err
	}
	out := file + ".minisig"
	if err := os.WriteFile(out, text, 0o644); err != nil { //nolint:gosec // a signature is for everybody
		return fmt.Errorf("write the signature: %w", err)
	}
	d := describe(plugin)
	if d.Signer = shelf.SignerOf(text); !until.IsZero() {
		d.Expires = &until
	}
	if p.JSON() {
		return p.json(d)
	}
	plugin.Signer, plugin.Expires = d.Signer, until
	sc := p.Screen()
	sc.Printf("%s signed by %s\n", screen.Clean(plugin.String()), signature(plugin))
	sc.Field("signature", screen.Text(out))
	return nil
}

// until reads --expires.
func (p *Program) until(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	var at time.Time
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			at = p.Now().UTC().Add(time.Duration(n) * 24 * time.Hour).Truncate(time.Second)
		}
	} else if day, err := time.Parse(time.DateOnly, text); err == nil {
		at = day
	}
	switch {
	case at.IsZero():
		return at, fmt.Errorf("--expires %s: write a number of days as 90d, or a date as 2030-01-31", text)
	case !at.After(p.Now()):
		return at, fmt.Errorf("--expires %s: that is over", text)
	}
	return at, nil
}

// password reads a key's password from where the flag says, or asks for it, twice
// for a new one.
func (p *Program) password(from string, fresh bool) (string, error) {
	if from != "" {
		text, err := calibrate.Sources{Getenv: p.Getenv, Stdin: p.Stdin}.Read(from)
		if misuse := (calibrate.Misuse{}); errors.As(err, &misuse) {
			return "", p.Usage(fmt.Errorf("--password: %w", err))
		}
		if err == nil && text == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return text, nil
	}
	f, ok := p.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", p.Usage(errors.New("the key has a password: give it with --password env:NAME, file:/path or -"))
	}
	text, err := p.ask(f, "password: ")
	if err != nil || !fresh {
		return text, err
	}
	again, err := p.ask(f, "once more: ")
	if err == nil && again != text {
		err = errors.New("the two are not the same")
	}
	return text, err
}

func (p *Program) ask(f *os.File, prompt string) (string, error) {
	_, _ = io.WriteString(p.Stderr, prompt)
	text, err := term.ReadPassword(int(f.Fd()))
	_, _ = io.WriteString(p.Stderr, "\n")
	if err == nil && len(text) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(text), nil
}
