package drivers

import (
	"context"
	"fmt"
	"slices"

	"github.com/stmcginnis/gofish/schemas"
)

// drive finds the virtual CD drive: at the system (ComputerSystem 1.13 and later), else at its managers.
func (s *redfishSession) drive(ctx context.Context) (*schemas.VirtualMedia, error) {
	sys, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	find := func(list []*schemas.VirtualMedia) *schemas.VirtualMedia {
		for _, kind := range []schemas.VirtualMediaType{schemas.CDVirtualMediaType, schemas.DVDVirtualMediaType} {
			for _, d := range list {
				if slices.Contains(d.MediaTypes, kind) {
					return d
				}
			}
		}
		return nil
	}
	list, err := sys.VirtualMedia()
	if err != nil {
		return nil, s.info.wrap("read virtual media", err)
	}
	if d := find(list); d != nil {
		return d, nil
	}
	managers, err := sys.ManagedBy()
	if err != nil {
		return nil, s.info.wrap("read the managers", err)
	}
	for _, m := range managers {
		list, err := m.VirtualMedia()
		if err != nil {
			return nil, s.info.wrap("read virtual media", err)
		}
		if d := find(list); d != nil {
			return d, nil
		}
	}
	return nil, fmt.Errorf("redfish %s: no virtual CD drive at %s or its managers: %w", s.info.address, s.system, ErrUnsupported)
}

// InsertMedia implements MediaDrive.
func (s *redfishSession) InsertMedia(ctx context.Context, url string) error {
	d, err := s.drive(ctx)
	if err != nil {
		return err
	}
	inserted := func(d *schemas.VirtualMedia) bool { return d.Inserted != nil && *d.Inserted }
	if inserted(d) && d.Image == url {
		return nil
	}
	if inserted(d) || d.Image != "" {
		if _, err := d.EjectMedia(); err != nil {
			return s.info.wrap("eject virtual media", err)
		}
	}
	yes := true
	_, err = d.InsertMedia(&schemas.VirtualMediaInsertMediaParameters{Image: url, Inserted: &yes, WriteProtected: &yes})
	return s.info.wrap("insert virtual media", err)
}

// EjectMedia implements MediaDrive.
func (s *redfishSession) EjectMedia(ctx context.Context) error {
	d, err := s.drive(ctx)
	if err != nil {
		return err
	}
	if (d.Inserted == nil || !*d.Inserted) && d.Image == "" {
		return nil
	}
	_, err = d.EjectMedia()
	return s.info.wrap("eject virtual media", err)
}
