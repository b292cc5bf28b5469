package undercloud

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tripleo/tripleo/internal/cloud"
)

// secrets are made at the first start and kept in the data folder, readable by
// its owner only.
type secrets struct {
	AdminPassword   string `json:"admin_password"`
	ServicePassword string `json:"service_password"`
	MessagingKey    string `json:"messaging_key"` // signs URLs of queues and encrypts messages at rest
}

func loadSecrets(dir string) (secrets, error) {
	path := filepath.Join(dir, "secrets.json")
	data, err := os.ReadFile(path) //nolint:gosec // our own folder
	if errors.Is(err, fs.ErrNotExist) {
		s := secrets{AdminPassword: rand.Text(), ServicePassword: rand.Text(), MessagingKey: rand.Text()}
		return s, writeJSONFile(path, s)
	}
	if err != nil {
		return secrets{}, fmt.Errorf("secrets: %w", err)
	}
	var s secrets
	if err := json.Unmarshal(data, &s); err != nil || s.AdminPassword == "" || s.ServicePassword == "" {
		return secrets{}, fmt.Errorf("secrets: %s is damaged: restore it from a backup", path)
	}
	if s.MessagingKey == "" { // a folder from before there was one
		s.MessagingKey = rand.Text()
		return s, writeJSONFile(path, s)
	}
	return s, nil
}

func writeJSONFile(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(b, '\n'))
}

// writeFile replaces a private file in one step.
func writeFile(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // our own folder
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// credentials writes clouds.yaml and undercloudrc. An existing clouds.yaml
// keeps its other clouds (such as "overcloud").
func (u *Undercloud) credentials() error {
	if err := cloud.MergeFile(u.CloudsFile(), "undercloud", cloud.Entry{
		AuthURL: u.baseURL + "/identity/v3", Username: "admin", Password: u.secrets.AdminPassword, Project: "admin", Region: u.cfg.Region,
		CACert: u.cfg.caFile(),
	}); err != nil {
		return err
	}
	rc := fmt.Sprintf(`# OpenStack credentials of the undercloud: source this file.
for key in $(env | sed -n 's/^\(OS_[A-Za-z_]*\)=.*/\1/p'); do unset "$key"; done
export OS_AUTH_URL=%s/identity/v3
export OS_USERNAME=admin
export OS_PASSWORD=%s
export OS_PROJECT_NAME=admin
export OS_USER_DOMAIN_NAME=Default
export OS_PROJECT_DOMAIN_NAME=Default
export OS_REGION_NAME=%s
export OS_IDENTITY_API_VERSION=3
`, u.baseURL, u.secrets.AdminPassword, u.cfg.Region)
	if ca := u.cfg.caFile(); ca != "" {
		rc += "export OS_CACERT='" + strings.ReplaceAll(ca, "'", `'\''`) + "'\n"
	}
	return writeFile(u.RCFile(), []byte(rc))
}
