package baremetal

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/boot"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
)

// bootMedia is the boot interface that needs nothing of the network: the controller has the machine boot from a CD.
const bootMedia = "redfish-virtual-media"

func (n *Node) usesMedia() bool { return n.Interfaces["boot"] == bootMedia }

// mediaFile is where a node's CD is while it may be fetched.
func (s *Service) mediaFile(node string) string {
	return filepath.Join(s.cfg.CacheDir, "media", node+".iso")
}

// insertMedia puts the CD of the ramdisk, or of the instance, into the machine's virtual drive.
func insertMedia(ctx context.Context, w *work) outcome {
	if !w.n.usesMedia() {
		return done()
	}
	if w.n.Secrets.MediaToken == "" { // before anything can be asked for by it
		if err := w.save(ctx, func(n *Node) { n.Secrets.MediaToken = rand.Text() }); err != nil {
			return broken(err)
		}
	}
	url, err := w.s.mediaURL(ctx, w.n)
	if err != nil {
		return w.cloudTrouble(ctx, err)
	}
	return w.ask(ctx, func(ctx context.Context, m drivers.Machine) error {
		return drivers.Ask(ctx, m, "virtual media", func(ctx context.Context, d drivers.MediaDrive) error { return d.InsertMedia(ctx, url) })
	})
}

// mediaURL is what the controller fetches: an ISO that somebody has made (driver_info/deploy_iso, and for an instance in
// a ramdisk instance_info/boot_iso), or one made here of kernel, ramdisk and arguments.
func (s *Service) mediaURL(ctx context.Context, n *Node) (string, error) {
	ours := fmt.Sprintf("%s/boot/media/%s/%s.iso", s.nodeBase(), n.UUID, n.Secrets.MediaToken)
	if ref := n.mediaRef(); ref != "" {
		if strings.HasPrefix(ref, "http://") || strings.HasPrefix(ref, "https://") {
			return ref, nil
		}
		return ours, s.bootRefUsable(ctx, ref)
	}
	iso := boot.ISO{Loaders: s.cfg.MediaLoaders}
	iso.Loaders.Defaults()
	kernel, ramdisk := s.bootImage(n, "kernel"), s.bootImage(n, "ramdisk")
	if n.bootsInstance() {
		b := n.instanceBoot()
		kernel, ramdisk, iso.Args = b.Kernel, b.Ramdisk, strings.Fields(b.Args)
	} else {
		iso.Args = s.ramdisk(n, "").Args
	}
	for what, ref := range map[*string]string{&iso.Kernel: kernel, &iso.Initrd: ramdisk} {
		path, err := s.bootImagePath(ctx, ref)
		if err != nil {
			return "", err
		}
		*what = path
	}
	if s.cfg.CacheDir == "" {
		return "", fmt.Errorf("%w: there is no cache folder to make virtual media in", errPermanent)
	}
	name := s.mediaFile(n.UUID)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return "", err
	}
	if err := iso.Write(name); err != nil {
		return "", fmt.Errorf("%w: %w", errPermanent, err)
	}
	return ours, nil
}

// mediaRef is the CD that the operator gives in place of one made here.
func (n *Node) mediaRef() string {
	if n.bootsInstance() {
		return infoString(n.InstanceInfo, "boot_iso")
	}
	return n.info("deploy_iso")
}

// ejectMedia empties the drive once the ramdisk is in the machine's memory or not needed any more, and forgets the CD.
func ejectMedia(ctx context.Context, w *work) outcome {
	if w.n.Secrets.MediaToken == "" {
		return done()
	}
	out := w.ask(ctx, func(ctx context.Context, m drivers.Machine) error {
		return drivers.Ask(ctx, m, "virtual media", func(ctx context.Context, d drivers.MediaDrive) error { return d.EjectMedia(ctx) })
	})
	if out.kind != stepDone {
		return out
	}
	if err := os.Remove(w.s.mediaFile(w.n.UUID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return broken(err)
	}
	return brokenOr(w.save(ctx, func(n *Node) { n.Secrets.MediaToken = "" }), done())
}

// nodeMedia serves a node's CD to whoever knows its token.
func (s *Service) nodeMedia(w http.ResponseWriter, r *http.Request) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	token := n.Secrets.MediaToken
	if token == "" || subtle.ConstantTimeCompare([]byte(token+".iso"), []byte(r.PathValue("file"))) != 1 {
		return api.NotFound("there is no such medium")
	}
	if ref := n.mediaRef(); ref != "" {
		return s.serveBootImage(w, r, ref)
	}
	err = serveFile(w, r, s.mediaFile(n.UUID))
	if errors.Is(err, os.ErrNotExist) {
		return api.NotFound("there is no such medium")
	}
	return err
}
