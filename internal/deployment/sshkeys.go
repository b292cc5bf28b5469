package deployment

import (
	"errors"
	"fmt"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// sshKeysEnv is the Mistral environment with the key pair that the undercloud uses on the nodes.
const sshKeysEnv = "ssh_keys"

// environmentVars returns the variables of a Mistral environment, nil if there is none.
func (r *run) environmentVars(name string) (*yaml11.OrderedMap, error) {
	c, err := r.s.Workflow()
	if err != nil {
		return nil, err
	}
	var out any
	_, err = r.request(c, "GET", versioned(c, "v2", "environments", name), nil, &out)
	if isStatus(err, 404) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	vars := dig(out, "variables")
	if s, ok := vars.(string); ok {
		if vars, err = yaml11.DecodeJSON([]byte(s)); err != nil {
			return nil, fmt.Errorf("workflow environment %s: %w", name, err)
		}
	}
	m, _ := vars.(*yaml11.OrderedMap)
	if m == nil {
		m = yaml11.NewMap()
	}
	return m, nil
}

// sshKeys returns the undercloud's key pair and makes it the first time.
func (r *run) sshKeys() (*yaml11.OrderedMap, error) {
	vars, err := r.environmentVars(sshKeysEnv)
	if err != nil || vars != nil {
		return vars, err
	}
	pair, err := sshKeyPair()
	if err != nil {
		return nil, err
	}
	c, err := r.s.Workflow()
	if err != nil {
		return nil, err
	}
	body := map[string]any{"name": sshKeysEnv, "description": "SSH keys for TripleO validations", "variables": pair, "scope": "private"}
	_, err = r.request(c, "POST", versioned(c, "v2", "environments"), body, nil)
	if isStatus(err, 409) { // somebody was faster
		return r.environmentVars(sshKeysEnv)
	}
	m, _ := pair.(*yaml11.OrderedMap)
	return m, err
}

// defaultKeyPair is the key pair of Nova that TripleO's undercloud made when it was installed. Plans name it by default.
const defaultKeyPair = "default"

// ensureDefaultKeyPair gives Nova the undercloud's public key under that name, unless there is one.
func (r *run) ensureDefaultKeyPair() error {
	c, err := r.s.Compute()
	if err != nil {
		return err
	}
	_, err = r.request(c, "GET", c.ServiceURL("os-keypairs", defaultKeyPair), nil, nil)
	if err == nil || !isStatus(err, 404) {
		return err
	}
	k, err := r.sshKeys()
	if err != nil {
		return err
	}
	body := map[string]any{"keypair": map[string]any{"name": defaultKeyPair, "public_key": text(k, "public_key")}}
	_, err = r.request(c, "POST", c.ServiceURL("os-keypairs"), body, nil, 200, 201)
	if isStatus(err, 409) { // somebody was faster
		return nil
	}
	return err
}

func getPubkey(r *run, _ input) (any, error) {
	k, err := r.sshKeys()
	return text(k, "public_key"), err
}

// getPrivkey returns the private key: for administrators, since it opens the nodes.
func getPrivkey(r *run, _ input) (any, error) {
	if err := r.onlyAdmin("tripleo.validations.get_privkey"); err != nil {
		return nil, err
	}
	k, err := r.sshKeys()
	return text(k, "private_key"), err
}

// validationsEnabled is an error unless the undercloud has its SSH keys, which is what switches validations on.
func validationsEnabled(r *run, _ input) (any, error) {
	vars, err := r.environmentVars(sshKeysEnv)
	if err != nil {
		return nil, err
	}
	if vars == nil {
		return nil, errors.New("Validations are disabled on the undercloud") //nolint:staticcheck // the text clients know
	}
	return yaml11.MapOf("stdout", "Validations are enabled"), nil
}
