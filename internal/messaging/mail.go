package messaging

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/mail"
	"net/smtp"
	"strings"
	"time"

	"github.com/google/uuid"
)

// SMTP is the server that takes mail for mailto: subscriptions.
type SMTP struct {
	Addr               string // host:port
	From               string // sender unless a subscription's options.from says otherwise
	Username, Password string // "" sends without authentication
	TLS                *tls.Config
}

// mailTime bounds one delivery by mail.
const mailTime = 30 * time.Second

var errNoMail = errors.New("this cloud sends no mail: messaging.smtp is not configured")

// mail sends one notification by SMTP (RFC 5321), encrypted when the server
// offers STARTTLS; a password is never sent in the clear (net/smtp refuses).
func (s *Service) mail(ctx context.Context, u *subscription, to, body string) error {
	c := s.cfg.SMTP
	if c == nil {
		return errNoMail
	}
	ctx, cancel := context.WithTimeout(ctx, mailTime)
	defer cancel()
	from := c.From
	if v, ok := u.options["from"].(string); ok && v != "" {
		from = v
	}
	sender, err := mail.ParseAddress(from)
	if err != nil {
		return fmt.Errorf("mail: sender %q: %w", from, err)
	}
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return fmt.Errorf("mail: %w", err)
		}
	}
	client, err := smtp.NewClient(conn, host)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	if err := c.transmit(client, host, sender.Address, to, compose(sender, to, u, body, s.now())); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	return nil
}

func (c *SMTP) transmit(client *smtp.Client, host, from, to string, text []byte) error {
	if ok, _ := client.Extension("STARTTLS"); ok {
		config := c.TLS
		if config == nil {
			config = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
		}
		if err := client.StartTLS(config); err != nil {
			return err
		}
	}
	if c.Username != "" {
		if err := client.Auth(smtp.PlainAuth("", c.Username, c.Password, host)); err != nil {
			return err
		}
	}
	if err := client.Mail(from); err != nil {
		return err
	}
	if err := client.Rcpt(to); err != nil {
		return err
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return client.Quit()
}

// compose writes a message as RFC 5322 has it.
func compose(from *mail.Address, to string, u *subscription, body string, now time.Time) []byte {
	subject := "Notification from queue " + u.queue
	if v, ok := u.options["subject"].(string); ok && v != "" {
		subject = v
	}
	var b strings.Builder
	for _, h := range [][2]string{
		{"From", from.String()}, {"To", (&mail.Address{Address: to}).String()}, {"Subject", mime.QEncoding.Encode("utf-8", subject)},
		{"Date", now.Format(time.RFC1123Z)}, {"Message-ID", "<" + uuid.NewString() + "@tripleo>"}, {"MIME-Version", "1.0"},
		{"Content-Type", "application/json; charset=utf-8"}, {"Content-Transfer-Encoding", "8bit"},
	} {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	// A line has at most 998 octets (RFC 5322 section 2.1.1): JSON may break after a comma outside of texts.
	b.WriteString("\r\n" + fold(body) + "\r\n")
	return []byte(b.String())
}

// fold breaks JSON text into lines where white space may stand.
func fold(text string) string {
	var b strings.Builder
	quoted, escaped := false, false
	for _, c := range text {
		b.WriteRune(c)
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = quoted
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			b.WriteString("\r\n")
		}
	}
	return b.String()
}
