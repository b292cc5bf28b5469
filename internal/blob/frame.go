package blob

import (
	"context"
	"crypto/md5" //nolint:gosec // Swift's and Glance's checksum, not a protection
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// How a body is stored: blocks of blockData bytes (the last may be shorter),
// each followed by the CRC-32C of key, block number and data; behind them the
// CRC-32C of key and length. So a block that rotted, moved or belongs to
// another body is noticed, and so is a body that was cut.
const (
	sumSize   = 4
	blockSize = 128 << 10
	blockData = blockSize - sumSize
	perBuffer = 4 // blocks read or written at once
)

// framing holds what encoding and decoding share: the table and the buffers.
type framing struct {
	table *crc32.Table
	pool  sync.Pool // *[]byte of perBuffer blocks
}

func newFraming() *framing {
	return &framing{
		table: crc32.MakeTable(crc32.Castagnoli),
		pool:  sync.Pool{New: func() any { b := make([]byte, perBuffer*blockSize); return &b }},
	}
}

func (f *framing) buffer() []byte { return *f.pool.Get().(*[]byte) } //nolint:forcetypeassert // only those are put in

func (f *framing) release(b []byte) {
	b = b[:cap(b)]
	f.pool.Put(&b)
}

// seed is the checksum before the data of block number i (-1: the length).
func (f *framing) seed(key string, i int64) uint32 {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(i)) //nolint:gosec // any 64 bits will do
	return crc32.Update(crc32.Checksum([]byte(key), f.table), f.table, n[:])
}

func (f *framing) end(key string, size int64) uint32 {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(size)) //nolint:gosec // a size
	return crc32.Update(f.seed(key, -1), f.table, n[:])
}

// encode copies r to w in frames and returns what it read. The MD5 is reckoned
// beside the reading and writing.
func (f *framing) encode(ctx context.Context, key string, w io.Writer, r io.Reader) (Info, error) {
	const buffers = 3
	free, full := make(chan []byte, buffers), make(chan []byte, buffers)
	for range buffers {
		free <- nil // made when needed: most bodies need one
	}
	sum := md5.New() //nolint:gosec // see above
	hashed := make(chan struct{})
	go func() {
		defer close(hashed)
		for b := range full {
			for rest := b; len(rest) > 0; {
				n := min(len(rest), blockSize)
				_, _ = sum.Write(rest[:n-sumSize]) // a hash takes everything
				rest = rest[n:]
			}
			free <- b
		}
	}()
	total, err := f.copyBlocks(ctx, key, w, r, free, full)
	close(full)
	<-hashed
	for range buffers {
		if b := <-free; b != nil {
			f.release(b)
		}
	}
	if err != nil {
		return Info{}, err
	}
	var end [sumSize]byte
	binary.BigEndian.PutUint32(end[:], f.end(key, total))
	if _, err := w.Write(end[:]); err != nil {
		return Info{}, err
	}
	return Info{Size: total, MD5: hex.EncodeToString(sum.Sum(nil))}, nil
}

// copyBlocks moves the data; each buffer goes to full, once filled, and comes
// back by free. On an error a buffer it holds goes back at once.
func (f *framing) copyBlocks(ctx context.Context, key string, w io.Writer, r io.Reader, free, full chan []byte) (int64, error) {
	var total, block int64
	for {
		b := <-free
		if b == nil {
			b = f.buffer()
		}
		b = b[:cap(b)]
		if err := ctx.Err(); err != nil {
			free <- b
			return total, err
		}
		fill := 0
		var err error
		for i := 0; i < perBuffer && err == nil; i++ {
			var n int
			n, err = readFull(r, b[fill:fill+blockData])
			if n > 0 {
				data := b[fill : fill+n]
				binary.BigEndian.PutUint32(b[fill+n:], crc32.Update(f.seed(key, block), f.table, data))
				fill += n + sumSize
				total += int64(n)
				block++
			}
		}
		ended := err == io.EOF //nolint:errorlint // io.Reader returns it bare
		if err != nil && !ended {
			free <- b
			return total, err
		}
		full <- b[:fill]
		if _, err := w.Write(b[:fill]); err != nil {
			return total, err
		}
		if ended {
			return total, nil
		}
	}
}

