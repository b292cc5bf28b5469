package md

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
)

// RAID levels as the kernel numbers them.
const (
	Level0  = 0
	Level1  = 1
	Level10 = 10
)

const (
	magic = 0xa92b4efc
	// Sector is the unit of the superblock's numbers, whatever the disk's own is.
	Sector = 512
	// dataOffset is where a 1.2 member's data begin, in sectors: 1 MiB, which leaves room for a bitmap.
	dataOffset = 2048
	// chunkSectors is mdadm's default of 512 KiB.
	chunkSectors = 1024
	// near2 is RAID 10's layout with two copies near each other, mdadm's default.
	near2 = 0x102
	// raid0Layout and alternate say how a RAID 0 numbers its zones (Linux 5.4; commit c84a1372df92).
	raid0Layout = 1 << 12
	alternate   = 2

	headBytes = 256
	// maxRoles is the number of entries in the table of roles that is written, maxKernel what the kernel takes
	// (super_1_load: the superblock has 4 KiB).
	maxRoles  = 128
	maxKernel = (4096 - headBytes) / 2
	roleFree  = 0xfffe
	clean     = ^uint64(0)
	// maxName is the length of set_name.
	maxName = 32
)

// Superblock is what one member says of its array. Sizes and offsets are in sectors of 512 bytes.
type Superblock struct {
	Minor       int // of the version: 0 or 2
	Array       uuid.UUID
	Device      uuid.UUID
	Name        string
	Created     time.Time
	Level       int
	Disks       int
	Role        int
	Size        uint64 // that is used of each member; 0 with RAID 0
	DataOffset  uint64
	DataSize    uint64
	SuperOffset uint64
	// Synced says that the members have the same content already; the kernel copies it otherwise.
	Synced bool
	// Events counts changes; the members with the highest are up to date.
	Events uint64
}

// place says where superblock and data are on a member of so many sectors.
func place(minor int, sectors uint64) (super, data, size uint64, err error) {
	if sectors < 2*dataOffset {
		return 0, 0, 0, fmt.Errorf("a member of a RAID has at least %d bytes, this one %d", 2*dataOffset*Sector, sectors*Sector)
	}
	if minor == 0 { // md_p.h: 8 to 12 KiB before the end, at a multiple of 4 KiB
		super = (sectors - 16) &^ 7
		return super, 0, super, nil
	}
	return 8, dataOffset, sectors - dataOffset, nil
}

// newSuperblock is the superblock of a member with so many sectors.
func newSuperblock(a Array, id uuid.UUID, role int, sectors uint64, now time.Time) (Superblock, error) {
	s := Superblock{Minor: a.Minor, Array: id, Device: uuid.New(), Name: a.Name, Created: now, Level: a.Level, Disks: len(a.Members), Role: role, Synced: a.Minor == 0}
	var err error
	if s.SuperOffset, s.DataOffset, s.DataSize, err = place(a.Minor, sectors); err != nil {
		return s, err
	}
	switch a.Level {
	case Level1:
		s.Size = s.DataSize &^ 7
	case Level10:
		s.Size = s.DataSize / chunkSectors * chunkSectors
	case Level0:
		s.Synced = true // there is no second copy
	}
	return s, nil
}

