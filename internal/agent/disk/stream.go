package disk

import (
	"bytes"
	"errors"
	"fmt"
)

const (
	// chunkBytes is the size of one write; also what is kept back until Commit.
	chunkBytes = 4 << 20
	// zeroBlock is the granularity at which zeros are recognised.
	zeroBlock = 64 << 10
	// chunksInFlight is how many chunks are filled or being written at a time.
	chunksInFlight = 4
)

// StreamWriter writes an image from its start, chunk by chunk, in the background. Zero blocks become
// ZeroRange calls. The first chunk stays in memory until Commit.
//
// It is used by one goroutine; Close must be called in every case, and Abort when Commit is not.
type StreamWriter struct {
	dev     Device
	free    chan []byte
	work    chan chunk
	done    chan struct{}
	failed  chan struct{}
	err     error // of the background writer, valid once failed is closed
	current []byte
	off     int64 // of current
	first   []byte
	closed  bool
	// tooLarge is set when the image did not fit.
	tooLarge error

	zeroOff, zeroLen int64 // zero run not yet sent to the device; background goroutine only
}

type chunk struct {
	data []byte
	off  int64
}

var zeroes [zeroBlock]byte

// NewStreamWriter starts the background writer.
func NewStreamWriter(dev Device) *StreamWriter {
	w := &StreamWriter{
		dev: dev, free: make(chan []byte, chunksInFlight), work: make(chan chunk, chunksInFlight),
		done: make(chan struct{}), failed: make(chan struct{}),
	}
	for range chunksInFlight {
		w.free <- nil // allocated on first use
	}
	go w.run()
	return w
}

// Write implements io.Writer. An image larger than the device is refused at the first byte too many.
func (w *StreamWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if w.current == nil {
			select {
			case b := <-w.free:
				if b == nil {
					b = alignedBuffer(chunkBytes)
				}
				w.current = b[:0]
			case <-w.failed:
				return 0, w.err
			}
		}
		n := min(len(p), chunkBytes-len(w.current))
		if size := w.off + int64(len(w.current)+n); size > w.dev.Size() {
			w.tooLarge = fmt.Errorf("the image is larger than %s: at least %d bytes for %d", w.dev.Path(), size, w.dev.Size())
			return 0, w.tooLarge
		}
		w.current = append(w.current, p[:n]...)
		p = p[n:]
		if len(w.current) == chunkBytes {
			if err := w.send(); err != nil {
				return 0, err
			}
		}
	}
	return total, nil
}

// send hands the current chunk to the background writer, or keeps it if it is the first.
func (w *StreamWriter) send() error {
	c := chunk{w.current, w.off}
	w.off += int64(len(w.current))
	w.current = nil
	if c.off == 0 {
		w.first = c.data
		return nil
	}
	select {
	case w.work <- c:
		return nil
	case <-w.failed:
		return w.err
	}
}

// Written is how many bytes of the image have been taken so far.
func (w *StreamWriter) Written() int64 { return w.off + int64(len(w.current)) }

// Err is why the device could not take the image, nil if it could so far.
func (w *StreamWriter) Err() error {
	select {
	case <-w.failed:
		return w.err
	default:
		return w.tooLarge
	}
}

// Close writes what is left except the first chunk and waits for the background writer.
func (w *StreamWriter) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	var err error
	if len(w.current) > 0 {
		err = w.send()
	}
	close(w.work)
	<-w.done
	return errors.Join(err, w.err)
}

// Commit makes the image visible: everything else is brought to stable storage, then the first chunk is
// written. Close must have succeeded.
func (w *StreamWriter) Commit() error {
	if err := w.dev.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.dev.Path(), err)
	}
	if _, err := w.dev.WriteAt(w.first, 0); err != nil {
		return fmt.Errorf("write the first %d bytes of %s: %w", len(w.first), w.dev.Path(), err)
	}
	if err := w.dev.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.dev.Path(), err)
	}
	return nil
}

func (w *StreamWriter) run() {
	defer close(w.done)
	for c := range w.work {
		if w.err != nil {
			continue // drain
		}
		if err := w.writeChunk(c); err != nil {
			w.err = err
			close(w.failed)
			continue
		}
		select {
		case w.free <- c.data[:0]:
		default:
		}
	}
	if w.err == nil {
		if w.err = w.flushZeros(); w.err != nil {
			close(w.failed)
		}
	}
}

// writeChunk splits a chunk into runs of zero and other blocks.
func (w *StreamWriter) writeChunk(c chunk) error {
	for pos := 0; pos < len(c.data); {
		zero := isZero(c.data[pos:min(pos+zeroBlock, len(c.data))])
		end := min(pos+zeroBlock, len(c.data))
		for end < len(c.data) && isZero(c.data[end:min(end+zeroBlock, len(c.data))]) == zero {
			end = min(end+zeroBlock, len(c.data))
		}
		off := c.off + int64(pos)
		if zero {
			if err := w.addZeros(off, int64(end-pos)); err != nil {
				return err
			}
		} else if _, err := w.dev.WriteAt(c.data[pos:end], off); err != nil {
			return fmt.Errorf("write %d bytes at %d of %s: %w", end-pos, off, w.dev.Path(), err)
		}
		pos = end
	}
	return nil
}

func (w *StreamWriter) addZeros(off, n int64) error {
	if w.zeroLen > 0 && w.zeroOff+w.zeroLen == off {
		w.zeroLen += n
		return nil
	}
	if err := w.flushZeros(); err != nil {
		return err
	}
	w.zeroOff, w.zeroLen = off, n
	return nil
}

func (w *StreamWriter) flushZeros() error {
	off, n := w.zeroOff, w.zeroLen
	w.zeroOff, w.zeroLen = 0, 0
	if n == 0 {
		return nil
	}
	if err := w.dev.ZeroRange(off, n); err != nil {
		return fmt.Errorf("zero %d bytes at %d of %s: %w", n, off, w.dev.Path(), err)
	}
	return nil
}

func isZero(b []byte) bool { return bytes.Equal(b, zeroes[:len(b)]) }
