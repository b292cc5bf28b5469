package resources

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
)

const maxMime = 4 << 20

func readParts(msg *mail.Message) ([]MimePart, error) {
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		return nil, fmt.Errorf("multipart message: %w", err)
	}
	var out []MimePart
	mr := multipart.NewReader(msg.Body, params["boundary"])
	for {
		p, err := mr.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("multipart message: %w", err)
		}
		body := io.LimitReader(p, maxMime)
		if strings.EqualFold(p.Header.Get("Content-Transfer-Encoding"), "base64") {
			body = base64.NewDecoder(base64.StdEncoding, body)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			return nil, fmt.Errorf("multipart message: %w", err)
		}
		ct, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil {
			ct = "text/plain"
		}
		_, sub, _ := strings.Cut(ct, "/")
		out = append(out, MimePart{Text: string(text), Subtype: sub, Filename: p.FileName()})
	}
}
