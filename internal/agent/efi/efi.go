// Package efi writes UEFI boot entries: the variables Boot#### and BootOrder
// (UEFI 2.10, 3.1 and 3.3) as Linux' efivarfs shows them, one file a variable,
// whose first four bytes are its attributes.
package efi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/google/uuid"
)

const (
	// Dir is where efivarfs is mounted.
	Dir = "/sys/firmware/efi/efivars"
	// globalVariable is the vendor GUID of the variables that the specification defines (3.3).
	globalVariable = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	// attributes: kept without power, seen at boot and at run time (8.2.1).
	attributes = 7
	// loadOptionActive says that firmware tries the entry (3.1.3).
	loadOptionActive = 1
	// maxVariable bounds what is read of a variable, in bytes.
	maxVariable = 64 << 10
)

// Entry is a boot entry for a loader on a partition of a disk with GPT.
type Entry struct {
	// Label is what the firmware's menu shows.
	Label string
	// Partition is the number of the EFI system partition, GUID its unique GUID; Start and Size are in sectors.
	Partition   uint32
	GUID        uuid.UUID
	Start, Size uint64
	// Path is the loader's on that partition, with slashes.
	Path string
}

// Option renders the entry as EFI_LOAD_OPTION (3.1.3).
func (e Entry) Option() []byte {
	file := utf16z(`\` + strings.ReplaceAll(strings.TrimPrefix(e.Path, "/"), "/", `\`))
	var dp []byte
	// Hard drive media device path (10.3.5.1): type 4, subtype 1.
	dp = append(dp, 4, 1)
	dp = binary.LittleEndian.AppendUint16(dp, 42)
	dp = binary.LittleEndian.AppendUint32(dp, e.Partition)
	dp = binary.LittleEndian.AppendUint64(dp, e.Start)
	dp = binary.LittleEndian.AppendUint64(dp, e.Size)
	dp = append(dp, guidBytes(e.GUID)...)
	dp = append(dp, 2, 2) // a GPT, and so a GUID
	// File path media device path (10.3.5.4): type 4, subtype 4.
	dp = append(dp, 4, 4)
	dp = binary.LittleEndian.AppendUint16(dp, uint16(4+len(file))) //nolint:gosec // a path is short
	dp = append(dp, file...)
	dp = append(dp, 0x7f, 0xff, 4, 0) // end of the entire path
	out := binary.LittleEndian.AppendUint32(nil, loadOptionActive)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(dp))) //nolint:gosec // some 100 bytes
	return append(append(out, utf16z(e.Label)...), dp...)
}

// guidBytes is the mixed-endian form of a GUID in memory (appendix A).
func guidBytes(g uuid.UUID) []byte {
	return []byte{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}

func utf16z(s string) []byte {
	var out []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}

// label reads the description of an EFI_LOAD_OPTION; "" if it is none.
func label(option []byte) string {
	if len(option) < 8 {
		return ""
	}
	var units []uint16
	for b := option[6:]; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// Store is a machine's variables: a folder like efivarfs.
type Store struct{ Dir string }

var bootName = regexp.MustCompile(`^Boot([0-9A-F]{4})-` + globalVariable + `$`)

func (s Store) path(name string) string { return filepath.Join(s.Dir, name+"-"+globalVariable) }

// get returns a variable's value without its attributes.
func (s Store) get(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, maxVariable)
	n, err := f.Read(buf) // a variable is read as one
	if err != nil {
		return nil, err
	}
	if n < 4 {
		return nil, fmt.Errorf("EFI variable %s has %d bytes, want at least its 4 of attributes", filepath.Base(file), n)
	}
	return buf[4:n], nil
}

// set writes a variable, in one write as efivarfs wants it.
func (s Store) set(name string, value []byte) error {
	data := append(binary.LittleEndian.AppendUint32(nil, attributes), value...)
	if err := os.WriteFile(s.path(name), data, 0o644); err != nil { // the kernel's own mode
		return fmt.Errorf("EFI variable %s: %w", name, err)
	}
	return nil
}

// Install writes the entry and puts it first in the boot order. Entries of the
// same label, left by an earlier installation, go. It returns the entry's name,
// e.g. "Boot0007".
func (s Store) Install(e Entry) (string, error) {
	files, err := os.ReadDir(s.Dir)
	if err != nil {
		return "", fmt.Errorf("EFI variables: %w", err)
	}
	used, stale := map[uint16]bool{}, map[uint16]bool{}
	for _, f := range files {
		m := bootName.FindStringSubmatch(f.Name())
		if m == nil {
			continue
		}
		n, err := strconv.ParseUint(m[1], 16, 16)
		if err != nil {
			continue
		}
		option, err := s.get(filepath.Join(s.Dir, f.Name()))
		if err != nil {
			return "", err
		}
		used[uint16(n)] = true
		stale[uint16(n)] = label(option) == e.Label
	}
	order, err := s.order()
	if err != nil {
		return "", err
	}
	number, err := free(used)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("Boot%04X", number)
	// The new entry first, so that an interruption leaves a machine that starts.
	if err := s.set(name, e.Option()); err != nil {
		return "", err
	}
	order = slices.DeleteFunc(order, func(n uint16) bool { return stale[n] || n == number })
	if err := s.set("BootOrder", encodeOrder(append([]uint16{number}, order...))); err != nil {
		return "", err
	}
	for n, old := range stale {
		if !old {
			continue
		}
		if err := os.Remove(s.path(fmt.Sprintf("Boot%04X", n))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("stale boot entry: %w", err)
		}
	}
	return name, nil
}

func free(used map[uint16]bool) (uint16, error) {
	for n := range uint16(0xffff) {
		if !used[n] {
			return n, nil
		}
	}
	return 0, errors.New("all 65535 boot entries are in use")
}

// order reads BootOrder; a machine without one has none.
func (s Store) order() ([]uint16, error) {
	b, err := s.get(s.path("BootOrder"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []uint16
	for r := bytes.NewReader(b); r.Len() >= 2; {
		var n uint16
		if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func encodeOrder(order []uint16) []byte {
	var b []byte
	for _, n := range order {
		b = binary.LittleEndian.AppendUint16(b, n)
	}
	return b
}