// encode renders the superblock.
func (s Superblock) encode() []byte {
	b := make([]byte, headBytes+2*maxRoles)
	le := binary.LittleEndian
	at := uint64(s.Created.Unix()) & (1<<40 - 1) //nolint:gosec // seconds after 1970
	le.PutUint32(b[0:], magic)
	le.PutUint32(b[4:], 1)
	copy(b[16:], s.Array[:])
	copy(b[32:32+maxName], s.Name)
	le.PutUint64(b[64:], at)
	le.PutUint32(b[72:], uint32(s.Level)) //nolint:gosec // 0, 1 or 10
	le.PutUint64(b[80:], s.Size)
	switch s.Level {
	case Level0:
		le.PutUint32(b[8:], raid0Layout)
		le.PutUint32(b[76:], alternate)
		le.PutUint32(b[88:], chunkSectors)
	case Level10:
		le.PutUint32(b[76:], near2)
		le.PutUint32(b[88:], chunkSectors)
	}
	le.PutUint32(b[92:], uint32(s.Disks)) //nolint:gosec // at most maxRoles
	le.PutUint64(b[128:], s.DataOffset)
	le.PutUint64(b[136:], s.DataSize)
	le.PutUint64(b[144:], s.SuperOffset)
	le.PutUint32(b[160:], uint32(s.Role)) //nolint:gosec // at most maxRoles
	copy(b[168:], s.Device[:])
	le.PutUint64(b[192:], at)
	le.PutUint64(b[200:], s.Events)
	if s.Synced {
		le.PutUint64(b[208:], clean)
	}
	le.PutUint32(b[220:], maxRoles)
	for i := range maxRoles {
		role := uint16(roleFree)
		if i < s.Disks {
			role = uint16(i) //nolint:gosec // at most maxRoles
		}
		le.PutUint16(b[headBytes+2*i:], role)
	}
	le.PutUint32(b[216:], checksum(b))
	return b
}

// checksum adds the words of a superblock but the sum itself (md.c, calc_sb_1_csum).
func checksum(b []byte) uint32 {
	var sum uint64
	for i := 0; i+4 <= len(b); i += 4 {
		if i != 216 {
			sum += uint64(binary.LittleEndian.Uint32(b[i:]))
		}
	}
	if rest := len(b) % 4; rest == 2 {
		sum += uint64(binary.LittleEndian.Uint16(b[len(b)-2:]))
	}
	return uint32(sum&0xffffffff) + uint32(sum>>32) //nolint:gosec // folded on purpose
}

// errNone means that there is no superblock.
var errNone = errors.New("no RAID superblock")

// read looks for a superblock on a member: so many bytes of r from off on.
func read(r io.ReaderAt, off, size int64) (Superblock, error) {
	for _, minor := range []int{2, 0} {
		super, _, _, err := place(minor, uint64(size/Sector)) //nolint:gosec // a size is not negative
		if err != nil {
			return Superblock{}, errNone // too small for one
		}
		b := make([]byte, 4096)
		if _, err := r.ReadAt(b, off+int64(super)*Sector); err != nil { //nolint:gosec // within size
			return Superblock{}, err
		}
		if s, err := decode(b, super); err == nil {
			s.Minor = minor
			return s, nil
		}
	}
	return Superblock{}, errNone
}

// decode reads a superblock that was found so many sectors into a member.
func decode(b []byte, at uint64) (Superblock, error) {
	le := binary.LittleEndian
	count := le.Uint32(b[220:])
	if le.Uint32(b) != magic || le.Uint32(b[4:]) != 1 || count > maxKernel || le.Uint64(b[144:]) != at {
		return Superblock{}, errNone
	}
	if sum := checksum(b[:headBytes+2*count]); sum != le.Uint32(b[216:]) {
		return Superblock{}, fmt.Errorf("%w: its checksum is %#x, it says %#x", errNone, sum, le.Uint32(b[216:]))
	}
	s := Superblock{Level: int(int32(le.Uint32(b[72:]))), Disks: int(le.Uint32(b[92:])), Size: le.Uint64(b[80:]), DataOffset: le.Uint64(b[128:]), //nolint:gosec // a level may be negative
		DataSize: le.Uint64(b[136:]), SuperOffset: at, Events: le.Uint64(b[200:]), Synced: le.Uint64(b[208:]) == clean,
		Created: time.Unix(int64(le.Uint64(b[64:])&(1<<40-1)), 0).UTC(), Role: -1, //nolint:gosec // 40 bits
		Name: string(bytes.TrimRight(b[32:32+maxName], "\x00"))}
	copy(s.Array[:], b[16:])
	copy(s.Device[:], b[168:])
	if n := le.Uint32(b[160:]); n < count {
		if role := le.Uint16(b[headBytes+2*n:]); role < roleFree {
			s.Role = int(role)
		}
	}
	return s, nil
}
