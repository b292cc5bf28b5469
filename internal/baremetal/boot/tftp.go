package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path"
	"strings"
	"time"

	"github.com/pin/tftp/v3"
)

// TFTP serves the files of FS, read only, for the first stage of a network
// boot.
type TFTP struct {
	FS  fs.FS
	Log *slog.Logger
}

// Serve answers on conn until ctx is done. conn is closed at the end.
func (t *TFTP) Serve(ctx context.Context, conn net.PacketConn) error {
	s := tftp.NewServer(t.read, nil)
	s.EnableSinglePort() // one socket, as the namespace of a new one would be wrong
	s.SetTimeout(2 * time.Second)
	s.SetRetries(5)
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(conn) }()
	select {
	case <-ctx.Done():
		s.Shutdown()
		<-failed
		_ = conn.Close()
		return nil
	case err := <-failed:
		_ = conn.Close()
		return fmt.Errorf("TFTP server: %w", err)
	}
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
