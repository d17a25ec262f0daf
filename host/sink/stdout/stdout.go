// Package stdout writes events to the standard output: one line for each, its
// CloudEvents JSON (NDJSON).
//
// A delivery is done once the system has taken its line: what a pipe or a
// terminal does with it is theirs. For events that must outlast a loss of power
// there is the file sink.
//
// A reader that is gone is an error like another, and retried; it does not end
// the process. A reader that is slow is waited for, each time as long as a
// delivery may take. A line that was cut off by an error is ended before the
// next one, and its event comes back whole: a reader skips a line that is not
// JSON. Calls of Deliver never mix their lines.
package stdout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/postern/postern/host"
)

// Sink is a [host.Sink]. Make one with [New].
type Sink struct {
	w io.Writer

	// turn holds a token while somebody writes.
	turn chan struct{}
	// torn says that the last line was cut off; whoever has the turn may use it.
	torn bool

	// underWay counts the calls of Deliver, for Close.
	underWay sync.WaitGroup
}

var _ host.Sink = (*Sink)(nil)

// New makes a sink that writes to w, which nobody else writes to: [os.Stdout],
// or a stand-in of tests. From then on SIGPIPE is ignored in this process, which
// would otherwise end it when the reader of its standard output is gone.
func New(w io.Writer) *Sink {
	signal.Ignore(syscall.SIGPIPE)
	return &Sink{w: w, turn: make(chan struct{}, 1)}
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
				errs[i] = fmt.Errorf("write to the standard output: %w", err)
			}
		}
	}
	if !failed {
		return nil
	}
	return errs
}

// put writes text, or gives up on it when ctx ends. It may still be written
// then, as a write to a pipe cannot be called back.
func (s *Sink) put(ctx context.Context, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-s.turn }()
		done <- s.write(text)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is called by whoever has the turn.
func (s *Sink) write(text []byte) error {
	if s.torn {
		text = append([]byte("\n"), text...)
	}
	n, err := s.w.Write(text)
	switch {
	case err == nil:
		s.torn = false
	case n > 0:
		s.torn = text[n-1] != '\n'
	}
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Close waits for what is under way. It leaves the output open.
func (s *Sink) Close() error {
	s.underWay.Wait()
	return nil
}
