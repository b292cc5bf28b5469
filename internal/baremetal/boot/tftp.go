package boot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// TFTP serves the files of FS, read only, for the first stage of a network
// boot: RFC 1350 with the options blksize (RFC 2348), timeout and tsize (RFC
// 2349) and windowsize (RFC 7440). All transfers share one socket, because one
// of their own would be opened outside of the provisioning network's namespace.
type TFTP struct {
	FS  fs.FS
	Log *slog.Logger
	// Timeout is how long an acknowledgement may take; 0 means a second.
	Timeout time.Duration
}

const (
	// maxBlock is what fits into an Ethernet frame, with room for a VLAN tag or a tunnel; who asks for more gets it.
	maxBlock     = 1428
	defaultBlock = 512
	// maxWindow is how many blocks are sent without an acknowledgement at most.
	maxWindow = 32
	// maxTransfers bounds what goes on at once.
	maxTransfers = 4096
	// maxHostTransfers bounds what one host has going on, so that none takes them all.
	maxHostTransfers = 64
	tftpRetries      = 5
	// maxTimeout is the longest timeout, in seconds, that a client may ask for: a transfer whose client is gone stays
	// for tftpRetries of them.
	maxTimeout = 5
	maxTFTP    = 1500 // bytes of a packet from a client
)

// The packets (RFC 1350, 5; RFC 2347) and error codes.
const (
	opRead, opData, opAck, opError, opOptions = 1, 3, 4, 5, 6
	codeNotFound, codeFull, codeIllegal       = 1, 3, 4
)

// Serve answers on conn until ctx is done or conn is closed; it closes conn.
func (t *TFTP) Serve(ctx context.Context, conn net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // transfers under way end with it
	defer stop()
	s := &tftpServer{TFTP: t, conn: conn, transfers: map[string]*running{}, hosts: map[string]int{}, done: make(chan struct{})}
	defer s.wg.Wait()
	defer close(s.done)
	defer func() { _ = conn.Close() }()
	buf := make([]byte, maxTFTP)
	for {
		n, peer, err := conn.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("TFTP server: %w", err)
		}
		s.take(bytes.Clone(buf[:n]), peer)
	}
}

type tftpServer struct {
	*TFTP
	conn net.PacketConn
	wg   sync.WaitGroup
	done chan struct{}

	mu        sync.Mutex
	transfers map[string]*running // by the client's address
	hosts     map[string]int      // transfers by the client's host
	count     int                 // of all
}

// running is a transfer under way.
type running struct {
	packets chan []byte
	stop    chan struct{} // closed when another one takes its place
}

// take gives a packet to its transfer, or begins one.
func (s *tftpServer) take(p []byte, peer net.Addr) {
	if len(p) < 4 {
		return
	}
	key := peer.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.transfers[key]
	op := binary.BigEndian.Uint16(p)
	host, _, err := net.SplitHostPort(key)
	if err != nil {
		host = key
	}
	switch {
	case known && op != opRead:
		select {
		case old.packets <- p:
		default: // it asks again
		}
	case op != opRead && op != opError:
		s.refuse(peer, codeIllegal, "this server only gives files")
	case op == opRead && (s.count >= maxTransfers || s.hosts[host] >= maxHostTransfers):
		s.refuse(peer, codeFull, "too many transfers, try again")
	case op == opRead:
		if known { // a client has one transfer per port: it begins anew
			close(old.stop)
		}
		r := &running{packets: make(chan []byte, maxWindow), stop: make(chan struct{})}
		s.transfers[key] = r
		s.hosts[host]++
		s.count++
		s.wg.Go(func() {
			s.answer(p[2:], peer, r)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.transfers[key] == r {
				delete(s.transfers, key)
			}
			if s.hosts[host]--; s.hosts[host] == 0 {
				delete(s.hosts, host)
			}
			s.count--
		})
	}
}

func (s *tftpServer) refuse(peer net.Addr, code uint16, text string) {
	text = text[:min(len(text), defaultBlock)] // it may repeat the request
	p := binary.BigEndian.AppendUint16([]byte{0, opError}, code)
	s.send(peer, append(append(p, text...), 0))
}

func (s *tftpServer) send(peer net.Addr, p []byte) {
	if _, err := s.conn.WriteTo(p, peer); err != nil && !errors.Is(err, net.ErrClosed) {
		s.Log.Debug("TFTP: send", "client", peer.String(), "error", err)
	}
}

// answer carries out one read request.
func (s *tftpServer) answer(request []byte, peer net.Addr, r *running) {
	name, asked, err := parseRequest(request)
	if err != nil {
		s.refuse(peer, codeIllegal, err.Error())
		return
	}
	// Firmware asks with or without a leading slash, some with backslashes.
	clean := strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, "\\", "/")), "/")
	f, err := s.FS.Open(clean)
	if err != nil {
		s.Log.Warn("TFTP: no such file", "file", clean, "client", peer.String())
		s.refuse(peer, codeNotFound, "file "+clean+" not found")
		return
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	src, seekable := f.(io.ReaderAt)
	if err != nil || !st.Mode().IsRegular() || !seekable {
		s.refuse(peer, codeNotFound, "file "+clean+" not found")
		return
	}
	tr := transfer{s: s, peer: peer, running: r, src: src, size: st.Size(), block: defaultBlock, window: 1, timeout: s.Timeout}
	if tr.timeout == 0 {
		tr.timeout = time.Second
	}
	switch err := tr.run(tr.negotiate(asked)); {
	case errors.Is(err, errReplaced):
		return
	case err != nil:
		s.Log.Info("TFTP: transfer failed", "file", clean, "client", peer.String(), "error", err)
		return
	}
	s.Log.Info("TFTP: file sent", "file", clean, "client", peer.String(), "bytes", tr.size)
}

