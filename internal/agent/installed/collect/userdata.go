package collect

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
)

// maxParts bounds the parts of a user_data message.
const maxParts = 64

// CfnInitData finds the part named `cfn-init-data` in the multipart user_data that Heat writes, and returns its JSON; nil
// when user_data is something else (a shell script, cloud-config) or has no such part.
func CfnInitData(userData []byte) (map[string]any, error) {
	msg, err := mail.ReadMessage(bufio.NewReader(bytes.NewReader(userData)))
	if err != nil {
		return nil, nil //nolint:nilerr // no MIME message: nothing for us
	}
	return findInitData(msg.Header.Get("Content-Type"), msg.Body, 0)
}

func findInitData(contentType string, body io.Reader, depth int) (map[string]any, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.HasPrefix(kind, "multipart/") || depth > 4 {
		return nil, nil //nolint:nilerr // a part of another kind: nothing for us
	}
	r := multipart.NewReader(body, params["boundary"])
	for range maxParts {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("user_data: %w", err)
		}
		if name := part.FileName(); name == "cfn-init-data" || strings.HasPrefix(part.Header.Get("Content-Type"), "text/x-cfninitdata") {
			data, err := io.ReadAll(io.LimitReader(decoded(part), maxDriveFile))
			if err != nil {
				return nil, fmt.Errorf("user_data, part cfn-init-data: %w", err)
			}
			m, err := ParseMap(data)
			if err != nil {
				return nil, fmt.Errorf("user_data, part cfn-init-data: %w", err)
			}
			return m, nil
		}
		found, err := findInitData(part.Header.Get("Content-Type"), part, depth+1)
		if found != nil || err != nil {
			return found, err
		}
	}
	return nil, fmt.Errorf("user_data: more than %d parts", maxParts)
}

func decoded(p *multipart.Part) io.Reader {
	switch strings.ToLower(p.Header.Get("Content-Transfer-Encoding")) {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, p)
	case "quoted-printable":
		return quotedprintable.NewReader(p)
	default:
		return p
	}
}

// ParseMap decodes a JSON object, keeping numbers as they are written.
func ParseMap(data []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("expected a JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("expected one JSON object, found more after it")
	}
	return m, nil
}
