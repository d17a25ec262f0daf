package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postern/postern/host"
)

func TestInvariant1_settings(t *testing.T) {
	on := settings{fsync: "on", fullPageWrites: "on", synchronousCommit: "on"}
	for _, level := range []string{"on", "local", "remote_write", "remote_apply"} {
		s := on
		s.synchronousCommit = level
		if err := s.refuse(); err != nil {
			t.Errorf("synchronous_commit %s: %v", level, err)
		}
	}
	for name, change := range map[string]func(*settings){
		"fsync":              func(s *settings) { s.fsync = "off" },
		"full_page_writes":   func(s *settings) { s.fullPageWrites = "off" },
		"synchronous_commit": func(s *settings) { s.synchronousCommit = "off" },
	} {
		s := on
		change(&s)
		if err := s.refuse(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "on in postgresql.conf") {
			t.Errorf("%s off: error %v, want one that names it and the fix", name, err)
		}
	}
}

func TestCoded(t *testing.T) {
	for _, c := range []struct {
		err  error
		want host.Code
		full bool
	}{
		{&pgconn.PgError{Code: "53100", Message: "could not extend file"}, host.StoreFull, true},
		{&pgconn.PgError{Code: "57P01", Message: "terminating connection"}, host.StoreUnavailable, false},
		{&pgconn.PgError{Code: "42P01", Message: "no such table"}, host.StoreUnavailable, false},
		{errors.New("connection reset"), host.StoreUnavailable, false},
		{errOutdated, host.StoreUnavailable, false},
	} {
		s := &Store{}
		err := s.coded("append", c.err)
		if got := host.CodeOf(err); got != c.want {
			t.Errorf("%v has code %s, want %s", c.err, got, c.want)
		}
		if got := s.full.Load() != nil; got != c.full {
			t.Errorf("%v: the store is full: %t, want %t", c.err, got, c.full)
		}
	}
}
