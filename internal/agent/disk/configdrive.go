package disk

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// MaxConfigDrive is the largest config drive Ironic allows: 64 MiB.
const MaxConfigDrive = 64 << 20

// DecodeConfigDrive turns Ironic's instance_info.configdrive, either base64 of a gzipped file system image or
// the URL of the same, into the image. Its content never appears in an error.
func DecodeConfigDrive(ctx context.Context, client *http.Client, value string) ([]byte, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return nil, nil
	}
	if isURL(value) {
		text, err := fetchSmall(ctx, client, value)
		if err != nil {
			return nil, fmt.Errorf("fetch the config drive: %w", redactURL(err))
		}
		value = strings.TrimSpace(string(text))
		if strings.HasPrefix(value, gzipMagic) {
			return gunzip(text)
		}
	}
	packed, err := base64.StdEncoding.DecodeString(strings.NewReplacer("\n", "", "\r", "").Replace(value))
	if err != nil {
		return nil, errors.New("the config drive is not base64")
	}
	if !bytes.HasPrefix(packed, []byte(gzipMagic)) {
		return nil, errors.New("the config drive is not gzip under its base64")
	}
	return gunzip(packed)
}

func gunzip(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("config drive: %w", err)
	}
	image, err := io.ReadAll(io.LimitReader(z, MaxConfigDrive+1))
	if err != nil {
		return nil, fmt.Errorf("config drive: %w", err)
	}
	switch {
	case len(image) > MaxConfigDrive:
		return nil, fmt.Errorf("the config drive is larger than %d MiB", MaxConfigDrive>>20)
	case len(image) == 0:
		return nil, errors.New("the config drive is empty")
	}
	return image, nil
}

func fetchSmall(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	// base64 of the largest gzipped image.
	return io.ReadAll(io.LimitReader(resp.Body, MaxConfigDrive/3*4+4096))
}
