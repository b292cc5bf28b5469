package undercloud

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestOwnCertificateIsRenewedAndKeepsItsAuthority(t *testing.T) {
	cfg := Config{DataDir: t.TempDir(), Host: "cloud.example", Listen: "192.0.2.7:443"}
	now := time.Now()
	c, err := openCertificate(&cfg, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		t.Helper()
		cert, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf := cert.Leaf
		roots := x509.NewCertPool()
		pem, err := os.ReadFile(filepath.Join(cfg.tlsDir(), "ca.pem"))
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			t.Fatalf("no authority: %v", err)
		}
		for _, name := range []string{"cloud.example", "192.0.2.7", "localhost", "127.0.0.1"} {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, DNSName: name}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		return leaf.SerialNumber.String()
	}
	authority, err := os.ReadFile(filepath.Join(cfg.tlsDir(), "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	first := serial()
	now = now.Add(serverLife - renewWithin - time.Hour)
	if serial() != first {
		t.Error("renewed long before the end")
	}
	now = now.Add(2 * time.Hour)
	second := serial()
	if second == first {
		t.Error("not renewed in its last month")
	}
	if again, err := os.ReadFile(filepath.Join(cfg.tlsDir(), "ca.pem")); err != nil || !bytes.Equal(again, authority) {
		t.Errorf("the authority changed (%v): every client would have to be told", err)
	}
	cfg.Host = "other.example"
	if c, err = openCertificate(&cfg, c.now, c.log); err != nil {
		t.Fatal(err)
	}
	if got, err := c.get(nil); err != nil || got.Leaf.VerifyHostname("other.example") != nil {
		t.Errorf("the certificate does not follow the host's name (%v)", err)
	}
	for _, name := range []string{"ca.key", "server.key"} {
		if fi, err := os.Stat(filepath.Join(cfg.tlsDir(), name)); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, expected mode 0600", name, fi, err)
		}
	}
}

func TestDamagedFilesLeaveTheOldCertificate(t *testing.T) {
	cfg := Config{DataDir: t.TempDir(), Host: "cloud.example", Listen: "192.0.2.7:443"}
	if err := issue(cfg.tlsDir(), cfg.certificateNames(), time.Now()); err != nil {
		t.Fatal(err)
	}
	given := Config{TLS: TLS{Cert: filepath.Join(cfg.tlsDir(), "server.pem"), Key: filepath.Join(cfg.tlsDir(), "server.key")}}
	now := time.Now()
	c, err := openCertificate(&given, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	old, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(given.TLS.Cert, []byte("half a cert"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if got, err := c.get(nil); err != nil || got != old {
		t.Errorf("%v, %v; expected the certificate from before", got, err)
	}
	if _, err := openCertificate(&given, c.now, c.log); err == nil {
		t.Error("a start with a damaged certificate succeeded")
	}
}
