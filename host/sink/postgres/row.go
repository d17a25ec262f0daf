package postgres

import (
	"errors"
	"strings"
	"time"

	"github.com/postern/postern/host"
)

// definition follows "CREATE TABLE IF NOT EXISTS <table>".
const definition = ` (
	id          text PRIMARY KEY,
	type        text NOT NULL,
	source      text NOT NULL,
	subject     text,
	time        timestamptz NOT NULL,
	received    timestamptz NOT NULL,
	tenant      text NOT NULL,
	endpoint    text NOT NULL,
	provider    text NOT NULL,
	verified_by text NOT NULL,
	data        jsonb,
	event       json NOT NULL
)`

// insertion follows "INSERT INTO <table>". Texts become JSON here, so that it is
// the server that says what it can hold.
const insertion = ` (id, type, source, subject, time, received, tenant, endpoint, provider, verified_by, data, event)
SELECT id, type, source, subject, time, received, tenant, endpoint, provider, verified_by, data::jsonb, event::json
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
	$7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[]) WITH ORDINALITY
	AS e (id, type, source, subject, time, received, tenant, endpoint, provider, verified_by, data, event, place)
ORDER BY place
ON CONFLICT (id) DO NOTHING`

// assurance bounds what follows in its transaction and asks whether a commit
// there is durable. Servers of the same protocol that lack a setting have no way
// to turn it off.
const assurance = `SELECT set_config('statement_timeout', $1, true),
	coalesce(current_setting('fsync', true), 'on'), coalesce(current_setting('synchronous_commit', true), 'on'),
	coalesce((SELECT relpersistence::text FROM pg_catalog.pg_class WHERE oid = to_regclass($2)), 'p')`

// durable says what keeps a commit from being so.
func durable(fsync, commit, kind string) error {
	switch {
	case fsync == "off":
		return notDurable("the server has fsync off, so that nothing it takes is durable; turn it on")
	case commit == "off":
		return notDurable("synchronous_commit is off, so that a commit may be lost; turn it on for this user or database")
	case kind == "u":
		return notDurable("the table is UNLOGGED, so that a crash empties it; ALTER TABLE … SET LOGGED")
	}
	return nil
}

// notDurable is an answer that must not count as done.
type notDurable string

func (e notDurable) Error() string { return string(e) }

// row is one event as the table has it, and its place in the batch.
type row struct {
	at    int
	event *host.Event
	// subject and data are nil where they cannot be stored apart.
	subject, data *string
	text          string
}

func newRow(at int, ev *host.Event) (row, error) {
	text, err := ev.MarshalJSON()
	if err != nil {
		return row{}, err
	}
	r := row{at: at, event: ev, text: string(text)}
	if len(ev.Data) == 0 {
		return r, errors.New("it has no data")
	}
	data := string(ev.Data)
	r.data = &data
	// No text of the server's holds U+0000.
	if ev.Subject != "" && !strings.ContainsRune(ev.Subject, 0) {
		r.subject = &ev.Subject
	}
	return r, nil
}

// columns are the arguments of insertion.
func columns(rows []row) []any {
	n := len(rows)
	id, kind, source, tenant, endpoint, provider, verifiedBy, text := make([]string, n), make([]string, n), make([]string, n),
		make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	subject, data := make([]*string, n), make([]*string, n)
	at, received := make([]time.Time, n), make([]time.Time, n)
	for i := range rows {
		ev := rows[i].event
		id[i], kind[i], source[i], tenant[i], endpoint[i] = ev.ID(), ev.Type, ev.Source, ev.Tenant, ev.Endpoint
		provider[i], verifiedBy[i], text[i] = ev.Provider, string(ev.VerifiedBy), rows[i].text
		subject[i], data[i], at[i], received[i] = rows[i].subject, rows[i].data, ev.Time, ev.Received
	}
	return []any{id, kind, source, subject, at, received, tenant, endpoint, provider, verifiedBy, data, text}
}
