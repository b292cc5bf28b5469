package disk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tripleo/tripleo/internal/qcow2"
)

// copyQcow2 first reads the whole file for its checksum, then its clusters by range requests, pinned to the
// same entity tag: a qcow2 file cannot be written in the order in which it arrives.
func copyQcow2(ctx context.Context, w *StreamWriter, src *Source, in *countingReader, head *bufio.Reader,
	sum Checksum, id string, progress func(int)) error {
	header, err := head.Peek(qcow2.HeaderSize)
	if err != nil {
		return fmt.Errorf("qcow2 header: %w", err)
	}
	if err := qcow2.Check(header); err != nil {
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
	img, err := qcow2.Open(&rangeReader{ctx: ctx, src: src})
	if err != nil {
		return err
	}
	return copyExtents(ctx, w, img, progress)
}

func copyExtents(ctx context.Context, w *StreamWriter, img *qcow2.Image, progress func(int)) error {
	buf, size := make([]byte, 1<<20), img.Size()
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), size-off)]
		if err := img.Read(p, off); err != nil {
			return err
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
		off += int64(len(p))
		report(progress, 49+int(off*50/size))
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
