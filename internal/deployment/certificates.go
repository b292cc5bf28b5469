package deployment

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Vault encrypts what is kept where an API could show it. It is what store.Vault is.
type Vault interface {
	// Lock returns a text that only Unlock opens, with the same owner.
	Lock(data []byte, owner string) string
	// Unlock fails when the text was changed or is another owner's.
	Unlock(text, owner string) ([]byte, error)
}

const (
	authorityLife      = 10 * 365 * 24 * time.Hour
	certificateDays    = 365
	maxCertificateDays = 825 // Apple's and others' limit for certificates of private authorities
	maxNames           = 200
	maxPEM             = 64 << 10
	maxCommonName      = 64            // ub-common-name of RFC 5280, appendix A.1
	clockSkew          = 1 * time.Hour // a node's clock may be late
	// libvirt refuses a certificate that may not encipher keys, though only RSA does that.
	leafUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	// caCertificateParam and caKeyParam are an operator's own authority.
	caCertificateParam = "InternalTLSCACertificate"
	caKeyParam         = "InternalTLSCAKey"
)

// authority is a certificate authority of a plan.
type authority struct {
	pem  string // certificate, or the operator's chain: the authority's own first
	key  crypto.Signer
	cert *x509.Certificate
}

// authorities are those that the nodes of a plan trust: one, or the old and the new one while they change. Signer says which
// of them signs.
type authorities struct {
	list   []authority
	signer int
}

// certificatesEnv names the Mistral environment that has the authorities of a plan; keys in it are locked.
func certificatesEnv(container string) string { return "tripleo.certificates." + container }

// readAuthorities returns the authorities of a plan, nil when it has none yet.
func (r *run) readAuthorities(container string) (*authorities, error) {
	if r.cfg.Vault == nil {
		return nil, errors.New("this server has no vault for keys of certificate authorities")
	}
	name := certificatesEnv(container)
	vars, err := r.mirrored(name)
	if err != nil {
		return nil, err
	}
	entries, _ := dig(vars, "authorities").([]any)
	if len(entries) == 0 {
		return nil, nil
	}
	out := &authorities{}
	for i, e := range entries {
		key, err := r.cfg.Vault.Unlock(text(e, "key"), name)
		if err != nil {
			return nil, fmt.Errorf("workflow environment %s: key of authority %d: %w", name, i, err)
		}
		a, err := parseAuthority(text(e, "certificate"), string(key))
		if err != nil {
			return nil, fmt.Errorf("workflow environment %s: authority %d: %w", name, i, err)
		}
		out.list = append(out.list, *a)
	}
	signer, _ := dig(vars, "signer").(int64)
	if signer < 0 || int(signer) >= len(out.list) {
		return nil, fmt.Errorf("workflow environment %s: signer is %d of %d authorities", name, signer, len(out.list))
	}
	out.signer = int(signer)
	return out, nil
}

func (r *run) writeAuthorities(container string, as *authorities) error {
	name := certificatesEnv(container)
	entries := []any{}
	for _, a := range as.list {
		der, err := x509.MarshalPKCS8PrivateKey(a.key)
		if err != nil {
			return err
		}
		key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		entries = append(entries, yaml11.MapOf("certificate", a.pem, "key", r.cfg.Vault.Lock(key, name)))
	}
	return r.mirror(name, "Certificate authorities of plan "+container, yaml11.MapOf("authorities", entries, "signer", int64(as.signer)))
}

// trusted is the certificates of all authorities, PEM.
func (as *authorities) trusted() string {
	var b strings.Builder
	for _, a := range as.list {
		b.WriteString(a.pem)
	}
	return b.String()
}

func newAuthority(plan string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	// Part of the number makes names of successors differ: clients find an issuer by its name.
	number := serial()
	tmpl := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: authorityName(plan, number)}, NotBefore: now.Add(-clockSkew), NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), key: key, cert: cert}, nil
}

func authorityName(plan string, number *big.Int) string {
	suffix := fmt.Sprintf(" %08x", number.Uint64()&0xffffffff)
	name := "tripleo " + plan
	return name[:min(len(name), maxCommonName-len(suffix))] + suffix
}

// parseAuthority reads an authority's certificate (and, for an operator's intermediate one, the certificates above it) and
// its key. Errors never quote the key.
func parseAuthority(certificate, key string) (*authority, error) {
	certs, err := parseCertificates(certificate)
	if err != nil {
		return nil, err
	}
	cert := certs[0]
	if !cert.IsCA || !cert.BasicConstraintsValid {
		return nil, fmt.Errorf("the certificate of %s is not one of an authority (basic constraint CA)", cert.Subject)
	}
	if cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("the key of %s may not sign certificates (key usage)", cert.Subject)
	}
	signer, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	if pub, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("the key is not that of the certificate of %s", cert.Subject)
	}
	return &authority{pem: encodeCertificates(certs), key: signer, cert: cert}, nil
}

