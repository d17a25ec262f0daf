package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres"
)

// postgresServer is the dsn of the server to measure, on which a schema is made
// and dropped.
func postgresServer(b *testing.B) string {
	b.Helper()
	dsn := os.Getenv("POSTERN_TEST_POSTGRES")
	if dsn == "" {
		b.Skip("set POSTERN_TEST_POSTGRES to a PostgreSQL server, postgres://postgres@127.0.0.1:5432/test")
	}
	return dsn
}

// postgresSchema names one that is dropped in the end.
func postgresSchema(b *testing.B) (name string, c *pgx.Conn) {
	b.Helper()
	name = fmt.Sprintf("postern_bench_%x", rand.Uint64())
	c, err := pgx.Connect(context.Background(), postgresServer(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if _, err := c.Exec(context.Background(), "drop schema if exists "+name+" cascade"); err != nil {
			b.Error(err)
		}
		_ = c.Close(context.Background())
	})
	return name, c
}

// BenchmarkPostgres measures durable appends of one node and of several that share
// a schema. The server is wherever it is: this says as much of it as of Postern.
func BenchmarkPostgres(b *testing.B) {
	all := newCallbacks()
	for _, nodes := range []int{1, 2} {
		for _, writers := range []int{1, 16, 64} {
			if writers < nodes {
				continue
			}
			b.Run(fmt.Sprintf("nodes=%d/writers=%d", nodes, writers), func(b *testing.B) {
				name, _ := postgresSchema(b)
				var stores []host.Store
				for range nodes {
					s, err := postgres.Open(context.Background(), postgresServer(b), postgres.Options{Schema: name})
					if err != nil {
						b.Fatal(err)
					}
					stores = append(stores, s)
				}
				runAppends(b, writers, func(n int) error {
					_, err := stores[n%nodes].Append(context.Background(), all.at(n))
					return err
				})
				for _, s := range stores {
					if err := s.Close(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkSequence is why records have their numbers from a row that is locked
// until the commit: what that costs beside a sequence of the server's, whose
// numbers can be passed over by a reader. It measures the transaction of an
// append alone, of a group of callbacks.
func BenchmarkSequence(b *testing.B) {
	for _, nodes := range []int{1, 2, 4} {
		for _, group := range []int{16, 128} {
			for _, from := range []string{"counter", "sequence"} {
				b.Run(fmt.Sprintf("nodes=%d/group=%d/from=%s", nodes, group, from), func(b *testing.B) {
					runGroups(b, nodes, group, from)
				})
			}
		}
	}
}

// numbering are the ways to the first of a group's numbers.
var numbering = map[string]string{
	"counter":  `with c as (update counter set next = next + $1 returning next - $1 as first)`,
	"sequence": `with c as materialized (select nextval('numbers') * $1 as first)`,
}

func runGroups(b *testing.B, nodes, group int, from string) {
	name, c := postgresSchema(b)
	if _, err := c.Exec(context.Background(), fmt.Sprintf(`create schema %[1]s; set search_path = %[1]s;
		create table counter (next bigint not null) with (fillfactor = 10); insert into counter values (1);
		create sequence numbers;
		create table dedup (key bytea primary key, seq bigint);
		create table records (seq bigint primary key, events bytea, raw bytea) with (toast_tuple_target = 8160);
		alter table records alter column events set storage external, alter column raw set storage external`, name)); err != nil {
		b.Fatal(err)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range nodes {
		c, err := pgx.Connect(context.Background(), postgresServer(b))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Close(context.Background()) }()
		if _, err := c.Exec(context.Background(), "set search_path = "+name); err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			for left.Add(-int64(group)) > -int64(group) {
				if err := appendGroup(c, group, numbering[from]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.ResetTimer()
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
}

// appendGroup is the two round trips of an append: dedup keys first, then numbers,
// records and the commit.
func appendGroup(c *pgx.Conn, group int, number string) error {
	keys, events, raw := make([][]byte, group), make([][]byte, group), make([][]byte, group)
	places := make([]int32, group)
	for i := range group {
		keys[i], events[i], raw[i], places[i] = fmt.Appendf(nil, "%016x", rand.Uint64()), make([]byte, eventSize), make([]byte, rawSize), int32(i)
	}
	var first, second pgx.Batch
	first.Queue(`begin`)
	first.Queue(`insert into dedup (key) select unnest($1::bytea[]) on conflict do nothing`, keys)
	second.Queue(number+` insert into records select (select first from c) + u.place, u.events, u.raw
		from unnest($2::integer[], $3::bytea[], $4::bytea[]) u (place, events, raw)`, group, places, events, raw)
	second.Queue(`commit`)
	if err := c.SendBatch(context.Background(), &first).Close(); err != nil {
		return err
	}
	return c.SendBatch(context.Background(), &second).Close()
}
