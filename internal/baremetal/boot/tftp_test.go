package boot_test

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/baremetal/boot"
)

// tftpClient is a client that can misbehave.
type tftpClient struct {
	t    *testing.T
	conn net.Conn
}

func newTFTP(t *testing.T, size int) (*tftpClient, []byte) {
	t.Helper()
	file := make([]byte, size)
	for i := range file {
		file[i] = byte(i % 251)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &boot.TFTP{FS: fstest.MapFS{"f": {Data: file}}, Log: slog.New(slog.DiscardHandler), Timeout: 200 * time.Millisecond}
	go func() { _ = s.Serve(t.Context(), conn) }()
	c, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &tftpClient{t, c}, file
}

func (c *tftpClient) ask(options ...string) {
	c.t.Helper()
	p := []byte("\x00\x01f\x00octet\x00")
	for _, o := range options {
		p = append(append(p, o...), 0)
	}
	c.write(p)
}

func (c *tftpClient) write(p []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(p); err != nil {
		c.t.Fatal(err)
	}
}

func (c *tftpClient) ack(n int) {
	c.t.Helper()
	c.write(binary.BigEndian.AppendUint16([]byte{0, 4}, uint16(n)))
}

func (c *tftpClient) read() (op, number uint16, rest []byte) {
	c.t.Helper()
	buf := make([]byte, 2048)
	if err := c.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	n, err := c.conn.Read(buf)
	if err != nil || n < 4 {
		c.t.Fatalf("%d bytes, %v", n, err)
	}
	return binary.BigEndian.Uint16(buf), binary.BigEndian.Uint16(buf[2:]), buf[4:n]
}

// TestTFTPOptions: what is understood is answered, within bounds.
func TestTFTPOptions(t *testing.T) {
	c, _ := newTFTP(t, 5000)
	c.ask("tsize", "0", "blksize", "65464", "windowsize", "100", "multicast", "", "timeout", "200")
	buf := make([]byte, 2048)
	n, err := c.conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("\x00\x06tsize\x005000\x00blksize\x001428\x00windowsize\x0032\x00", string(buf[:n])); diff != "" {
		t.Errorf("option acknowledgement (-want +got):\n%s", diff)
	}
}

// TestTFTPWindow: blocks come in windows, and after a lost one from where the client still was (RFC 7440, 4).
func TestTFTPWindow(t *testing.T) {
	c, file := newTFTP(t, 1024*4+7)
	c.ask("blksize", "1024", "windowsize", "3")
	_, _, _ = c.read()
	c.ack(0)
	var got []byte
	var blocks []uint16
	take := func(count, keep int) {
		for i := range count {
			op, n, data := c.read()
			if op != 3 {
				t.Fatalf("packet %d instead of data: %q", op, data)
			}
			blocks = append(blocks, n)
			if i < keep {
				got = append(got, data...)
			}
		}
	}
	take(3, 1) // the second one is lost on its way
	c.ack(1)
	take(3, 3)
	c.ack(4)
	take(1, 1)
	c.ack(5)
	if diff := cmp.Diff([]uint16{1, 2, 3, 2, 3, 4, 5}, blocks); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
	if !bytes.Equal(file, got) {
		t.Errorf("%d bytes, want the file's %d", len(got), len(file))
	}
}

// TestTFTPDuplicatesAreNotAnswered: an acknowledgement that comes twice must not double the traffic (RFC 1123,
// 4.2.3.1), one that is lost is asked for again.
func TestTFTPDuplicatesAreNotAnswered(t *testing.T) {
	c, _ := newTFTP(t, 512*3)
	c.ask()
	var blocks []uint16
	for range 2 {
		_, n, _ := c.read()
		blocks = append(blocks, n)
		c.ack(int(n))
		c.ack(int(n))
	}
	for range 2 { // the third one, and again as nobody acknowledges it
		_, n, _ := c.read()
		blocks = append(blocks, n)
	}
	c.ack(3)
	op, n, rest := c.read()
	if op != 3 || n != 4 || len(rest) != 0 {
		t.Errorf("packet %d, block %d with %d bytes; want an empty last block, as the size is a multiple of 512", op, n, len(rest))
	}
	c.ack(4)
	if diff := cmp.Diff([]uint16{1, 2, 3, 3}, blocks); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
}

// TestTFTPBlockNumbersWrap: files of more than 65,535 blocks.
func TestTFTPBlockNumbersWrap(t *testing.T) {
	const blocks = 65_540
	c, file := newTFTP(t, 8*blocks+3)
	c.ask("blksize", "8", "windowsize", "32")
	_, _, _ = c.read()
	c.ack(0)
	var got []byte
	for b := 1; ; b++ {
		_, n, data := c.read()
		for int16(n-uint16(b)) < 0 { //nolint:gosec // modulo 2^16: of the window before, sent again because our answer was late
			_, n, data = c.read()
		}
		if int(n) != b&0xffff {
			t.Fatalf("block %d, want %d", n, b&0xffff)
		}
		got = append(got, data...)
		if b%32 == 0 || len(data) < 8 {
			c.ack(b)
		}
		if len(data) < 8 {
			break
		}
	}
	if !bytes.Equal(file, got) {
		t.Errorf("%d bytes, want the file's %d", len(got), len(file))
	}
}

func TestTFTPRefusals(t *testing.T) {
	for _, p := range []string{"\x00\x02f\x00octet\x00", "\x00\x01f\x00mail\x00", "\x00\x01\x00\x00\x00", "\x00\x01noend", "\x00\x04\x00\x01", "\x00\x09xx"} {
		c, _ := newTFTP(t, 1)
		c.write([]byte(p))
		if op, code, text := c.read(); op != 5 || code != 4 {
			t.Errorf("%q was answered %d, %d %s; want an illegal operation", p, op, code, text)
		}
	}
}

// TestTFTPBeginsAnew: a client that asks again on its port gets the new file's
// first block, not the old transfer's.
func TestTFTPBeginsAnew(t *testing.T) {
	c, _ := newTFTP(t, 512*5)
	c.ask()
	_, _, _ = c.read()
	c.ack(1)
	if _, n, _ := c.read(); n != 2 {
		t.Fatalf("block %d", n)
	}
	c.ask("blksize", "1024")
	if op, _, _ := c.read(); op != 6 {
		t.Fatalf("packet %d, want the acknowledgement of options", op)
	}
	c.ack(0)
	if op, n, data := c.read(); op != 3 || n != 1 || len(data) != 1024 {
		t.Errorf("packet %d, block %d of %d bytes", op, n, len(data))
	}
}

// TestTFTPLimitOfAHost: one host cannot take all transfers.
func TestTFTPLimitOfAHost(t *testing.T) {
	c, _ := newTFTP(t, 5000)
	for i := range 65 {
		conn, err := net.Dial("udp", c.conn.RemoteAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		one := &tftpClient{t, conn}
		one.ask("timeout", "5")
		if op, code, text := one.read(); i < 64 && op != 6 || i == 64 && (op != 5 || code != 3) {
			t.Fatalf("transfer %d: packet %d, %d %q", i+1, op, code, text)
		}
	}
}

func FuzzTFTP(f *testing.F) {
	f.Add([]byte("\x00\x01f\x00octet\x00blksize\x008\x00"), []byte("\x00\x04\x00\x01"))
	f.Add([]byte("\x00\x01f\x00"+strings.Repeat("\xe7", 700)+"\x00"), []byte("0"))
	f.Add([]byte("\x00\x01f\x00octet\x00"+strings.Repeat("tsize\x000\x00", 170)), []byte("0"))
	f.Fuzz(func(t *testing.T, request, answer []byte) {
		conn := &memoryConn{t: t, in: [][]byte{request, answer, answer}}
		s := &boot.TFTP{FS: fstest.MapFS{"f": {Data: bytes.Repeat([]byte("x"), 2000)}}, Log: slog.New(slog.DiscardHandler), Timeout: time.Nanosecond}
		_ = s.Serve(t.Context(), conn)
	})
}

// memoryConn gives what is in it and ends.
type memoryConn struct {
	net.PacketConn
	t  *testing.T
	in [][]byte
}

func (c *memoryConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if len(c.in) == 0 {
		return 0, nil, net.ErrClosed
	}
	n := copy(b, c.in[0])
	c.in = slices.Delete(c.in, 0, 1)
	return n, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, nil
}

func (c *memoryConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	if len(b) > 1500 {
		c.t.Errorf("a packet of %d bytes", len(b))
	}
	return len(b), nil
}

func (c *memoryConn) Close() error { return nil }
