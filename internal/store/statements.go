package store

import (
	"context"
	"database/sql/driver"
	"errors"

	"modernc.org/sqlite"
)

// A third of a busy undercloud's time went into parsing the same few hundred
// statements again and again, so each SQLite connection keeps the ones it has
// prepared. PostgreSQL's driver does that by itself.

// maxStatements bounds what a connection keeps; a statement is a few KiB.
const maxStatements = 400

// connector opens connections that keep their prepared statements.
type connector struct {
	driver *sqlite.Driver
	name   string
}

func newConnector(name string) connector { return connector{&sqlite.Driver{}, name} }

// Connect implements driver.Connector.
func (c connector) Connect(context.Context) (driver.Conn, error) {
	inner, err := c.driver.Open(c.name)
	if err != nil {
		return nil, err
	}
	full, ok := inner.(sqliteConn)
	if !ok {
		return nil, errors.Join(errors.New("the SQLite driver's connection lacks a method"), inner.Close())
	}
	return &conn{sqliteConn: full, kept: map[string]*statement{}}, nil
}

// Driver implements driver.Connector.
func (c connector) Driver() driver.Driver { return c.driver }

// sqliteConn is what database/sql uses of the driver's connection.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// conn is used by one goroutine at a time, as database/sql promises.
type conn struct {
	sqliteConn

	kept map[string]*statement
}

// statement is a prepared statement. It is busy while its rows are open, and
// the same text is then run the plain way.
type statement struct {
	driver.Stmt

	busy bool
}

// prepared returns the statement of a text, nil if it is busy.
func (c *conn) prepared(ctx context.Context, q string) (*statement, error) {
	if s, ok := c.kept[q]; ok {
		if s.busy {
			return nil, nil //nolint:nilnil // none to be had
		}
		return s, nil
	}
	inner, err := c.PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	if len(c.kept) >= maxStatements {
		for text, s := range c.kept { // any: those in use come back at once
			if !s.busy {
				delete(c.kept, text)
				if err := s.Close(); err != nil {
					return nil, errors.Join(err, inner.Close())
				}
				break
			}
		}
	}
	s := &statement{Stmt: inner}
	c.kept[q] = s
	return s, nil
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.prepared(ctx, q)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if st, ok := s.Stmt.(driver.StmtExecContext); ok {
			return st.ExecContext(ctx, args)
		}
	}
	return c.sqliteConn.ExecContext(ctx, q, args)
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.prepared(ctx, q)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if st, ok := s.Stmt.(driver.StmtQueryContext); ok {
			r, err := st.QueryContext(ctx, args)
			if err != nil {
				return nil, err
			}
			s.busy = true
			return &rows{Rows: r, s: s}, nil
		}
	}
	return c.sqliteConn.QueryContext(ctx, q, args)
}

// Close closes the statements and the connection.
func (c *conn) Close() error {
	var errs []error
	for _, s := range c.kept {
		errs = append(errs, s.Close())
	}
	clear(c.kept)
	return errors.Join(append(errs, c.sqliteConn.Close())...)
}

// rows gives its statement back when it is closed.
type rows struct {
	driver.Rows

	s *statement
}

// Close implements driver.Rows.
func (r *rows) Close() error {
	err := r.Rows.Close()
	r.s.busy = false
	return err
}
