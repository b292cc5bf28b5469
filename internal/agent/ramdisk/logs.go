package ramdisk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxLog bounds what the agent remembers of its own log, in bytes.
const maxLog = 2 << 20

// LogBuffer keeps the end of the log in memory and passes everything on; the ramdisk has no other place, and
// the log is sent back when a deployment fails.
type LogBuffer struct {
	mu   sync.Mutex
	next io.Writer
	buf  []byte
}

// NewLogBuffer returns a buffer that also writes to next.
func NewLogBuffer(next io.Writer) *LogBuffer { return &LogBuffer{next: next} }

// Write implements io.Writer.
func (b *LogBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	if len(b.buf) > maxLog {
		cut := len(b.buf) - maxLog/2
		if i := bytes.IndexByte(b.buf[cut:], '\n'); i >= 0 {
			cut += i + 1
		}
		b.buf = append([]byte(nil), b.buf[cut:]...)
	}
	return b.next.Write(p)
}

// Bytes is a copy of what is remembered.
func (b *LogBuffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf)
}

// bundle packs the logs as base64 of a tar.gz, the form of log.collect_system_logs and of the "logs" collector.
func (a *agent) bundle() (string, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	add := func(name string, data []byte) error {
		if len(data) == 0 {
			return nil
		}
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: a.o.Now().Truncate(time.Second)}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err := t.Write(data)
		return err
	}
	files := []struct {
		name string
		data []byte
	}{{"agent.log", a.o.Logs.Bytes()}, {"dmesg", kernelLog()}}
	for _, name := range []string{"cmdline", "cpuinfo", "meminfo", "partitions", "mounts"} {
		data, _ := fs.ReadFile(a.o.Sources.Proc, name) // what is not there is left out
		files = append(files, struct {
			name string
			data []byte
		}{"proc/" + name, redactToken(data)})
	}
	for _, f := range files {
		if err := add(f.name, f.data); err != nil {
			return "", fmt.Errorf("pack the logs: %w", err)
		}
	}
	if err := t.Close(); err != nil {
		return "", fmt.Errorf("pack the logs: %w", err)
	}
	if err := z.Close(); err != nil {
		return "", fmt.Errorf("pack the logs: %w", err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes()), nil
}

// redactToken removes an agent token given as a kernel argument.
func redactToken(data []byte) []byte {
	const key = "ipa-agent-token="
	i := bytes.Index(data, []byte(key))
	if i < 0 {
		return data
	}
	i += len(key)
	end := bytes.IndexAny(data[i:], " \n")
	if end < 0 {
		end = len(data) - i
	}
	return append(append(bytes.Clone(data[:i]), "***"...), data[i+end:]...)
}

// kernelLog reads the kernel's ring buffer; nil where that is not allowed.
func kernelLog() []byte {
	const syslogActionReadAll, syslogActionSizeBuffer = 3, 10
	n, err := unix.Klogctl(syslogActionSizeBuffer, nil)
	if err != nil || n <= 0 {
		return nil
	}
	buf := make([]byte, min(n, maxLog))
	if n, err = unix.Klogctl(syslogActionReadAll, buf); err != nil {
		return nil
	}
	return buf[:n]
}
