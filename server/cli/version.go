package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/postern/postern/server/cli/internal/screen"
)

// versions is what the answer of "version" is made of.
type versions struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Wazero  string `json:"wazero"`
	Bbolt   string `json:"bbolt"`
	Fiber   string `json:"fiber"`
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of postern and of what it is built on",
		Args:  takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if p.asJSON {
				return jsonLine(p.stdout, p.version)
			}
			p.version.print(p.screen())
			return nil
		},
	}
}

// readVersions reads what the build left in the binary; own is this program's
// version where the build names it.
func readVersions(own string) versions {
	v := versions{
		Version: own, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Wazero: "unknown", Bbolt: "unknown", Fiber: "unknown",
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if v.Version == "" {
		v.Version = mainVersion(info)
	}
	for path, to := range map[string]*string{
		"github.com/tetratelabs/wazero": &v.Wazero,
		"go.etcd.io/bbolt":              &v.Bbolt,
		"github.com/gofiber/fiber/v2":   &v.Fiber,
	} {
		for _, dep := range info.Deps {
			if dep.Path == path {
				*to = dep.Version
			}
		}
	}
	return v
}

// mainVersion is the module's version, or the commit it was built from.
func mainVersion(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return "devel"
	}
	return revision + dirty
}

func (v versions) print(s *screen.Screen) {
	s.Printf("postern %s\n", v.Version)
	for _, line := range [][2]string{
		{"go", v.Go + " " + v.OS + "/" + v.Arch}, {"wazero", v.Wazero}, {"bbolt", v.Bbolt}, {"fiber", v.Fiber},
	} {
		s.Printf("  %-8s%s\n", line[0], line[1])
	}
}
