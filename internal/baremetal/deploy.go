package baremetal

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/baremetal/agentclient"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/store"
)

// prepareBoot makes fresh secrets for the ramdisk about to boot and forgets
// the one before: from here on only the new ramdisk is listened to. With fast
// track a ramdisk that runs already is kept.
func prepareBoot(ctx context.Context, w *work) outcome {
	if w.s.runsRamdisk(w.n) && (w.n.Run.Flow == flowClean || w.n.Run.Flow == flowDeploy) {
		w.log.Info("fast track: the ramdisk runs already")
		now := w.s.now()
		return brokenOr(w.save(ctx, func(n *Node) { n.Run.Fast, n.Run.Heartbeat = true, now }), done())
	}
	if err := w.s.checkBootImages(ctx, w.n); err != nil {
		return w.cloudTrouble(ctx, err)
	}
	return brokenOr(w.save(ctx, func(n *Node) {
		n.Run.Data = nil
		n.expectRamdisk()
	}), done())
}

// expectRamdisk prepares for a ramdisk that is about to boot.
func (n *Node) expectRamdisk() {
	n.Run.Heartbeat, n.Run.Command, n.Run.Last = time.Time{}, "", ""
	n.Secrets.AgentToken, n.Secrets.AgentTokenIssued, n.Secrets.AgentCA = rand.Text(), false, ""
	for _, k := range []string{"agent_url", "agent_last_heartbeat", "agent_version", "deploy_progress"} {
		delete(n.DriverInternalInfo, k)
	}
}

// ramdiskGone notes that the machine is off: what runs on it next is not known
// to be the ramdisk that was heard of last.
func (n *Node) ramdiskGone() { delete(n.DriverInternalInfo, "agent_last_heartbeat") }

// fastTrack says that the node's ramdisk is to be kept running between its
// tasks: the option fast_track, or driver_info of that name.
func (s *Service) fastTrack(n *Node) bool {
	if v, ok := n.DriverInfo["fast_track"]; ok {
		on, err := wantBool("fast_track", v)
		return err == nil && on
	}
	return s.cfg.FastTrack
}

// runsRamdisk says that the node's ramdisk was heard of lately, so that fast
// track may use it as it is.
func (s *Service) runsRamdisk(n *Node) bool {
	if !s.fastTrack(n) || n.PowerState != drivers.PowerOn || n.Secrets.AgentToken == "" {
		return false
	}
	at, _ := n.DriverInternalInfo["agent_last_heartbeat"].(string)
	t, err := time.Parse(timeLayout, at)
	return err == nil && s.now().Sub(t) < seconds(heartbeatTimeout)
}

// errPermanent marks an error of another service that a repetition will not
// change.
var errPermanent = errors.New("refused")

// cloudTrouble is the outcome of an error from another service: permanent
// ones end the step, others are tried until its limit.
func (w *work) cloudTrouble(ctx context.Context, err error) outcome {
	if errors.Is(err, errPermanent) || permanent(err) {
		return failed(err)
	}
	return w.note(ctx, err, w.s.cfg.CloudRetry)
}

// resolveImage finds out what instance_info.image_source names and keeps what
// the ramdisk needs to know of it.
func resolveImage(ctx context.Context, w *work) outcome {
	img, err := w.s.instanceImage(ctx, w.n)
	if err != nil {
		return w.cloudTrouble(ctx, err)
	}
	return brokenOr(w.save(ctx, func(n *Node) {
		n.Secrets.ImageToken = rand.Text()
		n.DriverInternalInfo["is_whole_disk_image"] = img.WholeDisk
		n.DriverInternalInfo["image"] = img
	}), done())
}

func (n *Node) image() (img instanceImage, err error) {
	b, err := json.Marshal(n.DriverInternalInfo["image"])
	if err != nil {
		return img, err
	}
	return img, json.Unmarshal(b, &img)
}

// agent returns a client of the node's ramdisk.
func (w *work) agent() (*agentclient.Client, error) {
	url, _ := w.n.DriverInternalInfo["agent_url"].(string)
	return agentclient.New(agentclient.Options{URL: url, Token: w.n.Secrets.AgentToken, CA: w.n.Secrets.AgentCA, Dial: w.s.dialNode})
}

