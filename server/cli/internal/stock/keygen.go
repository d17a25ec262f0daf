package stock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/postern/postern/host/shelf"
	"github.com/postern/postern/server/cli/internal/screen"
)

// pair is the answer of "keygen" for programs.
type pair struct {
	Secret string `json:"secret_file"`
	Public string `json:"public_file"`
	// Key is what plugins.keys takes.
	Key string `json:"key"`
}

func (p *Program) keygen() *cobra.Command {
	var out, password string
	var open bool
	c := &cobra.Command{
		Use:   "keygen",
		Short: "Make a minisign key pair to sign plugins with",
		Long: `Makes a key pair, in the form of minisign: NAME.key, which signs and only you
can read, and NAME.pub, which plugins.keys takes. The secret key is encrypted
with a password. Neither file is overwritten.`,
		Args: p.Takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if open && password != "" {
				return p.Usage(errors.New("--password and --no-password exclude each other"))
			}
			made := pair{Secret: out + ".key", Public: out + ".pub"}
			for _, file := range []string{made.Secret, made.Public} {
				if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("%s exists: --out names another", file)
				}
			}
			secret := ""
			if !open {
				var err error
				if secret, err = p.password(password, true); err != nil {
					return err
				}
			}
			return p.makeKey(&made, secret)
		},
	}
	c.Flags().StringVar(&out, "out", "postern", "the `name` of the files, without their endings")
	c.Flags().BoolVar(&open, "no-password", false, "do not encrypt the secret key: who reads the file can sign")
	passwordFlag(c, &password)
	return c
}

func (p *Program) makeKey(made *pair, password string) error {
	secret, public, err := shelf.NewKey(password)
	if err != nil {
		return err
	}
	made.Key = public
	if err := writeNew(made.Secret, secret, 0o600); err != nil {
		return err
	}
	if err := writeNew(made.Public, []byte("untrusted comment: minisign public key\n"+public+"\n"), 0o644); err != nil {
		return err
	}
	if p.JSON() {
		return p.json(made)
	}
	s := p.Screen()
	s.Field("secret key", screen.Text(made.Secret+": keep it to yourself"))
	s.Field("public key", screen.Text(made.Public))
	s.Printf("\ntrust it in the configuration:\nplugins:\n  keys: [%s]\n\n", public)
	s.Command("sign with it: ", p.Command("plugin", "sign", "FILE.wasm", "--key", made.Secret))
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(file string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
