package stock

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/postern/postern/server"
	"github.com/postern/postern/server/cli/internal/screen"
)

func (p *Program) verify() *cobra.Command {
	var keys []string
	c := &cobra.Command{
		Use:   "verify <file.wasm>",
		Short: "Check a module and its signature, without running it",
		Long: `Checks what can be checked without running a module: size, format, ABI, imports,
manifest and its signature, FILE.minisig, by plugins.keys. With --key it must be
signed by one of those.`,
		Args: p.Takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, s, err := p.open(c)
			if err != nil {
				return err
			}
			if len(keys) > 0 {
				plugins := cfg.Plugins
				plugins.Keys, plugins.RequireSignature = keys, true
				if s, err = server.OpenShelf(&plugins); err != nil {
					return p.Usage(fmt.Errorf("--key: %w", err))
				}
			}
			plugin, wrong, err := p.find(s, fileName(args[0]))
			if err == nil && wrong != nil {
				err = fmt.Errorf("%s: %w", args[0], wrong)
			}
			if err != nil {
				return err
			}
			if p.JSON() {
				return p.json(describe(plugin))
			}
			sc := p.Screen()
			sc.Printf("%s\n", sc.Paint(screen.Good, screen.Clean(plugin.String())))
			sc.Field("sha256", screen.Text(plugin.Sum))
			sc.Field("signature", screen.Text(signature(plugin)))
			return nil
		},
	}
	c.Flags().StringArrayVar(&keys, "key", nil, "a minisign public `key` to trust in place of plugins.keys; may be repeated")
	return c
}

// fileName is an argument that names a file, never a plugin.
func fileName(arg string) string {
	if isFile(arg) {
		return arg
	}
	return "./" + arg
}