// command runs one command of the ramdisk's agent to its end, over any number
// of calls and restarts of either side. cmd is set when out is done.
//
// The command's id is kept as soon as it is known. Should we die between the
// agent's answer and our note of it, the agent's own list tells: a command of
// that name since its boot, and after the last one known, is ours, as every run
// boots the ramdisk anew.
func (w *work) command(ctx context.Context, name string, params func() (map[string]any, error)) (cmd *agentclient.Command, out outcome) {
	c, err := w.agent()
	if err != nil {
		return nil, failed(err)
	}
	if w.n.Run.Command == "" {
		if cmd, out = w.issue(ctx, c, name, params); cmd == nil {
			return nil, out
		}
		if err := w.save(ctx, func(n *Node) { n.Run.Command, n.Run.Sent, n.Run.LostSince = cmd.ID, w.s.now(), time.Time{} }); err != nil {
			return nil, broken(err)
		}
	} else if cmd, err = c.Get(ctx, w.n.Run.Command); err != nil {
		if errors.Is(err, agentclient.ErrUnknownCommand) {
			return nil, w.reissue(ctx, name)
		}
		return nil, w.agentTrouble(ctx, err)
	}
	if !w.n.Run.LostSince.IsZero() {
		if err := w.save(ctx, func(n *Node) { n.Run.LostSince = time.Time{} }); err != nil {
			return nil, broken(err)
		}
	}
	switch cmd.Status {
	case agentclient.Succeeded:
		return cmd, done()
	case agentclient.Running, "":
		return cmd, again(w.s.cfg.AgentPoll)
	case agentclient.VersionMismatch:
		return nil, failf("agent command %s: the hardware manager's version has changed during cleaning", name)
	default:
		return cmd, failf("agent command %s: %s", name, cmd.Error.Text())
	}
}

const maxReissues = 2

func (w *work) reissue(ctx context.Context, name string) outcome {
	if w.n.Run.Reissued >= maxReissues {
		return failf("agent command %s: the ramdisk has lost it %d times", name, maxReissues+1)
	}
	w.log.Warn("a command of the ramdisk was lost or cut off, it is sent again", "command", name)
	return brokenOr(w.save(ctx, func(n *Node) { n.Run.Last, n.Run.Command, n.Run.Reissued = n.Run.Command, "", n.Run.Reissued+1 }), again(0))
}

func (w *work) issue(ctx context.Context, c *agentclient.Client, name string, params func() (map[string]any, error)) (*agentclient.Command, outcome) {
	list, err := c.List(ctx)
	if err != nil {
		return nil, w.agentTrouble(ctx, err)
	}
	for i := len(list) - 1; i >= 0 && !w.n.Run.Fast; i-- {
		if _, short, _ := strings.Cut(name, "."); list[i].Name != name && list[i].Name != short {
			continue
		}
		if list[i].ID == w.n.Run.Last {
			break // hardware steps share one command name: this is the one before
		}
		return &list[i], done()
	}
	p, err := params()
	if err != nil {
		return nil, failed(err)
	}
	cmd, err := c.Start(ctx, name, p, false)
	if err != nil {
		return nil, w.agentTrouble(ctx, err)
	}
	return cmd, done()
}

// agentTrouble waits for an agent that does not answer, but not for ever: a
// ramdisk that has died ends the run long before the step's own limit.
func (w *work) agentTrouble(ctx context.Context, err error) outcome {
	if errors.Is(err, agentclient.ErrBusy) {
		return w.note(ctx, err, w.s.cfg.AgentPoll)
	}
	if !errors.Is(err, agentclient.ErrUnreachable) {
		return failed(err)
	}
	now := w.s.now()
	if w.n.Run.LostSince.IsZero() {
		text := err.Error()
		return brokenOr(w.save(ctx, func(n *Node) { n.Run.LostSince, n.Run.LastTry = now, text }), again(w.s.cfg.AgentPoll))
	}
	lost := w.n.Run.LostSince
	if w.n.Run.Heartbeat.After(lost) {
		lost = w.n.Run.Heartbeat
	}
	if now.Sub(lost) > w.s.cfg.AgentLost {
		return failf("the ramdisk has stopped answering for %v: %w", w.s.cfg.AgentLost, err)
	}
	return again(w.s.cfg.AgentPoll)
}

func writeImage(ctx context.Context, w *work) outcome {
	cmd, out := w.command(ctx, "standby.prepare_image", func() (map[string]any, error) { return w.prepareImageParams(ctx) })
	switch out.kind {
	case stepFailed:
		// Our own restart may have cut the download.
		if cmd != nil && cmd.Error != nil && cmd.Error.Type == "ImageDownloadError" && w.n.Run.Reissued < maxReissues {
			return w.reissue(ctx, "standby.prepare_image")
		}
		return failed(fmt.Errorf("image %s: %w", w.imageName(), out.err))
	case stepWait:
		if cmd == nil {
			return out
		}
		if p, ok := cmd.Progress(); ok && w.n.DriverInternalInfo["deploy_progress"] != float64(p) {
			if err := w.save(ctx, func(n *Node) { n.DriverInternalInfo["deploy_progress"] = p }); err != nil {
				return broken(err)
			}
		}
	}
	return out
}

func (w *work) imageName() string {
	img, err := w.n.image()
	if err != nil || img.Name == "" {
		return img.ID
	}
	return img.Name
}

