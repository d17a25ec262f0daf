package postgres

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postern/postern/host"
)

func TestNew_refuses(t *testing.T) {
	t.Parallel()
	const right = "postgres://u:canary@127.0.0.1/d"
	for _, row := range []struct {
		config Config
		want   string
	}{
		{Config{}, "dsn: is empty"},
		{Config{DSN: "postgres://u:canary@h:port/d"}, "dsn: cannot be parsed"},
		{Config{DSN: "password=canary port=none"}, "dsn: cannot be parsed"},
		{Config{DSN: "postgres://u:canary@h/d?sslmode=verify-full&sslrootcert=/nowhere.pem"}, "dsn: a file that it names cannot be read: open /nowhere.pem"},
		{Config{DSN: right, Table: "a.b.c"}, `table: "a.b.c" is not a name`},
		{Config{DSN: right, Table: "a;b"}, `table: "a;b" is not a name`},
		{Config{DSN: right, Table: `a"`}, "is not a name"},
		{Config{DSN: right, Table: "a."}, "is not a name"},
		{Config{DSN: right, Table: strings.Repeat("a", 64)}, "is not a name"},
	} {
		_, err := New(row.config)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("New(%+v) = %v, want %q in it", row.config, err, row.want)
		}
		if err != nil && strings.Contains(fmt.Sprintf("%+v %#v", err, err), "canary") {
			t.Errorf("an error text holds a secret, where %q is wanted", row.want)
		}
	}
}

// The document shows the table as it is made.
func TestDefinition_isTheDocuments(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/sinks.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := "```sql\nCREATE TABLE IF NOT EXISTS " + DefaultTable + definition + "\n```"; !strings.Contains(string(text), want) {
		t.Errorf("docs/sinks.md lacks:\n%s", want)
	}
}

// TestJudge has what a test cannot bring a shared server to.
func TestJudge(t *testing.T) {
	t.Parallel()
	const canary = "canary"
	for _, row := range []struct {
		err  error
		want string
	}{
		{&pgconn.PgError{Code: "28P01", Message: `password authentication failed for user "canary"`}, "insert: the server refuses the login (28P01)"},
		{&pgconn.PgError{Code: "3D000", Message: `database "canary" does not exist`}, "insert: the server has no such database (3D000)"},
		{&pgconn.PgError{Code: "40001", Message: "could not serialize\naccess"}, "insert: answered 40001 (could not serialize access)"},
		{&pgconn.PgError{Code: "53100", Message: "disk full"}, "insert: answered 53100 (disk full)"},
		{&pgconn.PgError{Code: "57P01", Message: "terminating"}, "insert: answered 57P01 (terminating)"},
		{&pgconn.PgError{Code: "22001", ColumnName: "c", Message: "x"}, "for good: insert: the server refuses the event (22001, column c)"},
		{&pgconn.PgError{Code: "54000", Message: "x"}, "for good: insert: the server refuses the event (54000)"},
		{&createError{&pgconn.PgError{Code: "23505", Message: "duplicate key"}}, "create the table: answered 23505 (duplicate key)"},
		{errors.New("failed with canary"), "insert: the connection failed"},
		{&pgconn.ConnectError{Config: &pgconn.Config{User: canary}}, "insert: the connection failed"},
	} {
		err := judge(row.err)
		got := err.Error()
		if host.IsPermanent(err) {
			got = "for good: " + got
		}
		if got != row.want {
			t.Errorf("judge = %q, want %q", got, row.want)
		}
		if strings.Contains(fmt.Sprintf("%+v %#v %s", err, err, host.AnswerOf(err)), canary) {
			t.Errorf("a text holds a secret, where %q is wanted", row.want)
		}
	}
}
