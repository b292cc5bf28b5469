package service

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// trustFile is where Debian has the authorities that a node trusts.
const trustFile = "/etc/ssl/certs/ca-certificates.crt"

// freshRoots sends each request over a connection of its own, and trusts the authorities that the node has then: the Go runtime
// reads them once a process, and a deployment may have added one since.
type freshRoots struct{ host *host.Host }

// RoundTrip implements http.RoundTripper.
func (f freshRoots) RoundTrip(req *http.Request) (*http.Response, error) {
	t := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if data, err := f.host.ReadFile(trustFile); err == nil {
		pool := x509.NewCertPool()
		if pool.AppendCertsFromPEM(data) {
			t.TLSClientConfig.RootCAs = pool
		}
	}
	return t.RoundTrip(req)
}
