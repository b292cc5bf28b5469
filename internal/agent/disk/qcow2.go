package disk

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/lima-vm/go-qcow2reader/image"
	"github.com/lima-vm/go-qcow2reader/image/qcow2"
)

// maxVirtual bounds the virtual size a qcow2 header may claim: 64 TiB.
const maxVirtual = 64 << 40

// copyQcow2 first reads the whole file for its checksum, then its clusters by range requests, pinned to the
// same entity tag: a qcow2 file cannot be written in the order in which it arrives.
func copyQcow2(ctx context.Context, w *StreamWriter, src *Source, in *countingReader, head *bufio.Reader,
	sum Checksum, id string, progress func(int)) error {
	header, err := head.Peek(104)
	if err != nil {
		return fmt.Errorf("qcow2 header: %w", err)
	}
	if err := checkQcow2(header); err != nil {
		return err
	}
	if src.etag == "" {
		return errors.New("a qcow2 image is read twice, and the server gave no ETag to tell whether it stayed the same")
	}
	in.progress = func(p int) { report(progress, p/2) }
	if _, err := io.Copy(io.Discard, head); err != nil {
		return err
	}
	if err := sum.verify(in.h, id, in.n); err != nil {
		return err
	}
	img, err := qcow2.Open(&rangeReader{ctx: ctx, src: src}, func(io.ReaderAt, image.Type) (image.Image, error) {
		return nil, errors.New("backing files are refused")
	})
	if err != nil {
		return fmt.Errorf("open qcow2 image: %w", err)
	}
	if err := img.Readable(); err != nil {
		return fmt.Errorf("read qcow2 image: %w", err)
	}
	return copyExtents(ctx, w, img, progress)
}

func copyExtents(ctx context.Context, w *StreamWriter, img *qcow2.Qcow2, progress func(int)) error {
	buf, size := make([]byte, 1<<20), img.Size()
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), size-off)]
		if e, err := img.Extent(off, int64(len(p))); err == nil && e.Zero && e.Length >= int64(len(p)) {
			clear(p)
		} else if n, err := img.ReadAt(p, off); err != nil && (!errors.Is(err, io.EOF) || n < len(p)) {
			return fmt.Errorf("read qcow2 image at %d: %w", off, err)
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
		off += int64(len(p))
		report(progress, 49+int(off*50/size))
	}
	return nil
}

// checkQcow2 refuses what a hostile image could use before any library sees it: other files (backing file,
// external data), encryption, and sizes beyond reason. Layout: QEMU's docs/interop/qcow2.rst.
func checkQcow2(h []byte) error {
	be := binary.BigEndian
	version, backing := be.Uint32(h[4:]), be.Uint64(h[8:])
	clusterBits, size, crypt, l1 := be.Uint32(h[20:]), be.Uint64(h[24:]), be.Uint32(h[32:]), be.Uint32(h[36:])
	switch {
	case version != 2 && version != 3:
		return fmt.Errorf("qcow2 version %d is unknown", version)
	case backing != 0:
		return errors.New("the qcow2 image has a backing file: flatten it with qemu-img convert")
	case crypt != 0:
		return errors.New("the qcow2 image is encrypted")
	case clusterBits < 9 || clusterBits > 21:
		return fmt.Errorf("qcow2 cluster size 2^%d is out of range", clusterBits)
	case size == 0 || size > maxVirtual:
		return fmt.Errorf("qcow2 virtual size %d is out of range", size)
	case uint64(l1) > size>>(2*clusterBits-3)+1 && uint64(l1) > size>>(2*clusterBits-4)+1:
		return fmt.Errorf("qcow2 L1 table with %d entries is larger than a disk of %d bytes needs", l1, size)
	}
	if version == 3 {
		const known = 1<<0 | 1<<3 | 1<<4 // dirty, compression type, extended L2
		if f := be.Uint64(h[72:]); f&^known != 0 {
			return fmt.Errorf("qcow2 incompatible features %#x are not supported (corrupt, external data or unknown)", f&^uint64(known))
		}
	}
	return nil
}

// rangeReader reads the image in windows, because the clusters of an image written in one go are neighbours.
type rangeReader struct {
	ctx    context.Context // io.ReaderAt has no other way to be cancelled
	src    *Source
	window []byte
	at     int64
}

// windowBytes is the size of one range request.
const windowBytes = 8 << 20

// ReadAt implements io.ReaderAt for one goroutine.
func (r *rangeReader) ReadAt(p []byte, off int64) (int, error) {
	total := 0
	for total < len(p) {
		pos := off + int64(total)
		if pos < r.at || pos >= r.at+int64(len(r.window)) {
			buf := make([]byte, windowBytes)
			n, err := r.src.readAt(r.ctx, buf, pos)
			if n == 0 {
				return total, err
			}
			r.window, r.at = buf[:n], pos
		}
		total += copy(p[total:], r.window[pos-r.at:])
	}
	return total, nil
}
