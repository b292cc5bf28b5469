package actions

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"github.com/tripleo/tripleo/yaql"
)

const (
	maxEmail      = 8 << 20
	maxRecipients = 100
	emailTime     = 2 * time.Minute
)

// email sends one message. With a password the connection must turn to TLS
// first (RFC 3207), and the sender is the user that logs in.
func (o StdOptions) email(ctx context.Context, c *Context, in map[string]any) (any, error) {
	from, to, err := envelope(in)
	if err != nil {
		return nil, err
	}
	msg, err := message(in, from, c.Now())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, emailTime)
	defer cancel()
	if err := o.sendMail(ctx, in, from, to, msg); err != nil {
		return nil, fmt.Errorf("Failed to send an email message: %w", err) //nolint:revive,staticcheck // Mistral's wording
	}
	return nil, nil
}

func (o StdOptions) sendMail(ctx context.Context, in map[string]any, from string, to []string, msg []byte) error {
	addr := withPort(String(in, "smtp_server"), "25")
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("smtp_server: %w", err)
	}
	conn, err := o.dialer().DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	s, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if in["smtp_password"] != nil {
		if err := s.StartTLS(&tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs}); err != nil {
			return fmt.Errorf("TLS with %s: %w", host, err)
		}
		if err := s.Auth(smtp.PlainAuth("", from, String(in, "smtp_password"), host)); err != nil {
			return fmt.Errorf("log in at %s as %s: %w", host, from, err)
		}
	}
	if err := s.Mail(from); err != nil {
		return err
	}
	for _, rcpt := range to {
		if err := s.Rcpt(rcpt); err != nil {
			return fmt.Errorf("recipient %s: %w", rcpt, err)
		}
	}
	w, err := s.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(msg); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return s.Quit()
}

// envelope returns who sends to whom, bare addresses.
func envelope(in map[string]any) (from string, to []string, err error) {
	sender, err := mail.ParseAddress(String(in, "from_addr"))
	if err != nil {
		return "", nil, fmt.Errorf("from_addr %q: %w", String(in, "from_addr"), err)
	}
	for _, key := range []string{"cc_addrs", "bcc_addrs", "to_addrs"} {
		for _, v := range List(in, key) {
			a, err := mail.ParseAddress(yaql.Str(v))
			if err != nil {
				return "", nil, fmt.Errorf("%s %q: %w", key, yaql.Str(v), err)
			}
			to = append(to, a.Address)
		}
	}
	if len(to) == 0 || len(to) > maxRecipients {
		return "", nil, fmt.Errorf("an email has 1 to %d recipients, not %d", maxRecipients, len(to))
	}
	return sender.Address, to, nil
}

// message writes the headers and the text, with html_body as an alternative.
func message(in map[string]any, from string, now time.Time) ([]byte, error) {
	subject, body := String(in, "subject"), String(in, "body")
	if subject == "" {
		subject = "<No subject>"
	}
	if body == "" {
		body = "<No body>"
	}
	html := String(in, "html_body")
	if len(body)+len(html)+len(subject) > maxEmail {
		return nil, fmt.Errorf("the email is larger than %d bytes", maxEmail)
	}
	var out bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&out, "%s: %s\r\n", name, value) }
	header("Subject", mime.QEncoding.Encode("utf-8", subject))
	header("From", from)
	header("Date", now.Format(time.RFC1123Z))
	for _, h := range []struct{ name, key string }{{"Reply-To", "reply_to"}, {"To", "to_addrs"}, {"Cc", "cc_addrs"}} {
		var list []string
		for _, v := range List(in, h.key) {
			a, err := mail.ParseAddress(yaql.Str(v)) // a line break in it would smuggle headers in
			if err != nil {
				return nil, fmt.Errorf("%s %q: %w", h.key, yaql.Str(v), err)
			}
			list = append(list, a.String())
		}
		if len(list) > 0 {
			header(h.name, strings.Join(list, ", "))
		}
	}
	header("MIME-Version", "1.0")
	if html == "" {
		header("Content-Type", `text/plain; charset="utf-8"`)
		header("Content-Transfer-Encoding", "quoted-printable")
		out.WriteString("\r\n")
		w := quotedprintable.NewWriter(&out)
		_, err := w.Write([]byte(body))
		err = errors.Join(err, w.Close())
		return out.Bytes(), err
	}
	parts := multipart.NewWriter(&out)
	header("Content-Type", `multipart/alternative; boundary="`+parts.Boundary()+`"`)
	out.WriteString("\r\n")
	for _, p := range []struct{ kind, text string }{{"plain", body}, {"html", html}} {
		w, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"text/" + p.kind + `; charset="utf-8"`}, "Content-Transfer-Encoding": {"quoted-printable"}})
		if err != nil {
			return nil, err
		}
		q := quotedprintable.NewWriter(w)
		if _, err := q.Write([]byte(p.text)); err != nil {
			return nil, err
		}
		if err := q.Close(); err != nil {
			return nil, err
		}
	}
	err := parts.Close()
	return out.Bytes(), err
}