func parseCertificates(text string) ([]*x509.Certificate, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("certificates of %d bytes, at most %d", len(text), maxPEM)
	}
	var out []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block CERTIFICATE was expected, found %s", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM block CERTIFICATE was found")
	}
	return out, nil
}

func encodeCertificates(certs []*x509.Certificate) string {
	var b bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a Buffer takes everything
	}
	return b.String()
}

// parseKey reads a private key in one of the three encodings in use; it has to be without a passphrase.
func parseKey(text string) (crypto.Signer, error) {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("no private key without a passphrase was found (PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY)")
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default: // such as EC PARAMETERS, which openssl writes before the key
			continue
		}
		if err != nil {
			return nil, errors.New("the private key cannot be read") // the cause may quote it
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("a key of type %T cannot sign", key)
		}
		return signer, nil
	}
}

// ensureAuthority returns the certificates that the nodes of a plan trust. The first call makes an authority, or takes the
// operator's (parameters InternalTLSCACertificate and InternalTLSCAKey). Another one of the operator is trusted at first
// only; it signs after rotateAuthority.
func ensureAuthority(r *run, in input) (any, error) {
	container := in.str("container")
	as, err := r.readAuthorities(container)
	if err != nil {
		return nil, err
	}
	given, err := r.operatorsAuthority(container)
	if err != nil {
		return nil, err
	}
	switch {
	case as == nil:
		a := given
		if a == nil {
			if a, err = newAuthority(container, r.ac.Now()); err != nil {
				return nil, err
			}
		}
		as = &authorities{list: []authority{*a}}
	case given == nil || slices.ContainsFunc(as.list, func(a authority) bool { return a.cert.Equal(given.cert) }):
		return yaml11.MapOf("certificate", as.trusted()), nil
	case len(as.list) > 1:
		return nil, fmt.Errorf("%s is another authority than the %d of plan %s that are changing: end that first with tripleo overcloud certificates rotate-authority",
			caCertificateParam, len(as.list), container)
	default:
		as.list = append(as.list, *given)
	}
	if err := r.writeAuthorities(container, as); err != nil {
		return nil, err
	}
	return yaml11.MapOf("certificate", as.trusted()), nil
}

// operatorsAuthority is the one in the parameters of a plan, nil without.
func (r *run) operatorsAuthority(container string) (*authority, error) {
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	c, err := r.s.ObjectStore()
	if err != nil {
		return nil, err
	}
	p, err := processPlan(container, env, newCollector(objectURL(c, container, "")+"/", r.planReader(container).read))
	if err != nil {
		return nil, err
	}
	cert, key := text(p.environment, "parameter_defaults", caCertificateParam), text(p.environment, "parameter_defaults", caKeyParam)
	switch {
	case cert == "" && key == "":
		return nil, nil
	case cert == "" || key == "":
		return nil, fmt.Errorf("plan %s: %s and %s are needed both, or none of them", container, caCertificateParam, caKeyParam)
	}
	a, err := parseAuthority(cert, key)
	if err != nil {
		return nil, fmt.Errorf("plan %s, parameters %s and %s: %w", container, caCertificateParam, caKeyParam, err)
	}
	return a, nil
}

// rotateAuthority goes one step on the way from an authority to the next, which takes three with a deployment after each:
// the next one is trusted, then it signs, then the former is trusted no more. So nobody meets a certificate that it does not
// trust yet.
func rotateAuthority(r *run, in input) (any, error) {
	container := in.str("container")
	as, err := r.readAuthorities(container)
	if err != nil {
		return nil, err
	}
	if as == nil {
		return nil, fmt.Errorf("plan %s has no certificate authority: it was never deployed with environments/ssl/enable-internal-tls.yaml", container)
	}
	var state string
	switch {
	case len(as.list) == 1:
		a, err := newAuthority(container, r.ac.Now())
		if err != nil {
			return nil, err
		}
		as.list, state = append(as.list, *a), "trusted"
	case as.signer == 0:
		as.signer, state = 1, "signs"
	default:
		as.list, as.signer, state = as.list[1:], 0, "alone"
	}
	if err := r.writeAuthorities(container, as); err != nil {
		return nil, err
	}
	newest := as.list[len(as.list)-1].cert
	return yaml11.MapOf("state", state, "authority", newest.Subject.CommonName, "not_after", newest.NotAfter.UTC().Format(time.RFC3339)), nil
}

