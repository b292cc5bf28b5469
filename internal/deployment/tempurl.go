package deployment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// tempURLKey returns the key of a container for temporary URLs; the container and the key are made if they are missing.
func (r *run) tempURLKey(container string) (string, error) {
	h, err := r.headContainer(container)
	if err != nil && !isStatus(err, 404) {
		return "", err
	}
	key := h.Get("X-Container-Meta-Temp-Url-Key")
	if key != "" {
		return key, nil
	}
	key = uuid.NewString()
	return key, r.createContainer(container, map[string]string{"X-Container-Meta-Temp-Url-Key": key})
}

// tempURL is the action: a temporary URL of an object.
func tempURL(r *run, in input) (any, error) {
	valid, err := in.integer("valid", 86400)
	if err != nil {
		return nil, err
	}
	return r.signedURL(in.str("method"), in.str("container"), in.str("obj"), valid)
}

// signedURL makes a temporary URL, valid for some seconds.
func (r *run) signedURL(method, container, object string, valid int) (string, error) {
	c, err := r.s.ObjectStore()
	if err != nil {
		return "", err
	}
	key, err := r.tempURLKey(container)
	if err != nil {
		return "", err
	}
	full := objectURL(c, container, object)
	u, err := url.Parse(full)
	if err != nil {
		return "", err
	}
	i := strings.Index(u.Path, "/v1/")
	if i < 0 {
		return "", errors.New("the object store's endpoint has no /v1/")
	}
	expires := strconv.FormatInt(r.ac.Now().Unix()+int64(valid), 10)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(method + "\n" + expires + "\n" + u.Path[i:]))
	return full + "?temp_url_sig=" + hex.EncodeToString(mac.Sum(nil)) + "&temp_url_expires=" + expires, nil
}

// nodeURL is a URL of the object store as machines reach it.
func (r *run) nodeURL(full string) string {
	i := strings.Index(full, "/v1/")
	if r.cfg.NodeURL == "" || i < 0 {
		return full
	}
	return strings.TrimSuffix(r.cfg.NodeURL, "/") + "/object-store" + full[i:]
}

// swiftInformation returns what a machine needs to sign URLs of a container: {container_url, auth_key}.
func swiftInformation(r *run, in input) (any, error) {
	c, err := r.s.ObjectStore()
	if err != nil {
		return nil, err
	}
	key, err := r.tempURLKey(in.str("container"))
	if err != nil {
		return nil, err
	}
	return yaml11.MapOf("container_url", r.nodeURL(objectURL(c, in.str("container"), "")), "auth_key", key), nil
}
