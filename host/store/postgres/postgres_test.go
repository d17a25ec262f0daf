package postgres_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres"
	"github.com/postern/postern/host/store/storetest"
)

// server is the dsn of a server that tests may make schemas on.
func server(t testing.TB) string {
	t.Helper()
	dsn := os.Getenv("POSTERN_TEST_POSTGRES")
	if dsn == "" {
		t.Skip("set POSTERN_TEST_POSTGRES to a PostgreSQL server, postgres://postgres@127.0.0.1:5432/test")
	}
	return dsn
}

// connect opens a session beside the store's own.
func connect(t testing.TB) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), server(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// exec runs sql on a session of its own.
func exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	c, err := pgx.Connect(context.Background(), server(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	if _, err := c.Exec(context.Background(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// schema names one for a test, and drops it when the test that first asked ends.
func schema(t testing.TB, key string) string {
	t.Helper()
	h := fnv.New64a()
	fmt.Fprint(h, key, os.Getpid())
	name := fmt.Sprintf("postern_test_%x", h.Sum64())
	if _, known := schemas.LoadOrStore(name, true); !known {
		t.Cleanup(func() {
			exec(t, "drop schema if exists "+name+" cascade")
			schemas.Delete(name)
		})
	}
	return name
}

// schemas are those that some test drops.
var schemas sync.Map

// open opens a store or ends the test.
func open(t testing.TB, o postgres.Options) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(context.Background(), server(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func engine() storetest.Engine {
	const never = "it has no such index"
	return storetest.Engine{
		Open: func(t *testing.T, dir string, now func() time.Time) host.Store {
			return open(t, postgres.Options{
				Schema: schema(t, dir), Node: "one", Now: now, Poll: -1,
				MaxKept: storetest.KeptBound, MaxRing: storetest.RingBound,
			})
		},
		Reopens:    true,
		Kill:       func(_ *testing.T, s host.Store) { s.(*postgres.Store).Abandon() },
		NoTimeline: never, NoSearch: never,
	}
}

func TestStore(t *testing.T) {
	server(t)
	storetest.Run(t, engine())
}

func TestSimulate(t *testing.T) {
	server(t)
	storetest.SimulateSeeds(t, engine(), 4, 8000)
}
