package storetest

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/store"
)

// Each runs test on a new SQLite database and on a new PostgreSQL server of
// its own, which listens on a socket in a temporary folder. Without
// PostgreSQL's programs that half is skipped, loudly.
func Each(t *testing.T, test func(t *testing.T, db *store.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, Open(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, OpenPostgres(t)) })
}

// serverVariable tells Open of a server that OnPostgres has started.
const serverVariable = "STORETEST_POSTGRES"

// OnPostgres runs tests that use Open once more, on one new PostgreSQL server,
// each on databases of its own. They must not run in parallel.
func OnPostgres(t *testing.T, tests map[string]func(*testing.T)) {
	t.Helper()
	t.Setenv(serverVariable, PostgresDSN(t))
	for name, test := range tests {
		t.Run(name, test)
	}
}

// newDatabase makes a database on a server and returns its address.
func newDatabase(t testing.TB, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	name := "test" + strings.ReplaceAll(uuid.NewString(), "-", "")
	cmd := exec.CommandContext(t.Context(), "createdb", "-h", u.Query().Get("host"), "-U", u.Query().Get("user"), name) //nolint:gosec // our own server
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("createdb: %v\n%s", err, out)
	}
	u.Path = "/" + name
	return u.String()
}

// OpenPostgres opens the database of PostgresDSN.
func OpenPostgres(t testing.TB) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), PostgresDSN(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// PostgresDSN starts a PostgreSQL server that ends with the test.
func PostgresDSN(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		t.Skip("SKIPPED, NOT TESTED ON POSTGRESQL: no /usr/lib/postgresql/*/bin/initdb, install the package postgresql")
	}
	bin := filepath.Dir(found[len(found)-1])
	dir, err := os.MkdirTemp("/tmp", "pg") // short: a socket's path has a bound
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	run := func(ctx context.Context, name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: unprivileged(t, dir), Pdeathsig: syscall.SIGKILL}
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := run(t.Context(), "initdb", "-D", data, "-U", "test", "-A", "trust", "--no-sync", "--no-instructions").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	server := run(context.Background(), "postgres", "-D", data, "-k", dir, "-h", "", "-F")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGQUIT)
		_ = server.Wait()
	})
	dsn := "postgres:///postgres?" + url.Values{"host": {dir}, "user": {"test"}}.Encode()
	for deadline := time.Now().Add(30 * time.Second); ; {
		db, err := store.Open(t.Context(), dsn)
		if err == nil {
			_ = db.Close()
			return dsn
		}
		if time.Now().After(deadline) {
			t.Fatalf("PostgreSQL does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // another process is starting: there is nothing to wait on
	}
}

// unprivileged returns another user's credentials for root, whom PostgreSQL
// refuses, and hands the folder over.
func unprivileged(t testing.TB, dir string) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED ON POSTGRESQL: %v", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
