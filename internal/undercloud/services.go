package undercloud

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/compute"
	"github.com/tripleo/tripleo/internal/deployment"
	"github.com/tripleo/tripleo/internal/identity"
	"github.com/tripleo/tripleo/internal/image"
	"github.com/tripleo/tripleo/internal/introspection"
	"github.com/tripleo/tripleo/internal/messaging"
	"github.com/tripleo/tripleo/internal/network"
	"github.com/tripleo/tripleo/internal/objectstore"
	"github.com/tripleo/tripleo/internal/orchestration"
	"github.com/tripleo/tripleo/internal/placement"
	"github.com/tripleo/tripleo/internal/workflow"
	wfengine "github.com/tripleo/tripleo/internal/workflow/engine"
	"github.com/tripleo/tripleo/plan"
)

// catalog is what Keystone tells clients of the services.
func (u *Undercloud) catalog() []identity.CatalogEntry {
	ws := "ws" + strings.TrimPrefix(u.baseURL, "http")
	return []identity.CatalogEntry{
		{Type: "identity", Name: "keystone", URL: u.baseURL + "/identity/v3"},
		{Type: "image", Name: "glance", URL: u.baseURL + "/image"},
		{Type: "object-store", Name: "swift", URL: u.baseURL + "/object-store/v1/AUTH_%(project_id)s"},
		{Type: "messaging", Name: "zaqar", URL: u.baseURL + "/messaging"},
		{Type: "messaging-websocket", Name: "zaqar-websocket", URL: ws + "/messaging/v2/websocket"},
		{Type: "network", Name: "neutron", URL: u.baseURL + "/network"},
		{Type: "compute", Name: "nova", URL: u.baseURL + "/compute/v2.1"},
		{Type: "placement", Name: "placement", URL: u.baseURL + "/placement"},
		{Type: "baremetal", Name: "ironic", URL: u.baseURL + "/baremetal"},
		{Type: "baremetal-introspection", Name: "ironic-inspector", URL: u.baseURL + "/introspection"},
		{Type: "orchestration", Name: "heat", URL: u.baseURL + "/orchestration/v1/%(project_id)s"},
		{Type: "cloudformation", Name: "heat-cfn", URL: u.baseURL + "/orchestration-cfn/v1"},
		{Type: "workflowv2", Name: "mistral", URL: u.baseURL + "/workflow/v2"},
	}
}

// makeServices fills u.services.
func (u *Undercloud) makeServices() error {
	for _, make := range []func() (service, error){
		u.makeIdentity, u.makeObjectStore, u.makeNetwork, u.makeCompute, u.makePlacement, u.makeBaremetal, u.makeImage, u.makeIntrospection, u.makeMessaging, u.makeOrchestration, u.makeWorkflow,
	} {
		s, err := make()
		if err != nil {
			return err
		}
		u.services = append(u.services, s)
	}
	return nil
}

func (u *Undercloud) makeIdentity() (service, error) {
	c := &u.cfg.Identity
	rules, err := policyFile(c.PolicyFile)
	if err != nil {
		return service{}, err
	}
	s, err := identity.New(identity.Config{
		Policy: identity.PolicyFile{Name: c.PolicyFile, Data: rules}, Passwords: c.Passwords,
		TokenLife: time.Duration(c.TokenHours) * time.Hour, KeyLife: time.Duration(c.KeyDays) * 24 * time.Hour,
		DB: u.db, Bus: u.bus, Log: u.log, Tokens: u.tokens, Keys: u.keys, BaseURL: u.baseURL + "/identity", Region: u.cfg.Region,
		Catalog: u.catalog(),
		Bootstrap: identity.Bootstrap{
			AdminPassword: u.secrets.AdminPassword, ServiceUser: "tripleo", ServicePassword: u.secrets.ServicePassword,
		},
	})
	if err != nil {
		return service{}, err
	}
	return service{prefix: "/identity", handler: s.Handler(), node: s.NodeHandler(), run: s.Run}, nil
}

