package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postern/postern/host"
)

// SQLSTATEs that are told apart.
const (
	stateSerialization = "40001"
	stateDeadlock      = "40P01"
	stateDiskFull      = "53100"
	stateNoPartition   = "23514" // check_violation, as which it counts
	stateNull          = "23502"
)

// errOutdated answers what is asked of a store that has failed.
var errOutdated = host.Errorf(host.StoreUnavailable,
	"another version of postern has changed the schema: restart with that version")

// state is the SQLSTATE of an error of the server, else empty.
func state(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// cause is err without what names the dsn: of a server's error its text and code
// without details, of a connection's the network's, and nothing of pgx's own.
//
// Invariant 8: a dsn holds a password, and pgx quotes parts of it.
func cause(err error) error {
	var server *pgconn.PgError
	var coded *host.Error
	var network *net.OpError
	var connect *pgconn.ConnectError
	var text safe
	switch {
	case err == nil:
		return nil
	case errors.As(err, &coded), errors.Is(err, host.ErrNotFound), errors.Is(err, host.ErrBusy):
		return err
	case errors.As(err, &text):
		return text
	case errors.As(err, &server):
		return fmt.Errorf("%s (SQLSTATE %s)", server.Message, server.Code)
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(err, &network):
		return network
	case errors.As(err, &connect):
		// Its own text names user and database.
		return errors.New(strings.ReplaceAll(errors.Unwrap(connect).Error(), "\n", "; "))
	}
	return err
}

// safe is an error that names nothing of the dsn.
type safe string

func (s safe) Error() string { return string(s) }

// coded gives an error its code: a full disk heals, and so does whatever else a
// server may have to say.
func (s *Store) coded(what string, err error) error {
	var known *host.Error
	if errors.As(err, &known) {
		return err
	}
	if state(err) == stateDiskFull {
		text := "the server's disk is full"
		s.full.Store(&text)
		return host.Errorf(host.StoreFull, "%s: %w", what, cause(err))
	}
	return host.Errorf(host.StoreUnavailable, "%s: %w", what, cause(err))
}

// notFound turns pgx's absence of a row into the host's.
func notFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return host.ErrNotFound
	}
	return err
}
