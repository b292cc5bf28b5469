package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// cloudAuth is one entry of clouds.yaml, or what the OS_* variables say.
type cloudAuth struct {
	AuthURL, User, Password, Project, Domain, Region string
	CACert                                           string // file of the authority to trust besides the system's
	Insecure                                         bool   // take any certificate: the operator said so
	Source                                           string // where it was found, for messages
}

// session authenticates with the cloud that the flags, the environment and
// clouds.yaml name, in the order in which openstackclient looks.
func (a *app) session(ctx context.Context) (*cloud.Session, error) {
	auth, err := a.cloudAuth()
	if err != nil {
		return nil, err
	}
	transport, err := auth.transport()
	if err != nil {
		return nil, fmt.Errorf("cloud of %s: %w", auth.Source, err)
	}
	c := cloud.New(cloud.Options{AuthURL: auth.AuthURL, Region: auth.Region, Transport: transport})
	s, err := c.Password(ctx, auth.User, auth.Password, auth.Project, auth.Domain)
	if err != nil {
		return nil, fmt.Errorf("cloud of %s at %s: %w", auth.Source, auth.AuthURL, err)
	}
	return s, nil
}

func (c cloudAuth) transport() (*http.Transport, error) {
	t, err := cloud.Transport(c.CACert)
	if err == nil && c.Insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // asked for by verify: false
	}
	return t, err
}

func (a *app) cloudAuth() (cloudAuth, error) {
	if a.cloudName == "" && os.Getenv("OS_AUTH_URL") != "" {
		domain := firstNonEmpty(os.Getenv("OS_USER_DOMAIN_NAME"), os.Getenv("OS_PROJECT_DOMAIN_NAME"), "Default")
		return cloudAuth{
			AuthURL: os.Getenv("OS_AUTH_URL"), User: os.Getenv("OS_USERNAME"), Password: os.Getenv("OS_PASSWORD"),
			Project: firstNonEmpty(os.Getenv("OS_PROJECT_NAME"), os.Getenv("OS_TENANT_NAME")), Domain: domain,
			Region: os.Getenv("OS_REGION_NAME"), CACert: os.Getenv("OS_CACERT"), Source: "the OS_* variables",
		}, nil
	}
	name := firstNonEmpty(a.cloudName, "undercloud")
	for _, path := range cloudsFiles() {
		data, err := os.ReadFile(path) //nolint:gosec // the operator's own file
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return cloudAuth{}, err
		}
		auth, err := parseClouds(path, data, name)
		if err != nil || auth.AuthURL != "" {
			return auth, err
		}
	}
	return cloudAuth{}, fmt.Errorf("no cloud %q in %s and no OS_AUTH_URL: source the undercloudrc or set OS_CLIENT_CONFIG_FILE to the clouds.yaml that `tripleo undercloud up` wrote",
		name, strings.Join(cloudsFiles(), ", "))
}

// cloudsFiles lists where clouds.yaml is looked for, as openstacksdk does.
func cloudsFiles() []string {
	if f := os.Getenv("OS_CLIENT_CONFIG_FILE"); f != "" {
		return []string{f}
	}
	files := []string{"clouds.yaml"}
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "openstack", "clouds.yaml"))
	}
	return append(files, "/etc/openstack/clouds.yaml")
}

func parseClouds(path string, data []byte, name string) (cloudAuth, error) {
	node, _, err := yaml11.Parse(path, data, yaml11.Limits{})
	if err != nil {
		return cloudAuth{}, err
	}
	entry := lookup(node.Value(), "clouds", name)
	if entry == nil {
		return cloudAuth{}, nil
	}
	text := func(keys ...string) string {
		if v := lookup(entry, keys...); v != nil {
			return fmt.Sprint(v)
		}
		return ""
	}
	return cloudAuth{
		AuthURL: text("auth", "auth_url"), User: text("auth", "username"), Password: text("auth", "password"),
		Project: text("auth", "project_name"),
		Domain:  firstNonEmpty(text("auth", "user_domain_name"), text("auth", "project_domain_name"), "Default"),
		Region:  text("region_name"), CACert: text("cacert"), Insecure: lookup(entry, "verify") == false, Source: path,
	}, nil
}

// lookup walks nested mappings; nil if a key is missing.
func lookup(v any, keys ...string) any {
	for _, key := range keys {
		m, ok := v.(*yaml11.OrderedMap)
		if !ok {
			return nil
		}
		if v, ok = m.Get(key); !ok {
			return nil
		}
	}
	return v
}

func firstNonEmpty(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