func (u *Undercloud) makeNetwork() (service, error) {
	list, hangUp, err := u.cfg.Network.fabric()
	if err != nil {
		return service{}, err
	}
	s, err := network.New(network.Config{
		DB: u.db, Bus: u.bus, Jobs: u.jobs, Cloud: u.cloud, Log: u.log, Auth: u.tokens, BaseURL: u.baseURL + "/network",
		VLANs: u.cfg.Network.VLANs, FlatVLANs: u.cfg.Network.FlatVLANs, Switches: list,
		PhysicalNetwork: ctlplane, DHCPAddress: u.cfg.Provisioning.Address.Addr(),
		ListenDHCP: u.listenDHCP("0.0.0.0:67"), ListenBoot: u.listenDHCP("0.0.0.0:4011"), DHCPProxy: u.cfg.Provisioning.DHCP == DHCPProxy,
		ListenDHCP6: u.listenDHCP6(), ListenRouter: u.listenRouter(),
		Unknown: func(ctx context.Context, mac net.HardwareAddr) error {
			if u.discover == nil {
				return nil
			}
			return u.discover(ctx, mac)
		},
	})
	if err != nil {
		return service{}, errors.Join(err, hangUp())
	}
	run := func(ctx context.Context) error { return errors.Join(s.Run(ctx), hangUp()) }
	return service{prefix: "/network", handler: s.Handler(), run: run}, nil
}

func (u *Undercloud) makeCompute() (service, error) {
	s, err := compute.New(compute.Config{
		DB: u.db, Bus: u.bus, Jobs: u.jobs, Log: u.log, Auth: u.tokens, Cloud: u.cloud,
		BaseURL: u.baseURL + "/compute", Region: u.cfg.Region,
	})
	if err != nil {
		return service{}, err
	}
	u.metadata = s.MetadataHandler()
	return service{prefix: "/compute", handler: s.Handler(), run: s.Run}, nil
}

func (u *Undercloud) makePlacement() (service, error) {
	s, err := placement.New(placement.Config{DB: u.db, Log: u.log, Auth: u.tokens, Cloud: u.cloud, BaseURL: u.baseURL + "/placement"})
	if err != nil {
		return service{}, err
	}
	return service{prefix: "/placement", handler: s.Handler(), run: s.Run}, nil
}

func (u *Undercloud) makeBaremetal() (service, error) {
	b := u.cfg.Baremetal
	s, err := baremetal.New(baremetal.Config{
		DB: u.db, Bus: u.bus, Jobs: u.jobs, Log: u.log, Auth: u.tokens, Cloud: u.cloud,
		BaseURL: u.baseURL + "/baremetal", NodeURL: u.cfg.NodeURL(),
		BMCNetns: b.BMCNamespace, NodeNetns: u.cfg.Provisioning.Namespace,
		ListenTFTP: u.listenTFTP,
		CacheDir:   filepath.Join(u.cfg.DataDir, "boot-cache"), LogsDir: filepath.Join(u.cfg.DataDir, "ramdisk-logs"), ProvisioningNetwork: ctlplane, AutomatedClean: !b.NoClean, ImagesAsUploaded: b.ImagesAsUploaded,
		CleanPriority: b.cleanPriority(), FastTrack: b.FastTrack, Discovery: b.EnrollDriver != "", ConductorGroup: b.ConductorGroup,
		TFTPRoot: b.Loaders, ARM64Loader: b.ARM64Loader,
		PowerTimeout: seconds(b.PowerTimeout, 60), CallbackTimeout: seconds(b.CallbackTimeout, 600), InspectTimeout: seconds(b.InspectTimeout, 600),
	})
	if err != nil {
		return service{}, err
	}
	u.discover = s.Discover
	return service{prefix: "/baremetal", handler: s.Handler(), node: s.NodeHandler(), run: s.Run}, nil
}

func seconds(n, unset int) time.Duration {
	if n == 0 {
		n = unset
	}
	return time.Duration(n) * time.Second
}

func (u *Undercloud) makeObjectStore() (service, error) {
	s, err := objectstore.New(objectstore.Config{DB: u.db, Bus: u.bus, Jobs: u.jobs, Log: u.log, Auth: u.tokens, Blob: u.blobs})
	if err != nil {
		return service{}, err
	}
	return service{prefix: "/object-store", handler: s.Handler(), node: s.NodeHandler(), run: s.Run}, nil
}

func (u *Undercloud) makeImage() (service, error) {
	c := &u.cfg.Image
	rules, err := policyFile(c.PolicyFile)
	if err != nil {
		return service{}, err
	}
	s, err := image.New(image.Config{
		PolicyName: c.PolicyFile, PolicyData: rules, ImportFromPrivate: c.ImportFromLocal,
		DB: u.db, Bus: u.bus, Jobs: u.jobs, Log: u.log, Auth: u.tokens, Blob: u.blobs, BaseURL: u.baseURL + "/image",
	})
	if err != nil {
		return service{}, err
	}
	return service{prefix: "/image", handler: s.Handler(), run: s.Run}, nil
}

