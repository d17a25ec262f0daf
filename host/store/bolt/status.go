package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/record"
	"github.com/postern/postern/host/store/bolt/internal/segment"
)

// Status implements [host.Store]. Bytes are those of all files in the directory.
func (s *Store) Status(context.Context) (host.Status, error) {
	if err := s.broken(); err != nil {
		return host.Status{}, err
	}
	st := host.Status{
		Engine: "bolt", Segments: len(s.segments()), Oldest: s.oldest(),
		Kept: int(s.kept.Load() - s.held.Load()), Held: int(s.held.Load()), Quarantined: s.quarantined(), Damaged: s.notes(),
	}
	if short, err := disk.Short(s.dir, s.options.Reserve); err == nil && short {
		st.Full = fmt.Sprintf("less than the reserve is free in %s", s.dir)
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(s.dir, &fsys); err == nil {
		st.Free = int64(fsys.Bavail) * fsys.Bsize //nolint:gosec // signed on some systems
	}
	err := filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		// What is gone meanwhile takes up nothing.
		if info, err := d.Info(); err == nil {
			st.Bytes += info.Size()
		}
		return nil
	})
	if err != nil {
		return host.Status{}, fmt.Errorf("status: %w", err)
	}
	return st, nil
}

// oldest is when the callback of the oldest record was received; zero without
// one, or if it cannot be read.
func (s *Store) oldest() (at time.Time) {
	_ = s.viewAt(0, func(tx *bbolt.Tx, _ []*segment.File, _ int) error {
		k, v := tx.Bucket(segment.BucketLog).Cursor().First()
		if k == nil {
			return nil
		}
		seq, err := disk.ParseNumber(k)
		if err != nil || seq > s.last.Load() {
			return err
		}
		e, err := record.Look(v, seq)
		at = e.Received
		return err
	})
	return at
}