// readFull is io.ReadFull, but tells a reader that ended (io.EOF) from one that
// broke off: io.ReadFull gives io.ErrUnexpectedEOF for both.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// dataSize returns the length of a body whose stored form has the given length.
func dataSize(stored int64) (int64, error) {
	stored -= sumSize
	if stored < 0 {
		return 0, fmt.Errorf("%w: it is cut", ErrCorrupt)
	}
	blocks := (stored + blockSize - 1) / blockSize
	size := stored - blocks*sumSize
	if size < 0 || blocks > 0 && size <= (blocks-1)*blockData {
		return 0, fmt.Errorf("%w: it is cut", ErrCorrupt)
	}
	return size, nil
}

// decode reads n bytes (n < 0: to the end) from off of a body of the given
// stored length. src begins at the block that span names.
func (f *framing) decode(key string, src io.ReadCloser, stored, off, n int64) (io.ReadCloser, error) {
	size, err := dataSize(stored)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("blob %s: %w", key, err), src.Close())
	}
	if n == 0 || off >= size && off > 0 {
		return empty{src}, nil
	}
	left := size - off
	if n >= 0 {
		left = min(left, n)
	}
	return &decoder{f: f, key: key, src: src, size: size, block: off / blockData, skip: int(off % blockData), left: left, toEnd: off+left == size}, nil
}

// span returns which stored bytes hold n bytes from off: from first up to
// (not including) end, which may lie behind the stored form's end; -1 is all.
func span(off, n int64) (first, end int64) {
	first = off / blockData * blockSize
	if n < 0 {
		return first, -1
	}
	return first, (off+max(n, 1)-1)/blockData*blockSize + blockSize + sumSize
}

type empty struct{ io.Closer }

func (empty) Read([]byte) (int, error) { return 0, io.EOF }

// decoder hands out the data of verified blocks.
type decoder struct {
	f     *framing
	key   string
	src   io.ReadCloser
	size  int64
	block int64 // the next to be read
	skip  int   // bytes of the next block that are not asked for
	left  int64 // bytes still to hand out
	toEnd bool  // the end is asked for, so its checksum is due
	ended bool

	buf  []byte
	data [perBuffer][]byte // verified, not yet handed out
	next int               // of data
	have int
}

func (d *decoder) Read(p []byte) (int, error) {
	if d.next == d.have {
		if d.left == 0 && (!d.toEnd || d.ended) {
			return 0, io.EOF
		}
		if err := d.fill(); err != nil {
			return 0, err
		}
		if d.left == 0 {
			return 0, io.EOF
		}
	}
	chunk := d.data[d.next]
	n := copy(p, chunk[:min(int64(len(chunk)), d.left)])
	d.left -= int64(n)
	d.data[d.next] = chunk[n:]
	if len(d.data[d.next]) == 0 || d.left == 0 {
		d.next++
	}
	return n, nil
}

// fill reads and verifies the next blocks, and the end behind the last one.
func (d *decoder) fill() error {
	if d.buf == nil {
		d.buf = d.f.buffer()
	}
	d.next, d.have = 0, 0
	want := min(int64(perBuffer)*blockData, int64(d.skip)+d.left) // data bytes that matter
	blocks := (want + blockData - 1) / blockData
	want = min(blocks*blockData, d.size-d.block*blockData)
	fill := d.buf[:want+blocks*sumSize]
	if _, err := io.ReadFull(d.src, fill); err != nil {
		return d.cut(err)
	}
	for len(fill) > 0 {
		n := min(len(fill), blockSize)
		data, sum := fill[:n-sumSize], fill[n-sumSize:n]
		if crc32.Update(d.f.seed(d.key, d.block), d.f.table, data) != binary.BigEndian.Uint32(sum) {
			return fmt.Errorf("%w: key %s, block %d of %d bytes", ErrCorrupt, d.key, d.block, blockData)
		}
		d.data[d.have] = data[d.skip:]
		d.have++
		d.skip = 0
		d.block++
		fill = fill[n:]
	}
	if d.toEnd && d.block*blockData >= d.size {
		var end [sumSize]byte
		if _, err := io.ReadFull(d.src, end[:]); err != nil {
			return d.cut(err)
		}
		if binary.BigEndian.Uint32(end[:]) != d.f.end(d.key, d.size) {
			return fmt.Errorf("%w: key %s is not %d bytes long", ErrCorrupt, d.key, d.size)
		}
		d.ended = true
	}
	return nil
}

func (d *decoder) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: key %s is cut in block %d", ErrCorrupt, d.key, d.block)
	}
	return fmt.Errorf("read blob %s: %w", d.key, err)
}

func (d *decoder) Close() error {
	if d.buf != nil {
		d.f.release(d.buf)
		d.buf = nil
	}
	d.next, d.have, d.left, d.ended = 0, 0, 0, true
	return d.src.Close()
}