func (u *Undercloud) makeIntrospection() (service, error) {
	s, err := introspection.New(introspection.Config{
		DB: u.db, Bus: u.bus, Jobs: u.jobs, Log: u.log, Auth: u.tokens, Cloud: u.cloud, BaseURL: u.baseURL + "/introspection",
		NodeURL: u.cfg.NodeURL(), Timeout: seconds(u.cfg.Baremetal.InspectTimeout, 600),
		EnrollDriver: u.cfg.Baremetal.EnrollDriver, AddPorts: u.cfg.Baremetal.AddPorts,
	})
	if err != nil {
		return service{}, err
	}
	return service{prefix: "/introspection", handler: s.Handler(), node: s.NodeHandler(), run: s.Run}, nil
}

func (u *Undercloud) makeWorkflow() (service, error) {
	built, err := deployment.Workbooks()
	if err != nil {
		return service{}, err
	}
	books := make([]workflow.Workbook, len(built))
	for i, b := range built {
		books[i] = workflow.Workbook{Name: b.Name, YAML: b.YAML}
	}
	older := u.cfg.Workflow.OlderThan
	if older == 0 {
		older = 2880
	}
	host, err := os.Hostname()
	if err != nil {
		return service{}, err
	}
	std, err := u.cfg.Workflow.std()
	if err != nil {
		return service{}, err
	}
	s, err := workflow.New(workflow.Config{
		Std:    std,
		Expiry: wfengine.Expiry{OlderThan: time.Duration(max(older, 0)) * time.Minute, MaxFinished: u.cfg.Workflow.MaxFinished},
		Groups: []string{host},
		DB:     u.db, Bus: u.bus, Jobs: u.jobs, Log: u.log, Auth: u.tokens, Cloud: u.cloud, BaseURL: u.baseURL + "/workflow",
		Actions: deployment.Actions(u.deploymentConfig()), Workbooks: books,
	})
	if err != nil {
		return service{}, err
	}
	u.bus.Deliver(s.Hear)
	return service{prefix: "/workflow", handler: s.Handler(), run: s.Run}, nil
}

// deploymentConfig is what the tripleo.* actions may know of this undercloud.
func (u *Undercloud) deploymentConfig() deployment.Config {
	certs := []string{u.cfg.caFile(), u.cfg.TLS.Cert}
	if dir := u.cfg.tlsDir(); u.cfg.TLS.Cert == "" {
		certs = append(certs, filepath.Join(dir, "server.pem"))
	}
	return deployment.Config{
		Templates: plan.FS(), WorkDir: filepath.Join(u.cfg.DataDir, "deployment"), NodeURL: u.cfg.NodeURL(), BackUpDatabase: u.db.BackUp, Vault: u.rows,
		Undercloud: deployment.Undercloud{DataDir: u.cfg.DataDir, Certs: slices.DeleteFunc(certs, func(f string) bool { return f == "" })},
	}
}

func (u *Undercloud) makeMessaging() (service, error) {
	m := u.cfg.Messaging
	web, err := cloud.Transport(u.cfg.caFile())
	if err != nil {
		return service{}, err
	}
	cfg := messaging.Config{
		DB: u.db, Bus: u.bus, Jobs: u.jobs, Log: u.log, Auth: u.tokens, Cloud: u.cloud, BaseURL: u.baseURL + "/messaging",
		Secret: []byte(u.secrets.MessagingKey), MaxPostSize: int64(m.MaxPostSize), RequireConfirmation: m.RequireConfirmation, Transport: web,
	}
	if m.SMTPServer != "" {
		cfg.SMTP = &messaging.SMTP{Addr: m.SMTPServer, From: m.SMTPFrom, Username: m.SMTPUser, Password: m.SMTPPass}
	}
	s, err := messaging.New(cfg)
	if err != nil {
		return service{}, err
	}
	return service{prefix: "/messaging", handler: s.Handler(), run: s.Run}, nil
}

func (u *Undercloud) makeOrchestration() (service, error) {
	s, err := orchestration.New(orchestration.Config{
		DB: u.db, Bus: u.bus, Jobs: u.jobs, Log: u.log, Auth: u.tokens, Cloud: u.cloud,
		BaseURL: u.baseURL + "/orchestration", NodeURL: u.cfg.NodeURL(), AuthURL: u.cfg.NodeURL() + "/identity/v3", Region: u.cfg.Region,
		Limits: u.cfg.Orchestration,
	})
	if err != nil {
		return service{}, err
	}
	cfn := s.CFNHandler()
	u.services = append(u.services, service{prefix: "/orchestration-cfn", handler: cfn, node: cfn})
	return service{prefix: "/orchestration", handler: s.Handler(), node: s.NodeHandler(), run: s.Run}, nil
}