var errReplaced = errors.New("the client has asked anew")

type tftpOption struct{ name, value string }

// parseRequest reads "name 0 mode 0", then pairs of options (RFC 2347).
func parseRequest(p []byte) (name string, options []tftpOption, err error) {
	fields := strings.Split(string(p), "\x00")
	if len(fields) < 3 || fields[0] == "" {
		return "", nil, errors.New("malformed request")
	}
	if mode := strings.ToLower(fields[1]); mode != "octet" && mode != "netascii" {
		return "", nil, fmt.Errorf("mode %q is unknown, octet is served", fields[1])
	}
	for rest := fields[2 : len(fields)-1]; len(rest) >= 2; rest = rest[2:] {
		options = append(options, tftpOption{strings.ToLower(rest[0]), rest[1]})
	}
	return fields[0], options, nil
}

// transfer is one file on its way.
type transfer struct {
	*running
	s       *tftpServer
	peer    net.Addr
	src     io.ReaderAt
	size    int64
	block   int
	window  int
	timeout time.Duration
}

// negotiate takes over the options that are understood, within bounds, and
// returns what is answered; nil if there is nothing to answer.
func (t *transfer) negotiate(asked []tftpOption) []byte {
	var out []byte
	accept := func(name string, value int64) {
		if out == nil {
			out = []byte{0, opOptions}
		}
		out = append(append(out, name...), 0)
		out = append(strconv.AppendInt(out, value, 10), 0)
	}
	seen := map[string]bool{}
	for _, o := range asked {
		n, err := strconv.ParseInt(o.value, 10, 64)
		if seen[o.name] {
			continue // an option is given once (RFC 2347), or the answer outgrows a packet
		}
		seen[o.name] = true
		if err != nil {
			continue // as if it were not there (RFC 2347)
		}
		switch {
		case o.name == "blksize" && n >= 8:
			t.block = int(min(n, maxBlock))
			accept(o.name, int64(t.block))
		case o.name == "windowsize" && n >= 1:
			t.window = int(min(n, maxWindow))
			accept(o.name, int64(t.window))
		case o.name == "timeout" && n >= 1 && n <= maxTimeout:
			t.timeout = time.Duration(n) * time.Second
			accept(o.name, n)
		case o.name == "tsize":
			accept(o.name, t.size)
		}
	}
	return out
}

// run sends the file. Blocks are counted from 1; the last one is shorter than
// the others, and empty if the size is a multiple of theirs.
func (t *transfer) run(options []byte) error {
	if options != nil {
		if _, err := t.await(0, 0, func() error { t.s.send(t.peer, options); return nil }); err != nil {
			return err
		}
	}
	last := t.size/int64(t.block) + 1
	for acked := int64(0); acked < last; {
		upto := min(acked+int64(t.window), last)
		next, err := t.await(acked+1, upto, func() error { return t.sendBlocks(acked+1, upto) })
		if err != nil {
			return err
		}
		acked = next
	}
	return nil
}

func (t *transfer) sendBlocks(from, to int64) error {
	buf := make([]byte, 4+t.block)
	for b := from; b <= to; b++ {
		n, err := t.src.ReadAt(buf[4:], (b-1)*int64(t.block))
		if err != nil && !errors.Is(err, io.EOF) {
			t.s.refuse(t.peer, 0, "read error")
			return err
		}
		binary.BigEndian.PutUint16(buf, opData)
		binary.BigEndian.PutUint16(buf[2:], uint16(b)) //nolint:gosec // block numbers wrap around
		t.s.send(t.peer, buf[:4+n])
	}
	return nil
}

// await sends, and again after each timeout, until one of the blocks from to
// upto is acknowledged, and returns which. Other acknowledgements are old ones:
// answering them would double every packet from then on (RFC 1123, 4.2.3.1).
func (t *transfer) await(from, upto int64, send func() error) (int64, error) {
	timer := time.NewTimer(t.timeout)
	defer timer.Stop()
	for range tftpRetries {
		if err := send(); err != nil {
			return 0, err
		}
		timer.Reset(t.timeout)
		for waiting := true; waiting; {
			select {
			case <-t.s.done:
				return 0, net.ErrClosed
			case <-timer.C:
				waiting = false
			case <-t.stop:
				return 0, errReplaced
			case p := <-t.packets:
				n := binary.BigEndian.Uint16(p[2:])
				switch binary.BigEndian.Uint16(p) {
				case opError:
					return 0, fmt.Errorf("the client ended it: code %d, %s", n, bytes.TrimRight(p[4:], "\x00"))
				case opAck:
					for b := from; b <= upto; b++ {
						if uint16(b) == n { //nolint:gosec // block numbers wrap around
							return b, nil
						}
					}
				}
			}
		}
	}
	t.s.refuse(t.peer, 0, "timeout")
	return 0, fmt.Errorf("no acknowledgement of block %d after %d tries", upto, tftpRetries)
}
