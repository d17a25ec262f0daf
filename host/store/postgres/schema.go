package postgres

import (
	"context"
	_ "embed" // the tables
	"fmt"
	"hash/fnv"

	"github.com/jackc/pgx/v5"
)

// version is of the schema. A later one is refused, an earlier one is brought up
// to it here.
const version = 2

const (
	dedupPartitions = 8
	// partitionRecords is how many sequences a partition of the log has.
	partitionRecords = 1 << 20
)

//go:embed schema.sql
var tables string

// prepare makes the schema, or checks that it is one of ours.
func (s *Store) prepare(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := s.lockSchema(ctx, tx); err != nil {
			return err
		}
		var there bool
		if err := tx.QueryRow(ctx, `select to_regclass($1) is not null`, s.o.Schema+".counter").Scan(&there); err != nil {
			return err
		}
		if !there {
			return s.create(ctx, tx)
		}
		var found int
		if err := tx.QueryRow(ctx, `select version from counter`).Scan(&found); err != nil {
			return err
		}
		// Invariant 10: what this version does not know it does not touch.
		if found > version {
			return safe(fmt.Sprintf("schema %s has version %d, this version of postern knows %d: run the later one", s.o.Schema, found, version))
		}
		if found < version {
			return upgrade(ctx, tx)
		}
		return nil
	})
	if err != nil {
		return cause(err)
	}
	return cause(s.release(ctx))
}

// upgrade brings a schema of version 1 up to this one, which tells held callbacks
// from kept ones. Nodes of an earlier version append nothing from then on.
func upgrade(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `alter table kept add column if not exists held boolean not null default false`); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `update counter set version = $1`, version)
	return err
}

// lockSchema holds off other nodes that change the schema, until the
// transaction ends.
func (s *Store) lockSchema(ctx context.Context, tx pgx.Tx) error {
	h := fnv.New64a()
	_, _ = h.Write([]byte("postern schema " + s.o.Schema))
	_, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, int64(h.Sum64())) //nolint:gosec // any number does
	return err
}

func (s *Store) create(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `create schema if not exists `+s.o.Schema); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, tables); err != nil {
		return err
	}
	for i := range dedupPartitions {
		_, err := tx.Exec(ctx, fmt.Sprintf(`create table dedup_%d partition of dedup for values with (modulus %d, remainder %d)`, i, dedupPartitions, i))
		if err != nil {
			return err
		}
	}
	return createPartition(ctx, tx, 0)
}

// createPartition makes the partition of the log that has the sequence. Rows stay
// in one place up to the page's size: what is moved out is written twice.
func createPartition(ctx context.Context, tx pgx.Tx, seq int64) error {
	first := seq / partitionRecords * partitionRecords
	_, err := tx.Exec(ctx, fmt.Sprintf(
		`create table if not exists records_%d partition of records for values from (%d) to (%d) with (toast_tuple_target = 8160)`,
		first/partitionRecords, first, first+partitionRecords))
	return err
}

// addPartition makes the partition that the next sequences fall into. Another
// node may have done so.
func (s *Store) addPartition(ctx context.Context, tail int64) error {
	return pgx.BeginFunc(ctx, s.intake, func(tx pgx.Tx) error {
		if err := s.lockSchema(ctx, tx); err != nil {
			return err
		}
		var next int64
		if err := tx.QueryRow(ctx, `select next from counter`).Scan(&next); err != nil {
			return err
		}
		if err := createPartition(ctx, tx, next); err != nil {
			return err
		}
		return createPartition(ctx, tx, next+tail)
	})
}
