// Package file appends events to a file: one line for each, its CloudEvents
// JSON (NDJSON).
//
// # When a delivery is done
//
// Deliver returns once the lines are written and fsynced. Calls that come
// while a write is under way share the next fsync. A call that is given up on
// may still be written, and comes back: the same line twice, with the same id.
//
// # After a failure
//
// A write or fsync that fails is taken back: the file is cut to where it ended
// before, opened anew, and only then written to again. Lines that may or may
// not be on the disk are never counted as done. A half line that a crash left
// at the end is cut off when the file is opened. After a loss of power a line
// in the midst of those last written may be damaged, as file systems do not
// keep the order of writes; its event was not done and follows whole. A reader
// skips a line that is not JSON.
//
// # Rotation
//
// Before a write that would make the file larger than [Config.MaxSize], and at
// the first write of another period of [Config.MaxAge], the file is renamed:
// events.ndjson becomes events-20260506T070809.123Z.ndjson, after the time in
// UTC, and the sink goes on in a new one. Whole lines only are in either, and a
// rotation that fails is a write that fails: it comes back, in the old file.
//
// Others may rotate as well: move the file away and the sink goes on in a new
// one at the next delivery. Do not copy and truncate it: lines written in
// between would be lost. One file belongs to one sink.
package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/postern/postern/host"
)

// Config is a file sink's settings.
type Config struct {
	// Path is the file. Its directory must exist; it is itself created, with
	// mode 0600, and appended to if it exists.
	Path string
	// MaxSize is how many bytes a file may have before it is rotated; lines that
	// are written at once stay together, even if they alone are more. Zero means
	// any number.
	MaxSize int64
	// MaxAge cuts the time into periods, counted in UTC (24h: days), each of
	// which has files of its own. Zero means one period for ever.
	MaxAge time.Duration
	// Keep is how many rotated files stay; the oldest are removed. Zero means
	// all: the sink removes nothing.
	Keep int
	// Log is told when rotated files cannot be removed; nil discards that.
	Log *slog.Logger
}

// Sink is a [host.Sink]. Make one with [New].
type Sink struct {
	path    string
	maxSize int64
	maxAge  time.Duration
	keep    int
	log     *slog.Logger
	queue   chan *lines
	ended   chan struct{}

	// underWay counts the calls of Deliver, for Close.
	underWay sync.WaitGroup

	// out is the writer's; nil after a failure, until it is opened again.
	out disk
	// open is openDisk; tests put faults in its place.
	open func(path string) (disk, error)
}

var _ host.Sink = (*Sink)(nil)

// lines is what one call of Deliver wants written.
type lines struct {
	ctx  context.Context
	text []byte
	// done gets exactly one error, or nil once text is on the disk.
	done chan error
}

// New opens the file, repairs its end and starts the sink's writer, which Close
// stops.
func New(c Config) (*Sink, error) {
	return start(c, openDisk)
}

func start(c Config, open func(string) (disk, error)) (*Sink, error) {
	if c.Path == "" {
		return nil, errors.New("path: is empty; name the file to append to")
	}
	if c.MaxSize < 0 || c.MaxAge < 0 || c.Keep < 0 {
		return nil, errors.New("rotate: has a negative number; 0 means never, and for keep all")
	}
	s := &Sink{
		path: c.Path, maxSize: c.MaxSize, maxAge: c.MaxAge, keep: c.Keep, log: c.Log,
		queue: make(chan *lines), ended: make(chan struct{}), open: open,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.ready(); err != nil {
		return nil, fmt.Errorf("path: open %s: %w", c.Path, err)
	}
	go s.write()
	return s, nil
}

// Deliver implements [host.Sink].
func (s *Sink) Deliver(ctx context.Context, batch []host.Delivery) []error {
	s.underWay.Add(1)
	defer s.underWay.Done()
	errs := make([]error, len(batch))
	var text bytes.Buffer
	failed := false
	for i := range batch {
		line, err := batch[i].Event.MarshalJSON()
		if err != nil {
			errs[i] = host.Permanent(fmt.Errorf("encode event: %w", err))
			failed = true
			continue
		}
		text.Write(line)
		text.WriteByte('\n')
	}
	if err := s.put(ctx, text.Bytes()); err != nil {
		failed = true
		for i := range errs {
			if errs[i] == nil {
				errs[i] = fmt.Errorf("append to %s: %w", s.path, err)
			}
		}
	}
	if !failed {
		return nil
	}
	return errs
}

// put hands text to the writer and waits until it is on the disk.
func (s *Sink) put(ctx context.Context, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	l := &lines{ctx: ctx, text: text, done: make(chan error, 1)}
	select {
	case s.queue <- l:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-l.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close waits for what is under way, then closes the file.
func (s *Sink) Close() error {
	s.underWay.Wait()
	close(s.queue)
	<-s.ended
	if s.out == nil {
		return nil
	}
	if err := s.out.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// maxGroup is how many bytes are gathered before an fsync.
const maxGroup = 4 << 20

// write is the only goroutine that touches the file. What waits when it comes
// back from one fsync shares the next.
func (s *Sink) write() {
	defer close(s.ended)
	for first := range s.queue {
		var text []byte
		var group []*lines
		for _, l := range s.gather(first) {
			// Nobody waits for it any more: it comes back by itself.
			if err := l.ctx.Err(); err != nil {
				l.done <- err
				continue
			}
			group = append(group, l)
			text = append(text, l.text...)
		}
		if len(group) == 0 {
			continue
		}
		err := s.commit(text)
		for _, l := range group {
			l.done <- err
		}
	}
}

func (s *Sink) gather(first *lines) []*lines {
	group, size := []*lines{first}, len(first.text)
	for size < maxGroup {
		select {
		case l, more := <-s.queue:
			if !more {
				return group
			}
			group = append(group, l)
			size += len(l.text)
		default:
			return group
		}
	}
	return group
}

// commit returns when text is on the disk, or taken back.
func (s *Sink) commit(text []byte) error {
	if err := s.ready(); err != nil {
		return err
	}
	if err := s.rotate(len(text)); err != nil {
		return err
	}
	before, _, err := s.out.state()
	if err != nil {
		return err
	}
	_, err = s.out.Write(text)
	if err == nil {
		err = s.out.Sync()
	}
	if err == nil {
		return nil
	}
	if back := s.abandon(before); back != nil {
		return fmt.Errorf("%w (and taking it back: %w)", err, back)
	}
	return err
}

// ready sees to it that out is open and is the file at path.
func (s *Sink) ready() error {
	if s.out != nil && s.out.at(s.path) {
		return nil
	}
	if s.out != nil {
		// Moved away or removed; what was done in it is synced.
		_ = s.out.Close()
		s.out = nil
	}
	out, err := s.open(s.path)
	if err != nil {
		return err
	}
	s.out = out
	return nil
}

// abandon cuts the file back and closes it: what a failed fsync leaves in the
// page cache passes for written from then on, so the file is not trusted until
// it was opened and synced again. Should the cut fail, that opening cuts off a
// half line, and whole ones stand twice once their events have come back.
func (s *Sink) abandon(size int64) error {
	out := s.out
	s.out = nil
	err := out.Truncate(size)
	_ = out.Close()
	return err
}
