// Package deploymenttest starts the services that plans and their workflows need, all of them real, for the tests of
// the actions and of the command line: Keystone, Swift, Zaqar, Heat, Nova, Ironic and Mistral with the built-in
// workbooks. There are no machines, no Glance and no Neutron: node states are those of the fake driver.
package deploymenttest

import (
	"path/filepath"
	"testing"

	"github.com/tripleo/tripleo/internal/auth/seal"
	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/compute"
	"github.com/tripleo/tripleo/internal/deployment"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/messaging"
	"github.com/tripleo/tripleo/internal/objectstore"
	"github.com/tripleo/tripleo/internal/orchestration"
	"github.com/tripleo/tripleo/internal/workflow"
	"github.com/tripleo/tripleo/plan"
)

// Start runs the services until the end of the test.
func Start(t testing.TB) *identitytest.Server {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	srv := identitytest.Start(t)
	blobs, err := blob.OpenDir(filepath.Join(t.TempDir(), "blobs"))
	must(err)
	swift, err := objectstore.New(objectstore.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Blob: blobs})
	must(err)
	srv.Mount("/object-store", swift.Handler())
	zaqar, err := messaging.New(messaging.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens})
	must(err)
	srv.Mount("/messaging", zaqar.Handler())
	heat, err := orchestration.New(orchestration.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud,
		BaseURL: srv.URL + "/orchestration", NodeURL: srv.URL})
	must(err)
	srv.Mount("/orchestration", heat.Handler())
	nova, err := compute.New(compute.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud,
		BaseURL: srv.URL + "/compute", Region: "regionOne"})
	must(err)
	srv.Mount("/compute", nova.Handler())
	ironic, err := baremetal.New(baremetal.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud,
		BaseURL: srv.URL + "/baremetal", NodeURL: srv.URL, CacheDir: t.TempDir()})
	must(err)
	srv.Mount("/baremetal", ironic.Handler())
	books, err := deployment.Workbooks()
	must(err)
	var builtin []workflow.Workbook
	for _, b := range books {
		builtin = append(builtin, workflow.Workbook{Name: b.Name, YAML: b.YAML})
	}
	work := t.TempDir()
	vault, err := seal.OpenKeys(filepath.Join(work, "row-keys"))
	must(err)
	mistral, err := workflow.New(workflow.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud,
		BaseURL: srv.URL + "/workflow", Actions: deployment.Actions(deployment.Config{Templates: plan.FS(), WorkDir: work, BackUpDatabase: srv.DB.BackUp, Vault: vault,
			Undercloud: deployment.Undercloud{DataDir: work}}), Workbooks: builtin})
	must(err)
	srv.Mount("/workflow", mistral.Handler())
	srv.RunJobs()
	return srv
}
