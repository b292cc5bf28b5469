package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/pin/tftp/v3"
)

// TFTP serves the files of FS, read only, for the first stage of a network
// boot.
type TFTP struct {
	FS  fs.FS
	Log *slog.Logger
}

// blockSize is what fits into an Ethernet frame, with room for a VLAN tag or a
// tunnel.
const blockSize = 1428

// Serve answers on conn until ctx is done or conn is closed; it closes conn.
func (t *TFTP) Serve(ctx context.Context, conn net.PacketConn) error {
	s := tftp.NewServer(t.read, nil)
	s.SetBlockSize(blockSize)
	s.EnableSinglePort() // one socket, as the namespace of a new one would be wrong
	s.SetTimeout(2 * time.Second)
	s.SetRetries(5)
	watched := &endingConn{PacketConn: conn, ended: make(chan struct{})}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(watched) }()
	var err error
	select {
	case <-ctx.Done():
	case <-watched.ended:
		err = net.ErrClosed
	case err = <-failed:
		_ = conn.Close()
		return fmt.Errorf("TFTP server: %w", err)
	}
	_ = conn.Close() // transfers under way end with it
	s.Shutdown()
	<-failed
	return err
}

// endingConn makes the end of a socket known. The library's single-port loop
// reads a closed socket again and again without a pause; here such a read
// takes a while and looks like a timeout, and the loop is told to stop.
type endingConn struct {
	net.PacketConn
	once  sync.Once
	ended chan struct{}
}

func (c *endingConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, addr, err := c.PacketConn.ReadFrom(b)
	if errors.Is(err, net.ErrClosed) {
		c.once.Do(func() { close(c.ended) })
		time.Sleep(50 * time.Millisecond)
		return 0, nil, os.ErrDeadlineExceeded
	}
	return n, addr, err
}

func (t *TFTP) read(name string, rf io.ReaderFrom) error {
	remote := ""
	if o, ok := rf.(tftp.OutgoingTransfer); ok {
		addr := o.RemoteAddr()
		remote = addr.String()
	}
	// Firmware asks with or without a leading slash, some with backslashes.
	clean := strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, "\\", "/")), "/")
	f, err := t.FS.Open(clean)
	if err != nil {
		t.Log.Warn("TFTP: no such file", "file", clean, "client", remote)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
			return fmt.Errorf("file %s not found", clean)
		}
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return fmt.Errorf("file %s not found", clean)
	}
	if o, ok := rf.(tftp.OutgoingTransfer); ok {
		o.SetSize(st.Size())
	}
	n, err := rf.ReadFrom(f)
	if err != nil {
		t.Log.Info("TFTP: transfer failed", "file", clean, "client", remote, "bytes", n, "error", err)
		return err
	}
	t.Log.Info("TFTP: file sent", "file", clean, "client", remote, "bytes", n)
	return nil
}
