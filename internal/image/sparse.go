package image

import (
	"bytes"
	"io"
	"math/bits"
)

// chunkSize is the unit of empty space in bytes: a chunk of zeros is not kept.
const chunkSize = 1 << 20

// chunkMap has a bit for each chunk that is not empty. Those chunks lie in the
// body one behind the other.
type chunkMap []byte

func newChunkMap(size int64) chunkMap {
	chunks := (size + chunkSize - 1) / chunkSize
	return make(chunkMap, (chunks+7)/8)
}

func (m chunkMap) set(chunk int64) { m[chunk/8] |= 1 << (chunk % 8) }

func (m chunkMap) has(chunk int64) bool { return m[chunk/8]&(1<<(chunk%8)) != 0 }

// before counts the chunks kept in front of one.
func (m chunkMap) before(chunk int64) int64 {
	n := 0
	for _, b := range m[:chunk/8] {
		n += bits.OnesCount8(b)
	}
	if chunk%8 != 0 {
		n += bits.OnesCount8(m[chunk/8] & (1<<(chunk%8) - 1))
	}
	return int64(n)
}

// bytes is how long the body is for content of a size.
func (m chunkMap) bytes(size int64) int64 {
	chunks := (size + chunkSize - 1) / chunkSize
	n := m.before(chunks) * chunkSize
	if tail := size % chunkSize; tail != 0 && m.has(chunks-1) {
		n -= chunkSize - tail
	}
	return n
}

// sparseReader reads content whose empty chunks are not in its body.
type sparseReader struct {
	chunks    chunkMap
	data      blobReader
	size, off int64
}

// Seek implements io.Seeker.
func (r *sparseReader) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += r.off
	case io.SeekEnd:
		off += r.size
	}
	r.off = off
	if chunk := off / chunkSize; off < r.size {
		at := r.chunks.before(chunk) * chunkSize
		if r.chunks.has(chunk) {
			at += off % chunkSize
		}
		return off, second(r.data.Seek(at, io.SeekStart))
	}
	return off, nil
}

func second(_ int64, err error) error { return err }

// Read implements io.Reader. It never reaches from one chunk into another, and
// the body is read on behind an empty one.
func (r *sparseReader) Read(p []byte) (int, error) {
	if r.off >= r.size {
		return 0, io.EOF
	}
	chunk := r.off / chunkSize
	p = p[:min(int64(len(p)), (chunk+1)*chunkSize-r.off, r.size-r.off)]
	n := len(p)
	var err error
	if r.chunks.has(chunk) {
		if n, err = r.data.Read(p); err == io.EOF { //nolint:errorlint // as io.Reader has it
			err = io.ErrUnexpectedEOF
		}
	} else {
		clear(p)
	}
	r.off += int64(n)
	return n, err
}

// empty says whether there are only zeros.
func empty(p []byte) bool {
	zeros := make([]byte, 4096)
	for ; len(p) > len(zeros); p = p[len(zeros):] {
		if !bytes.Equal(p[:len(zeros)], zeros) {
			return false
		}
	}
	return bytes.Equal(p, zeros[:len(p)])
}
