package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// MaxNotification is the most bytes a notification may carry: PostgreSQL
// refuses 8000 and more.
// https://www.postgresql.org/docs/current/sql-notify.html
const MaxNotification = 7999

// Shared says whether other processes may use the same database now, and
// whether Notify and Listen reach them.
func (db *DB) Shared() bool { return db.dialect == dialectPostgres }

var errNotShared = errors.New("an embedded database has no other processes to notify")

// Notify sends text to all that listen on channel, this process included. It
// is for shared databases only.
func (db *DB) Notify(ctx context.Context, channel, text string) error {
	if !db.Shared() {
		return errNotShared
	}
	if len(text) > MaxNotification {
		return fmt.Errorf("a notification of %d bytes, expected at most %d", len(text), MaxNotification)
	}
	_, err := db.write.ExecContext(ctx, "SELECT pg_notify($1, $2)", channel, text)
	return err
}

// Listen calls heard for each notification on channel until ctx ends or the
// connection is lost, and returns why. It calls ready first, once nothing sent
// from then on can be missed. It is for shared databases only.
func (db *DB) Listen(ctx context.Context, channel string, ready func(), heard func(text string)) error {
	if !db.Shared() {
		return errNotShared
	}
	conn, err := db.read.Conn(ctx)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", channel, err)
	}
	err = conn.Raw(func(driver any) error {
		c, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("listen on %s: the driver is %T", channel, driver)
		}
		pg := c.Conn()
		if _, err := pg.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return err
		}
		ready()
		for {
			n, err := pg.WaitForNotification(ctx)
			if err != nil {
				// The connection still listens, so it may not serve others: close it for good.
				return errors.Join(err, pg.Close(context.WithoutCancel(ctx)))
			}
			heard(n.Payload)
		}
	})
	return errors.Join(err, ignoreDone(conn.Close()))
}