// issueCertificate signs a node's request. What the certificate says is what the caller, Heat, knows of the node; of the
// request only the key is taken. A present certificate that is for the same key, names and authority stays unless a third
// or less of its life is left.
func issueCertificate(r *run, in input) (any, error) {
	container := in.str("container")
	as, err := r.readAuthorities(container)
	if err != nil {
		return nil, err
	}
	if as == nil {
		return nil, fmt.Errorf("plan %s has no certificate authority", container)
	}
	req, err := newRequest(in)
	if err != nil {
		return nil, err
	}
	ca := as.list[as.signer]
	now := r.ac.Now()
	pemText, fresh := in.str("current"), false
	if !ca.still(pemText, req, now) {
		if pemText, err = ca.sign(req, now); err != nil {
			return nil, err
		}
		fresh = true
	}
	return yaml11.MapOf("certificate", pemText, "authority", as.trusted(), "issued", fresh), nil
}

// request is what a certificate is to say.
type request struct {
	key   crypto.PublicKey
	dns   []string
	ips   []net.IP
	name  string // common name
	units []string
	life  time.Duration
}

func newRequest(in input) (*request, error) {
	days, err := in.integer("days", certificateDays)
	if err != nil {
		return nil, err
	}
	if days < 1 || days > maxCertificateDays {
		return nil, fmt.Errorf("days is %d, expected 1 to %d", days, maxCertificateDays)
	}
	req := &request{life: time.Duration(days) * 24 * time.Hour}
	if len(in.str("request")) > maxPEM {
		return nil, fmt.Errorf("a certificate request of %d bytes, at most %d", len(in.str("request")), maxPEM)
	}
	block, _ := pem.Decode([]byte(in.str("request")))
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("request: no PEM block CERTIFICATE REQUEST was found; did the node answer to the deployment that asks for it?")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if err := strong(csr.PublicKey); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	req.key = csr.PublicKey
	for _, u := range in.list("units") {
		if s, ok := u.(string); ok && s != "" {
			req.units = append(req.units, shortened(s))
		}
	}
	return req, req.addNames(in.list("names"))
}

func strong(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Params().BitSize < 256 {
			return fmt.Errorf("an elliptic curve of %d bits, expected at least 256", k.Params().BitSize)
		}
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return fmt.Errorf("an RSA key of %d bits, expected at least 2048", k.N.BitLen())
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("a key of type %T, expected ECDSA, RSA or Ed25519", key)
	}
	return nil
}

func (req *request) addNames(list []any) error {
	if len(list) == 0 || len(list) > maxNames {
		return fmt.Errorf("names: %d of them, expected 1 to %d", len(list), maxNames)
	}
	for _, v := range list {
		name, _ := v.(string)
		if ip, err := netip.ParseAddr(name); err == nil && ip.Zone() == "" {
			if !slices.ContainsFunc(req.ips, net.IP(ip.AsSlice()).Equal) {
				req.ips = append(req.ips, ip.AsSlice())
			}
			continue
		}
		if name == "" || len(name) > 253 || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			return fmt.Errorf("names: %q is neither an IP address nor a DNS name", fmt.Sprint(v))
		}
		if req.name == "" {
			req.name = shortened(name)
		}
		if name = strings.ToLower(name); !slices.Contains(req.dns, name) {
			req.dns = append(req.dns, name)
		}
	}
	if req.name == "" {
		req.name = req.ips[0].String()
	}
	return nil
}

func shortened(s string) string { return s[:min(len(s), maxCommonName)] }

// still tells whether the certificate in pemText is what signing would give, and will be valid for long enough.
func (a *authority) still(pemText string, req *request, now time.Time) bool {
	certs, err := parseCertificates(pemText)
	if err != nil {
		return false
	}
	c := certs[0]
	pub, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(req.key) && c.KeyUsage == leafUsage && c.CheckSignatureFrom(a.cert) == nil &&
		c.Subject.CommonName == req.name && slices.Equal(c.Subject.OrganizationalUnit, req.units) &&
		slices.Equal(c.DNSNames, req.dns) && slices.EqualFunc(c.IPAddresses, req.ips, net.IP.Equal) &&
		!now.Before(c.NotBefore) && now.Before(c.NotAfter.Add(-req.life/3)) && !c.NotAfter.After(now.Add(req.life+clockSkew))
}

func (a *authority) sign(req *request, now time.Time) (string, error) {
	end := now.Add(req.life)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	if !now.Before(end) {
		return "", fmt.Errorf("the certificate authority %s ended at %s: make another one with tripleo overcloud certificates rotate-authority",
			a.cert.Subject.CommonName, a.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: req.name, OrganizationalUnit: req.units},
		NotBefore: now.Add(-clockSkew), NotAfter: end, DNSNames: req.dns, IPAddresses: req.ips, BasicConstraintsValid: true,
		KeyUsage:    leafUsage,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, req.key, a.key)
	if err != nil {
		return "", err
	}
	out := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if !bytes.Equal(a.cert.RawIssuer, a.cert.RawSubject) { // an intermediate authority: clients need its certificate, too
		out += a.pem
	}
	return out, nil
}

// serial is a random number of 127 bits (RFC 5280 section 4.1.2.2: positive, at most 20 octets).
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}
