package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/store"
)

// On a full disk nothing can be added, but everything can be deleted, and then
// something added again.
func TestFullDiskCanBeEmptied(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED ON A FULL DISK: mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("SKIPPED, NOT TESTED ON A FULL DISK: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	exec := func(q string, args ...any) error {
		return db.Group(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(q, args...)
			return err
		})
	}
	if err := errors.Join(exec(`CREATE TABLE full_things (id INTEGER PRIMARY KEY, text TEXT)`), exec(`CREATE TABLE full_notes (text TEXT)`)); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 10_000)
	stored := 0
	for err = nil; err == nil; stored++ {
		if stored > 2000 {
			t.Fatal("a disk of 16 MiB took 20 MB")
		}
		err = exec(`INSERT INTO full_things VALUES (?, ?)`, stored, text)
	}
	stored--
	if !errors.Is(err, store.ErrFull) || stored < 100 {
		t.Fatalf("after %d rows: %v, expected ErrFull", stored, err)
	}
	if err := exec(`UPDATE full_things SET text = ? WHERE id = 0`, strings.Repeat("y", 10_000)); err != nil {
		t.Errorf("a change that needs no space: %v", err)
	}
	err = db.Tx(store.Freeing(t.Context()), func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO full_notes VALUES (?)`, text)
		return err
	})
	if err != nil {
		t.Errorf("what a deletion notes down: %v", err)
	}
	for i := range stored - 10 {
		if err := exec(`DELETE FROM full_things WHERE id = ?`, i); err != nil {
			t.Fatalf("deletion %d on a full disk: %v", i, err)
		}
	}
	for i := range 50 {
		if err := exec(`INSERT INTO full_things VALUES (?, ?)`, i, text); err != nil {
			t.Fatalf("row %d with space again: %v", i, err)
		}
	}
}
