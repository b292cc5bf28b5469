package cli

import (
	"strings"
	"testing"
)

// TestCertificates rotates keys, and the authority in three steps, of a plan that has one.
func TestCertificates(t *testing.T) {
	commandRig(t)
	write(t, ".", map[string]string{
		"tht/plan-environment.yaml": "template: overcloud.yaml\nenvironments: [{path: base.yaml}]\n",
		"tht/base.yaml":             "parameter_defaults: {RootStackName: secured}\n",
		"tht/roles_data.yaml":       "- name: Controller\n",
		"tht/network_data.yaml":     "[]\n",
		"tht/overcloud.j2.yaml": "heat_template_version: queens\nparameters: {InternalTLSRotateIdentifier: {type: string, default: first}}\nresources:\n" +
			"  Authority: {type: OS::Mistral::ExternalResource, properties: {actions: {CREATE: {workflow: tripleo.certificates.v1.authority}}, input: {container: secured}}}\n" +
			"outputs:\n  KeystoneURL: {value: 'http://10.0.0.9:5000'}\n  SSLRootCertificate: {value: {get_attr: [Authority, output, certificate]}}\n  Rotation: {value: {get_param: InternalTLSRotateIdentifier}}\n",
	})
	if _, err := tripleo(t, "overcloud", "certificates", "rotate-authority", "secured"); err == nil || !strings.Contains(err.Error(), "has no certificate authority") {
		t.Errorf("without an authority: %v", err)
	}
	deploy := []string{"overcloud", "deploy", "--templates", "tht", "--stack", "secured", "--disable-validations", "-t", "5"}
	mustRun(t, nil, deploy...)
	mustRun(t, []string{"new keys and certificates (InternalTLSRotateIdentifier is 2"}, "overcloud", "certificates", "rotate", "secured")
	mustRun(t, nil, deploy...)
	mustRun(t, []string{"trust the authority", "and run this again"}, "overcloud", "certificates", "rotate-authority", "secured")
	mustRun(t, []string{"get certificates of the authority"}, "overcloud", "certificates", "rotate-authority", "secured")
	mustRun(t, []string{"only. Deploy."}, "overcloud", "certificates", "rotate-authority", "secured")
}
