package deployment

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

func csrOf(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"what.the.node.wishes"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyPEM(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// TestSign signs a request and verifies what came out as a client would: names of the caller, none of the node's wishes.
func TestSign(t *testing.T) {
	now := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	ca, err := newAuthority("overcloud", now)
	if err != nil {
		t.Fatal(err)
	}
	req, err := newRequest(newInput(map[string]any{"request": csrOf(t, ecKey(t)), "names": []any{"c0.localdomain", "10.0.0.4", "C0.ctlplane.localdomain", "10.0.0.4"},
		"units": []any{"nova_libvirt"}}))
	if err != nil {
		t.Fatal(err)
	}
	text, err := ca.sign(req, now)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := parseCertificates(text)
	if err != nil {
		t.Fatal(err)
	}
	c := certs[0]
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca.pem))
	for _, name := range []string{"c0.localdomain", "c0.ctlplane.localdomain", "10.0.0.4"} {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			if _, err := c.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now.Add(300 * 24 * time.Hour), KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if c.VerifyHostname("what.the.node.wishes") == nil {
		t.Error("the certificate has a name that only the node's request had")
	}
	if c.Subject.String() != "CN=c0.localdomain,OU=nova_libvirt" || len(c.IPAddresses) != 1 {
		t.Errorf("subject %s, addresses %v", c.Subject, c.IPAddresses)
	}
	if c.KeyUsage&x509.KeyUsageKeyEncipherment == 0 {
		t.Error("libvirt refuses a certificate whose key may not encipher others")
	}
	if c.IsCA {
		t.Error("the certificate is one of an authority")
	}
}

// TestStill decides which present certificates stay.
func TestStill(t *testing.T) {
	now := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	ca, err := newAuthority("overcloud", now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newAuthority("overcloud", now)
	if err != nil {
		t.Fatal(err)
	}
	key := ecKey(t)
	of := func(key any, days int, units []any, names ...any) *request {
		req, err := newRequest(newInput(map[string]any{"request": csrOf(t, key), "names": names, "units": units, "days": days}))
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	have, err := ca.sign(of(key, 365, nil, "c0", "10.0.0.4"), now)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		reason  string
		ca      *authority
		current string
		req     *request
		after   time.Duration
		want    bool
	}{
		{"the same, a moment later", ca, have, of(key, 365, nil, "c0", "10.0.0.4"), time.Minute, true},
		{"the same, when more than a third is left", ca, have, of(key, 365, nil, "c0", "10.0.0.4"), 243 * day, true},
		{"the last third", ca, have, of(key, 365, nil, "c0", "10.0.0.4"), 244 * day, false},
		{"it ended", ca, have, of(key, 365, nil, "c0", "10.0.0.4"), 400 * day, false},
		{"a shorter life is wanted", ca, have, of(key, 30, nil, "c0", "10.0.0.4"), time.Minute, false},
		{"another key", ca, have, of(ecKey(t), 365, nil, "c0", "10.0.0.4"), time.Minute, false},
		{"another name", ca, have, of(key, 365, nil, "c1", "10.0.0.4"), time.Minute, false},
		{"a further address", ca, have, of(key, 365, nil, "c0", "10.0.0.4", "10.0.0.5"), time.Minute, false},
		{"another unit", ca, have, of(key, 365, []any{"x"}, "c0", "10.0.0.4"), time.Minute, false},
		{"another authority", other, have, of(key, 365, nil, "c0", "10.0.0.4"), time.Minute, false},
		{"none", ca, "", of(key, 365, nil, "c0", "10.0.0.4"), time.Minute, false},
		{"no certificate", ca, "x", of(key, 365, nil, "c0", "10.0.0.4"), time.Minute, false},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			if got := tt.ca.still(tt.current, tt.req, now.Add(tt.after)); got != tt.want {
				t.Errorf("it stays: %t, want %t", got, tt.want)
			}
		})
	}
}

// TestBadRequests are refused with the value and what was expected.
func TestBadRequests(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := csrOf(t, ecKey(t))
	many := make([]any, maxNames+1)
	for i := range many {
		many[i] = "10.0.0.1"
	}
	for _, tt := range []struct {
		reason, want string
		in           map[string]any
	}{
		{"no request", "CERTIFICATE REQUEST", map[string]any{"request": "", "names": []any{"a"}}},
		{"a large request", "at most", map[string]any{"request": strings.Repeat("x", maxPEM+1), "names": []any{"a"}}},
		{"a weak key", "1024 bits, expected at least 2048", map[string]any{"request": csrOf(t, weak), "names": []any{"a"}}},
		{"no names", "0 of them", map[string]any{"request": good, "names": []any{}}},
		{"too many names", "201 of them", map[string]any{"request": good, "names": many}},
		{"a wildcard", `"*.a"`, map[string]any{"request": good, "names": []any{"*.a"}}},
		{"no text", `"<nil>"`, map[string]any{"request": good, "names": []any{nil}}},
		{"too long a life", "expected 1 to 825", map[string]any{"request": good, "names": []any{"a"}, "days": 826}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			if _, err := newRequest(newInput(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected one with %q", err, tt.want)
			}
		})
	}
}

// TestParseAuthority reads operators' authorities; errors do not quote keys.
func TestParseAuthority(t *testing.T) {
	now := time.Now()
	ca, err := newAuthority("own", now)
	if err != nil {
		t.Fatal(err)
	}
	leaf := ecKey(t)
	req, err := newRequest(newInput(map[string]any{"request": csrOf(t, leaf), "names": []any{"a"}}))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.sign(req, now)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ca.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	opensslKey := "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}))
	for _, tt := range []struct{ reason, cert, key, want string }{
		{"as openssl genpkey writes it", ca.pem, keyPEM(t, ca.key), ""},
		{"as openssl ecparam -genkey writes it", ca.pem, opensslKey, ""},
		{"no certificate", "x", keyPEM(t, ca.key), "CERTIFICATE"},
		{"key and certificate exchanged", keyPEM(t, ca.key), ca.pem, "found PRIVATE KEY"},
		{"another key", ca.pem, keyPEM(t, leaf), "not that of the certificate"},
		{"no authority", cert, keyPEM(t, leaf), "not one of an authority"},
		{"a damaged key", ca.pem, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "cannot be read"},
		{"a key with a passphrase", ca.pem, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n", "without a passphrase"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			a, err := parseAuthority(tt.cert, tt.key)
			if tt.want == "" {
				if err != nil || !a.cert.Equal(ca.cert) {
					t.Errorf("authority %v, error %v", a, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "c2VjcmV0") || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v, expected one with %q", err, tt.want)
			}
		})
	}
}
