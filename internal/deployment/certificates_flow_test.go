package deployment_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// certificate checks that text is one certificate of key, signed by one of the trusted ones, and returns it.
func certificate(t *testing.T, text, trusted string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no certificate: %q", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(trusted))
	if _, err := c.Verify(x509.VerifyOptions{Roots: roots, DNSName: "10.0.0.4"}); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCertificates makes a plan's authority, has it sign, and goes to the next authority and on to an operator's, through the
// API. At each step a node trusts what any other one has from the step before.
func TestCertificates(t *testing.T) {
	r := start(t)
	files := tinyPlan()
	r.upload("tiny", files)
	r.ok("tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": "tiny"})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	must(t, err)
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	work := func(name string, input map[string]any) map[string]any {
		t.Helper()
		input["container"] = "tiny"
		state, out, info := r.run("tripleo.certificates.v1."+name, input)
		if state != "SUCCESS" {
			t.Fatalf("%s: %s %s", name, state, info)
		}
		return out
	}
	issue := func(current string) (string, string) {
		t.Helper()
		out := work("issue", map[string]any{"request": csr, "names": []any{"c0.localdomain", "10.0.0.4"}, "current": current})
		cert, _ := out["certificate"].(string)
		trusted, _ := out["authority"].(string)
		return cert, trusted
	}
	in := map[string]any{"container": "tiny"}
	if state, _, info := r.run("tripleo.certificates.v1.issue", map[string]any{"container": "tiny", "request": csr, "names": []any{"a"}}); state != "ERROR" || !strings.Contains(info, "no certificate authority") {
		t.Errorf("a certificate without an authority: %s %s", state, info)
	}
	first := work("authority", map[string]any{})["certificate"]
	if again := work("authority", map[string]any{})["certificate"]; again != first {
		t.Error("the second call made another authority")
	}
	cert, trusted := issue("")
	old := certificate(t, cert, trusted)
	if again, _ := issue(cert); again != cert {
		t.Error("a good certificate was replaced")
	}

	// No API shows a key.
	var env map[string]any
	_, err = r.wf.Get(t.Context(), r.wf.ServiceURL("environments", "tripleo.certificates.tiny"), &env, nil)
	must(t, err)
	if v, _ := env["variables"].(string); !strings.Contains(v, "BEGIN CERTIFICATE") || strings.Contains(v, "PRIVATE KEY") {
		t.Errorf("the environment shows a key, or no certificate: %v", env)
	}

	// trusted, signs, alone
	r.action("tripleo.certificates.rotate_authority", in)
	if again, both := issue(cert); again != cert || strings.Count(both, "BEGIN CERTIFICATE") != 2 {
		t.Errorf("the new authority is not only trusted:\n%s", both)
	}
	r.action("tripleo.certificates.rotate_authority", in)
	next, both := issue(cert)
	if c := certificate(t, next, both); c.Issuer.String() == old.Issuer.String() {
		t.Error("the new authority does not sign")
	}
	certificate(t, cert, both)
	r.action("tripleo.certificates.rotate_authority", in)
	if again, alone := issue(next); again != next || strings.Count(alone, "BEGIN CERTIFICATE") != 1 {
		t.Errorf("the former authority is not away:\n%s", alone)
	}

	// An operator's own one, by parameters.
	pemText, keyText := operatorsCA(t)
	r.action("tripleo.parameters.update", map[string]any{"container": "tiny", "validate": false, "parameters": map[string]any{"InternalTLSCACertificate": pemText}})
	if state, _, info := r.run("tripleo.certificates.v1.authority", in); state != "ERROR" || !strings.Contains(info, "needed both") {
		t.Errorf("a certificate without its key: %s %s", state, info)
	}
	r.action("tripleo.parameters.update", map[string]any{"container": "tiny", "validate": false, "parameters": map[string]any{"InternalTLSCAKey": keyText}})
	if out, _ := work("authority", map[string]any{})["certificate"].(string); !strings.HasSuffix(out, pemText) || strings.Count(out, "BEGIN CERTIFICATE") != 2 {
		t.Errorf("the operator's authority is not trusted beside the former one:\n%s", out)
	}
	r.action("tripleo.certificates.rotate_authority", in)
	cert, trusted = issue(next)
	if c := certificate(t, cert, trusted); c.Issuer.CommonName != "operator" {
		t.Errorf("issuer %s", c.Issuer)
	}
}

func operatorsCA(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "operator"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	must(t, err)
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder}))
}