func (w *work) prepareImageParams(ctx context.Context) (map[string]any, error) {
	img, err := w.n.image()
	if err != nil {
		return nil, err
	}
	url := img.URL
	if url == "" {
		url = fmt.Sprintf("%s/boot/images/%s/%s", w.s.nodeBase(), w.n.UUID, w.n.Secrets.ImageToken)
	}
	info := map[string]any{
		"id": img.ID, "urls": []string{url}, "checksum": nilIfEmpty(img.Checksum),
		"os_hash_algo": nilIfEmpty(img.HashAlgo), "os_hash_value": nilIfEmpty(img.HashValue),
		"disk_format": img.DiskFormat, "container_format": img.ContainerFormat,
		"node_uuid": w.n.UUID, "stream_raw_images": true, "image_type": "whole-disk-image",
		"deploy_boot_mode": w.n.bootMode(), "boot_option": "local",
	}
	if img.Size > 0 {
		info["size"] = img.Size
	}
	params := map[string]any{"image_info": info, "configdrive": nil}
	err = w.s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		drive, err := getBody(tx, w.n.UUID, bodyConfigDrive)
		if err == nil {
			params["configdrive"] = drive
		}
		if errors.Is(err, store.ErrNotFound) {
			if s, _ := w.n.InstanceInfo["configdrive"].(string); s != "" {
				params["configdrive"] = s
			}
			return nil
		}
		return err
	})
	return params, err
}

func nilIfEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// installBootloader writes the firmware's boot entry. A whole-disk image has
// its loader inside: on BIOS machines there is nothing left to do, and Ironic
// sends nothing either.
func installBootloader(ctx context.Context, w *work) outcome {
	if w.n.bootMode() != drivers.BootModeUEFI {
		return done()
	}
	_, out := w.command(ctx, "image.install_bootloader", func() (map[string]any, error) {
		return map[string]any{"root_uuid": nil, "efi_system_part_uuid": nil, "prep_boot_part_uuid": nil, "target_boot_mode": drivers.BootModeUEFI}, nil
	})
	return out
}

// shutdown powers the machine off through the ramdisk, which syncs its disks
// first, and by the BMC when that does not help in time.
func shutdown(ctx context.Context, w *work) outcome {
	m, err := w.machine()
	if err != nil {
		return failed(err)
	}
	p, err := m.Power(ctx)
	if err != nil {
		return w.bmcTrouble(ctx, err)
	}
	if p == drivers.PowerOff {
		return brokenOr(w.save(ctx, func(n *Node) {
			n.PowerState = p
			n.ramdiskGone()
		}), done())
	}
	now := w.s.now()
	force, _ := wantBool("", w.n.DriverInfo["deploy_forces_oob_reboot"])
	overdue := force || now.Sub(w.n.Run.Began) > w.s.cfg.SoftOffTimeout
	if sent := w.n.Run.Sent; !overdue && (sent.IsZero() || now.Sub(sent) >= w.s.cfg.PowerRetry) {
		if err := w.save(ctx, func(n *Node) { n.Run.Sent = now }); err != nil {
			return broken(err)
		}
		if c, err := w.agent(); err == nil {
			// Its failure shows as a machine that stays on.
			_, err = c.Start(ctx, "standby.power_off", nil, false)
			if err != nil {
				w.log.Info("the ramdisk cannot power off, the BMC will", "error", err)
			}
		}
		return again(w.s.cfg.PowerPoll)
	}
	if overdue {
		if err := m.SetPower(ctx, drivers.Off); err != nil {
			return w.bmcTrouble(ctx, err)
		}
	}
	return again(w.s.cfg.PowerPoll)
}

// forget clears the instance's traces on the node after an undeployment.
func (s *Service) forget(ctx context.Context, w *work) error {
	return s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		n, err := nodeByIdent(tx, w.n.UUID)
		if err != nil {
			return err
		}
		if n.Run == nil || n.Run.ID != w.n.Run.ID {
			return errSuperseded
		}
		n.InstanceInfo, n.InstanceUUID = map[string]any{}, ""
		for _, k := range []string{"image", "is_whole_disk_image", "agent_url", "agent_version", "agent_last_heartbeat", "deploy_progress", "ramdisk_boot"} {
			delete(n.DriverInternalInfo, k)
		}
		n.Secrets = Secrets{}
		if n.AllocationUUID != "" {
			if _, err := tx.Exec(`DELETE FROM baremetal_allocations WHERE uuid = ?`, n.AllocationUUID); err != nil {
				return err
			}
			n.AllocationUUID = ""
		}
		if err := dropBody(tx, n.UUID, bodyConfigDrive); err != nil {
			return err
		}
		all, err := attachments(tx, n.UUID)
		if err != nil {
			return err
		}
		for _, a := range all {
			if err := a.setVIF(tx, ""); err != nil {
				return err
			}
		}
		n.UpdatedAt = s.now()
		return updateNode(tx, n)
	})
}
