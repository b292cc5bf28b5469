package hardware

import (
	"encoding/binary"
	"io"
	"strconv"
	"strings"
)

func readBounded(r io.Reader, limit int64) []byte {
	b, err := io.ReadAll(io.LimitReader(r, limit))
	if err != nil && len(b) == 0 {
		return nil
	}
	return b
}

// cpu reads /proc/cpuinfo, whose x86 and arm64 dialects differ in the names of the keys.
func (s Sources) cpu() CPU {
	c := CPU{Architecture: s.Architecture, Flags: []string{}}
	sockets := map[string]bool{}
	for line := range strings.Lines(string(readFile(s.Proc, "cpuinfo"))) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "processor":
			c.Count++
		case "model name", "cpu model", "cpu":
			if c.ModelName == "" {
				c.ModelName = value
			}
		case "cpu MHz", "clock":
			if c.Frequency == "" {
				c.Frequency = strings.TrimSuffix(value, "MHz")
			}
		case "flags", "Features":
			if len(c.Flags) == 0 {
				c.Flags = strings.Fields(value)
			}
		case "physical id":
			sockets[value] = true
		}
	}
	c.SocketCount = len(sockets)
	if khz, err := strconv.ParseInt(readLine(s.Sys, "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"), 10, 64); err == nil {
		c.Frequency = strconv.FormatFloat(float64(khz)/1000, 'f', 4, 64)
	}
	return c
}

func (s Sources) memory() Memory {
	var m Memory
	for line := range strings.Lines(string(readFile(s.Proc, "meminfo"))) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			m.Total = kib << 10
		}
	}
	m.PhysicalMB = dmiMemoryMB(readFile(s.Sys, "firmware/dmi/tables/DMI"))
	if m.PhysicalMB == 0 {
		m.PhysicalMB = m.Total >> 20
	}
	return m
}

// dmiMemoryMB adds up the memory devices (structure type 17) of an SMBIOS table; DMTF DSP0134, 7.18.
// Zero if the table says nothing usable.
func dmiMemoryMB(table []byte) int64 {
	var total int64
	for len(table) >= 4 {
		kind, length := table[0], int(table[1])
		if length < 4 || length > len(table) || kind == 127 {
			break
		}
		if kind == 17 && length >= 0x0e {
			total += dmiDeviceMB(table[:length])
		}
		// The strings follow the formatted part and end with an empty one.
		end := length
		for end+1 < len(table) && (table[end] != 0 || table[end+1] != 0) {
			end++
		}
		if end+2 > len(table) {
			break
		}
		table = table[end+2:]
	}
	return total
}

func dmiDeviceMB(s []byte) int64 {
	size := binary.LittleEndian.Uint16(s[0x0c:])
	switch {
	case size == 0 || size == 0xffff: // empty slot, unknown
		return 0
	case size == 0x7fff && len(s) >= 0x20: // extended size, MiB
		return int64(binary.LittleEndian.Uint32(s[0x1c:]) & 0x7fffffff)
	case size&0x8000 != 0: // KiB
		return int64(size&0x7fff) >> 10
	}
	return int64(size)
}
