package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server/admin"
)

// loaded is a module as the endpoints need it.
type loaded struct {
	manifest *wasm.Manifest
	version  string
	// bind returns the plugin with an endpoint's secrets and settings, and its
	// tokens. Its error has a line for each problem, beginning with the place.
	bind func(wasm.Binding) (host.Plugin, []host.Token, error)
	// instances is how many it has now.
	instances func() int
	// close frees the module, which nothing may use any more.
	close func(context.Context) error
}

// read finds the module that an endpoint's plugin stands for: the file that it is
// in, for errors to name, and what is in it. The error is [fs.ErrNotExist] if there
// is none.
type read func(ref string) (file string, code []byte, err error)

// modules are those that tables hold, each known by the SHA-256 of its bytes. One
// that no table holds any more is freed.
type modules struct {
	runtime runtime
	read    read
	log     *slog.Logger

	mu    sync.Mutex
	bySum map[[sha256.Size]byte]*module
	// freeing are those under way.
	freeing sync.WaitGroup
	// leak leaves modules as they are, for the tests to see that it shows.
	leak bool
}

// module is one of [modules].
type module struct {
	*loaded
	sum [sha256.Size]byte
	// holders is how many times tables hold it.
	holders int
}

func newModules(rt runtime, find read, log *slog.Logger) *modules {
	return &modules{runtime: rt, read: find, log: log, bySum: make(map[[sha256.Size]byte]*module)}
}

// hold returns the module that a plugin stands for now, loaded if it is not yet;
// the caller releases it. It is not for concurrent use.
func (ms *modules) hold(ctx context.Context, plugin string) (*module, error) {
	file, code, err := ms.read(plugin)
	if err != nil {
		return nil, fmt.Errorf("load plugin: %w", err)
	}
	sum := sha256.Sum256(code)
	if m := ms.known(sum); m != nil {
		return m, nil
	}
	l, err := ms.runtime.load(ctx, code)
	if err != nil {
		return nil, fmt.Errorf("load plugin %s: %w", file, err)
	}
	m := &module{loaded: l, sum: sum, holders: 1}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.bySum[sum] = m
	return m, nil
}

func (ms *modules) known(sum [sha256.Size]byte) *module {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.bySum[sum]
	if m != nil {
		m.holders++
	}
	return m
}

// release lets go of modules, and has those freed that nobody holds. It does not
// block.
func (ms *modules) release(all map[string]*module) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range all {
		if m.holders--; m.holders > 0 {
			continue
		}
		delete(ms.bySum, m.sum)
		if ms.leak {
			continue
		}
		ms.freeing.Go(func() {
			// Its calls have ended: there is nothing to wait for.
			if err := m.close(context.Background()); err != nil {
				ms.log.Error("free a plugin", "plugin", m.version, "err", err)
				return
			}
			ms.log.Info("plugin freed", "plugin", m.version)
		})
	}
}

// describe tells operators of every module; t is the table that is served.
func (ms *modules) describe(t *table) []admin.Plugin {
	using := make(map[*module][]string)
	for of, all := range t.uses {
		for _, m := range all {
			if at := of.tenant + "/" + of.endpoint; !slices.Contains(using[m], at) {
				using[m] = append(using[m], at)
			}
		}
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	var all []admin.Plugin
	for m := range maps.Values(ms.bySum) {
		p := admin.Plugin{
			Name: m.manifest.Name, Version: m.version, SHA256: hex.EncodeToString(m.sum[:]),
			Endpoints: using[m], Instances: m.instances(), State: admin.Draining,
		}
		if p.Endpoints != nil {
			p.State = admin.Live
			slices.Sort(p.Endpoints)
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b admin.Plugin) int {
		return strings.Compare(a.Name+"\x00"+a.Version+a.SHA256, b.Name+"\x00"+b.Version+b.SHA256)
	})
	return all
}

// Plugins describes the modules that are loaded, ordered by name and version. The
// slice is the caller's.
func (s *Server) Plugins() []admin.Plugin { return s.modules.describe(s.table.Load()) }
