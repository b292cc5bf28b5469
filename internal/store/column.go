package store

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
)

// JSON wraps a pointer (for scanning) or any value (for writing) as a column
// that holds JSON text. NULL and "" leave the destination untouched.
func JSON(v any) interface {
	sql.Scanner
	driver.Valuer
} {
	return jsonColumn{v}
}

type jsonColumn struct{ v any }

func (c jsonColumn) Value() (driver.Value, error) {
	b, err := json.Marshal(c.v)
	if err != nil {
		return nil, fmt.Errorf("encode JSON column: %w", err)
	}
	return string(b), nil
}

func (c jsonColumn) Scan(src any) error {
	var b []byte
	switch s := src.(type) {
	case nil:
		return nil
	case string:
		b = []byte(s)
	case []byte:
		b = s
	default:
		return fmt.Errorf("JSON column holds %T, expected text", src)
	}
	if len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, c.v); err != nil {
		return fmt.Errorf("decode JSON column: %w", err)
	}
	return nil
}

// Time wraps a time as a BIGINT column of microseconds since the epoch, UTC;
// the zero time is 0.
func Time(t *time.Time) interface {
	sql.Scanner
	driver.Valuer
} {
	return timeColumn{t}
}

// At is Time for a value that is only written.
func At(t time.Time) driver.Valuer { return timeColumn{&t} }

type timeColumn struct{ t *time.Time }

func (c timeColumn) Value() (driver.Value, error) { return micros(*c.t), nil }

func (c timeColumn) Scan(src any) error {
	switch s := src.(type) {
	case nil:
		*c.t = time.Time{}
	case int64:
		*c.t = timeOf(s)
	default:
		return fmt.Errorf("time column holds %T, expected integer microseconds", src)
	}
	return nil
}
