package bolt

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/quarantine"
)

const (
	defaultRing      = 1000
	defaultRingBytes = 16 << 20
)

// keyRefused of state.db is the number up to which entries of the quarantine
// may be numbered: a number is never given twice, even if quarantine.db is lost.
var keyRefused = []byte("refused")

func (s *Store) openQuarantine(clean bool) {
	o := &s.options
	s.quarantine = quarantine.Open(quarantine.Options{
		Path: filepath.Join(s.dir, "quarantine.db"), Store: around{s}, OpenFile: o.openFile, Update: o.update,
		Entries: o.RingEntries, Bytes: o.RingBytes, Now: o.Now, Log: o.Log,
	}, clean)
}

// around is what the quarantine asks of the store.
type around struct{ s *Store }

// MoveAside moves a damaged file to damaged/ and names it.
func (a around) MoveAside(path string, cause error) error {
	if err := disk.PutAside(a.s.dir, path, os.Rename); err != nil {
		return err
	}
	a.s.note("%v; it is in damaged/ now, and what was quarantined is lost with it", cause)
	return nil
}

// Broken is the error of everything asked of a store that has failed.
func (a around) Broken() error { return a.s.broken() }

// Room reports that less than the reserve is free.
func (a around) Room() error {
	if short, err := disk.Short(a.s.dir, a.s.options.Reserve); err == nil && short {
		return host.Errorf(host.StoreFull, "less than the reserve is free in %s", a.s.dir)
	}
	return nil
}

// Reserved is the highest number that an entry may have.
func (a around) Reserved() (n uint64, err error) {
	err = a.s.viewState(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bucketState).Get(keyRefused); len(v) == len(disk.Number(0)) {
			n = binary.BigEndian.Uint64(v)
		}
		return nil
	})
	return n, err
}

// Reserve has entries have numbers up to one, durably.
func (a around) Reserve(upTo uint64) error {
	return a.s.change(&change{apply: func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketState).Put(keyRefused, disk.Number(upTo))
	}})
}

// Put implements [host.Quarantine].
func (s *Store) Put(_ context.Context, r *host.Rejected) error {
	err := s.broken()
	if err == nil {
		err = s.quarantine.Put(r)
	}
	if err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	return nil
}

// List implements [host.Quarantine]. The kept and held callbacks, by their
// sequence, and the refused ones, by their number, are merged by the time of their receipt.
func (s *Store) List(
	ctx context.Context, want host.Wanted, after host.Cursor, n int,
) ([]host.Rejected, host.Cursor, error) {
	if n <= 0 {
		n = defaultLimit
	}
	n = min(n, maxLetters)
	at, err := quarantine.ParseReached(after)
	var kept, refused quarantine.Part
	if err == nil {
		err = s.broken()
	}
	if err == nil {
		kept.Entries, kept.More, err = s.listKept(ctx, want, at.Kept, n)
	}
	if err == nil && want.Reason != host.ReasonKept && want.Reason != host.ReasonHeld {
		refused.Entries, refused.More, err = s.quarantine.List(want, at.Refused, n)
	}
	if err != nil {
		return nil, "", fmt.Errorf("list the quarantine: %w", err)
	}
	out := at.Merge(&kept, &refused, n)
	if kept.End() && refused.End() {
		return out, "", nil
	}
	return out, at.Cursor(), nil
}

// Get implements [host.Quarantine].
func (s *Store) Get(_ context.Context, id string) (r *host.Rejected, err error) {
	kept, n, err := quarantine.ParseID(id)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", host.ErrNotFound, err)
	case s.broken() != nil:
		err = s.broken()
	case kept:
		r, err = s.getKept(n, id)
	default:
		r, err = s.quarantine.Get(n)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s from the quarantine: %w", id, err)
	}
	return r, nil
}

// Drop implements [host.Quarantine].
func (s *Store) Drop(_ context.Context, id string) error {
	kept, n, err := quarantine.ParseID(id)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", host.ErrNotFound, err)
	case kept:
		err = s.dropKept(n, id)
	default:
		err = s.quarantine.Drop(n)
	}
	if err != nil {
		return fmt.Errorf("drop %s from the quarantine: %w", id, err)
	}
	return nil
}

// quarantined is how many refused callbacks are in the quarantine.
func (s *Store) quarantined() int { return s.quarantine.Len() }
