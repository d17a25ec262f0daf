package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Configure sets something in every session that appends, as the reload of a
// server does.
func (s *Store) Configure(ctx context.Context, sql string) error {
	var all []*pgxpool.Conn
	defer func() {
		for _, c := range all {
			c.Release()
		}
	}()
	for range s.intake.Config().MaxConns {
		c, err := s.intake.Acquire(ctx)
		if err != nil {
			return err
		}
		all = append(all, c)
		if _, err := c.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// Abandon frees what the store holds in this process, as the end of the process
// would, and gives nothing back.
func (s *Store) Abandon() {
	s.disconnect()
	s.appends.close()
	s.rejects.close()
}
