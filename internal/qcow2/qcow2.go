// Package qcow2 reads QEMU's copy-on-write images that others made, and that
// may be made to harm: what could lead to other files or take memory without
// bound is refused before a byte behind the header is believed.
package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/lima-vm/go-qcow2reader/image"
	"github.com/lima-vm/go-qcow2reader/image/qcow2"
)

const (
	// Magic is what a qcow2 file begins with.
	Magic = "QFI\xfb"
	// HeaderSize is how many bytes Check looks at.
	HeaderSize = 104
	// maxVirtual bounds the virtual size a header may claim: 64 TiB.
	maxVirtual = 64 << 40
)

// Image is an open image; its methods are for one goroutine.
type Image struct{ img *qcow2.Qcow2 }

// zstdWindow bounds the memory of a decoder, in bytes: a cluster has at most 2 MiB.
const zstdWindow = 8 << 20

// withZstd teaches the library the second of the two ways in which clusters are
// compressed (qemu-img convert -c -o compression_type=zstd).
//
//nolint:gochecknoglobals // the library has one table of decompressors for the whole process
var withZstd = sync.OnceFunc(func() {
	qcow2.SetDecompressor(qcow2.CompressionTypeZstd, func(r io.Reader) (io.ReadCloser, error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return z.IOReadCloser(), nil
	})
})

// Open checks an image's header and opens it.
func Open(r io.ReaderAt) (*Image, error) {
	header := make([]byte, HeaderSize)
	if n, err := r.ReadAt(header, 0); n < len(header) {
		return nil, fmt.Errorf("qcow2 header: %w", err)
	}
	if err := Check(header); err != nil {
		return nil, err
	}
	withZstd()
	img, err := qcow2.Open(r, func(io.ReaderAt, image.Type) (image.Image, error) {
		return nil, errors.New("backing files are refused")
	})
	if err != nil {
		return nil, fmt.Errorf("open qcow2 image: %w", err)
	}
	if err := img.Readable(); err != nil {
		return nil, fmt.Errorf("read qcow2 image: %w", err)
	}
	return &Image{img}, nil
}

// Size is the virtual size in bytes.
func (i *Image) Size() int64 { return i.img.Size() }

// Read fills p with what lies at off; off+len(p) must not be behind the end.
// Where nothing was ever written nothing is read.
func (i *Image) Read(p []byte, off int64) error {
	if e, err := i.img.Extent(off, int64(len(p))); err == nil && e.Zero && e.Length >= int64(len(p)) {
		clear(p)
	} else if n, err := i.img.ReadAt(p, off); err != nil && (!errors.Is(err, io.EOF) || n < len(p)) {
		return fmt.Errorf("read qcow2 image at %d: %w", off, err)
	}
	return nil
}

// Check refuses what a hostile image could use before any library sees it: other files (backing file,
// external data), encryption, and sizes beyond reason. Layout: QEMU's docs/interop/qcow2.rst.
func Check(h []byte) error {
	if len(h) < HeaderSize || string(h[:len(Magic)]) != Magic {
		return errors.New("the qcow2 header is cut off, or none")
	}
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
