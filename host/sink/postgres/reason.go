package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postern/postern/host"
)

// The classes of SQLSTATE that mean something here.
const (
	dataException = "22"
	constraint    = "23"
	viewCheck     = "44"
	limit         = "54"
	raised        = "P0" // by a function: a trigger's, say
	login         = "28"
	database      = "3D"
	undefined     = "42"
)

// createError says that the table could not be made; whatever the reason, it is
// none of an event.
type createError struct{ error }

func (e *createError) Unwrap() error { return e.error }

// ofEvent reports whether the server has something against an event, so that
// others of its batch may be taken.
func ofEvent(err error) bool {
	var create *createError
	if errors.As(err, &create) {
		return false
	}
	switch class(err) {
	case dataException, constraint, viewCheck, limit, raised:
		return true
	}
	return false
}

// judge turns an error of one event, or of all, into Deliver's.
func judge(err error) error {
	var create *createError
	doing := "insert"
	if errors.As(err, &create) {
		doing = "create the table"
	}
	told := host.WithAnswer(fmt.Errorf("%s: %w", doing, safe(err)), answer(err))
	if ofEvent(err) && class(err) != raised {
		return host.Permanent(told)
	}
	return told
}

// answer is what the server said, where that can name neither user nor
// database.
func answer(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || class(err) == login || class(err) == database {
		return ""
	}
	return plain(pg.Message)
}

// safe turns an error of the client into one whose text, and that of everything
// it wraps, holds no secret and nothing of an event. It is put together from the
// kinds known here and never from the client's own text, which names host, user
// and database.
//
// Invariant 8: what stands in a DSN stays out of error texts.
func safe(err error) error {
	var (
		pg      *pgconn.PgError
		dns     *net.DNSError
		op      *net.OpError
		cert    *tls.CertificateVerificationError
		refusal notDurable
	)
	switch {
	case errors.As(err, &refusal):
		return refusal
	case errors.As(err, &pg) && ofEvent(err):
		return refused(pg)
	case errors.As(err, &pg):
		return answered(pg)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("not finished: %w", context.Canceled)
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	case errors.As(err, &dns):
		return fmt.Errorf("look up the host: %s", dns.Err)
	case errors.As(err, &cert):
		return errors.New("the certificate is not accepted: " + plain(cert.Err.Error()))
	case errors.As(err, &op):
		return op
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return errors.New("the connection ended without an answer")
	}
	return errors.New("the connection failed")
}

// refused names what the server has against an event, but not in its own words:
// they quote it.
func refused(pg *pgconn.PgError) error {
	if class(pg) == raised {
		return answered(pg)
	}
	var where strings.Builder
	for _, p := range []struct{ kind, name string }{{"constraint", pg.ConstraintName}, {"column", pg.ColumnName}} {
		if p.name != "" {
			fmt.Fprintf(&where, ", %s %s", p.kind, plain(p.name))
		}
	}
	return fmt.Errorf("the server refuses the event (%s%s)", plain(pg.Code), where.String())
}

// answered is what the server said, unless that names the user.
func answered(pg *pgconn.PgError) error {
	switch class(pg) {
	case login:
		return fmt.Errorf("the server refuses the login (%s)", plain(pg.Code))
	case database:
		return fmt.Errorf("the server has no such database (%s)", plain(pg.Code))
	}
	return fmt.Errorf("answered %s (%s)", plain(pg.Code), plain(pg.Message))
}

// plain is the server's text in one line, bounded.
func plain(text string) string {
	const limit = 200
	text = strings.ToValidUTF8(text[:min(len(text), limit)], "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
