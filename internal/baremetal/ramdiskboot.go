package baremetal

import (
	"context"
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/baremetal/boot"
	"github.com/tripleo/tripleo/internal/baremetal/states"
)

// ramdiskBoot is what a node with deploy_interface ramdisk boots, at each start
// anew: references of kernel and ramdisk as instance_info names them, and the
// kernel's arguments.
type ramdiskBoot struct {
	Kernel, Ramdisk, Args string
}

// instanceRamdisk reads instance_info: kernel and ramdisk, or image_source
// whose properties kernel_id and ramdisk_id name them.
func (s *Service) instanceRamdisk(ctx context.Context, n *Node) (ramdiskBoot, error) {
	b := ramdiskBoot{Kernel: infoString(n.InstanceInfo, "kernel"), Ramdisk: infoString(n.InstanceInfo, "ramdisk"),
		Args: infoString(n.InstanceInfo, "ramdisk_kernel_arguments")}
	if b.Args == "" {
		b.Args = infoString(n.InstanceInfo, "kernel_append_params")
	}
	if iso := infoString(n.InstanceInfo, "boot_iso"); iso != "" {
		if !n.usesMedia() {
			return b, fmt.Errorf("%w: instance_info has boot_iso, which needs boot_interface %s; it is %s", errPermanent, bootMedia, n.Interfaces["boot"])
		}
		return b, s.bootRefUsable(ctx, iso)
	}
	if src := infoString(n.InstanceInfo, "image_source"); (b.Kernel == "" || b.Ramdisk == "") && src != "" && !strings.Contains(src, "://") {
		img, err := s.findImage(ctx, src)
		if err != nil {
			return b, err
		}
		for key, p := range map[string]*string{"kernel_id": &b.Kernel, "ramdisk_id": &b.Ramdisk} {
			if v, ok := img.Properties[key].(string); ok && *p == "" {
				*p = v
			}
		}
	}
	if b.Kernel == "" || b.Ramdisk == "" {
		return b, fmt.Errorf("%w: deploy_interface ramdisk needs kernel and ramdisk in instance_info, or an image_source with kernel_id and ramdisk_id", errPermanent)
	}
	for _, ref := range []string{b.Kernel, b.Ramdisk} {
		if err := s.bootRefUsable(ctx, ref); err != nil {
			return b, err
		}
	}
	return b, nil
}

// resolveRamdisk finds out what the instance boots and keeps it with the node.
func resolveRamdisk(ctx context.Context, w *work) outcome {
	b, err := w.s.instanceRamdisk(ctx, w.n)
	if err != nil {
		return w.cloudTrouble(ctx, err)
	}
	return brokenOr(w.save(ctx, func(n *Node) {
		n.DriverInternalInfo["ramdisk_boot"] = map[string]any{"kernel": b.Kernel, "ramdisk": b.Ramdisk, "args": b.Args}
	}), done())
}

// bootsInstance says that the node's instance lives in a ramdisk which the node
// may fetch now.
func (n *Node) bootsInstance() bool {
	if n.Interfaces["deploy"] != "ramdisk" || n.DriverInternalInfo["ramdisk_boot"] == nil {
		return false
	}
	switch n.ProvisionState {
	case states.Active, states.Deploying, states.Unrescuing:
		return true
	default:
		return false
	}
}

func (n *Node) instanceBoot() ramdiskBoot {
	m, _ := n.DriverInternalInfo["ramdisk_boot"].(map[string]any)
	return ramdiskBoot{Kernel: infoString(m, "kernel"), Ramdisk: infoString(m, "ramdisk"), Args: infoString(m, "args")}
}

// instanceScript boots the instance's ramdisk.
func (s *Service) instanceScript(n *Node) string {
	b := n.instanceBoot()
	at := func(ref, kind string) string {
		if strings.HasPrefix(ref, "http://") || strings.HasPrefix(ref, "https://") {
			return ref
		}
		return s.nodeBase() + "/boot/" + n.UUID + "/" + kind
	}
	var args []string
	if b.Args != "" {
		args = strings.Fields(b.Args)
	}
	return boot.Script(boot.Ramdisk{Kernel: at(b.Kernel, "instance-kernel"), Initrd: at(b.Ramdisk, "instance-ramdisk"), Args: args})
}

// bootRefUsable says early whether a kernel or ramdisk can be served at all.
func (s *Service) bootRefUsable(ctx context.Context, ref string) error {
	if path, ok := strings.CutPrefix(ref, "file://"); ok {
		return s.fileAllowed(path)
	}
	if strings.Contains(ref, "://") {
		return nil
	}
	_, err := s.findImage(ctx, strings.TrimPrefix(ref, "glance:"))
	return err
}
