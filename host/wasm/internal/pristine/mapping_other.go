//go:build !linux

package pristine

import (
	"bytes"
	"errors"
)

// The rest of the world has no page map: a memory and its snapshot are Go's,
// and compared whole.

func reserve(size int) ([]byte, error) { return make([]byte, size), nil }

func commit([]byte) error { return nil }

func forget([]byte) {}

func unmap([]byte) {}

type sealed struct{}

func (s *Snapshot) fill(content []byte) error {
	s.content = bytes.Clone(content)
	return nil
}

func (s *Snapshot) lay(memory []byte) error {
	copy(memory, s.content)
	return nil
}

func (s *Snapshot) close() error { return nil }

func (s *Snapshot) drop() { s.content = nil }

type pagemap struct{}

func (p *pagemap) open() {}

func (p *pagemap) close() error { return nil }

type scratch struct{}

type pages struct{}

func (pages) within([]byte) (from, to int) { return 0, 0 }

func (m *Memory) find(Way, int) ([]pages, int, error) { return nil, 0, errors.ErrUnsupported }

func (m *Memory) faults() (n int64, counted bool) { return 0, false }

func (m *Memory) proveCounted([]byte, int, ...int) error { return errors.ErrUnsupported }
