package disk

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tripleo/tripleo/internal/qcow2"
)

// Image says what to write; the fields are those of Ironic's image_info.
type Image struct {
	ID              string
	URLs            []string
	Checksum        Checksum
	DiskFormat      string // raw, qcow2; other words are refused
	ContainerFormat string // bare, compressed
}

// Options of WriteImage.
type Options struct {
	Client *http.Client
	Log    *slog.Logger
	// Progress gets the percentage of the image that was read so far, 0 to 100, monotone.
	Progress func(percent int)
	Backoff  func(n int) time.Duration
	Patience time.Duration
}

// Result describes a written image.
type Result struct {
	Downloaded int64 // bytes fetched and hashed
	Written    int64 // virtual size in bytes
	Format     string
}

const (
	zstdMagic = "\x28\xb5\x2f\xfd"
	gzipMagic = "\x1f\x8b"
	// zstdWindow bounds the memory a hostile frame can ask for.
	zstdWindow = 128 << 20
)

// WriteImage puts the image on the device. On success the bytes were checked and are on stable storage; on any
// error both ends of the device are wiped.
func WriteImage(ctx context.Context, dev Device, img Image, o Options) (Result, error) {
	if err := WipeEnds(dev); err != nil {
		return Result{}, err
	}
	if len(img.URLs) == 0 {
		return Result{}, errors.New("image_info has no urls")
	}
	var res Result
	var err error
	for _, url := range img.URLs {
		src := &Source{URL: url, Client: o.Client, Log: o.Log, Backoff: o.Backoff, Patience: o.Patience}
		if res, err = writeFrom(ctx, dev, img, src, o); err == nil {
			return res, nil
		}
		err = redactURL(err)
		if ctx.Err() != nil || errors.Is(err, ErrChecksum) {
			break
		}
		o.Log.Warn("writing the image failed", "image", img.ID, "err", err)
	}
	if wipeErr := WipeEnds(dev); wipeErr != nil {
		err = errors.Join(err, wipeErr)
	}
	return Result{}, err
}

func writeFrom(ctx context.Context, dev Device, img Image, src *Source, o Options) (Result, error) {
	sum, err := img.Checksum.resolve(ctx, o.Client, src.URL)
	if err != nil {
		return Result{}, err
	}
	h, err := sum.newHash()
	if err != nil {
		return Result{}, err
	}
	if err := src.Start(ctx); err != nil {
		return Result{}, err
	}
	defer func() { _ = src.Close() }()
	in := &countingReader{r: src.Reader(ctx), h: h, size: src.Size(), progress: o.Progress, last: -1}
	head := bufio.NewReaderSize(in, 1<<20)
	magic, err := head.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return Result{}, err
	}
	if err := checkFormat(img, string(magic)); err != nil {
		return Result{}, err
	}
	w := NewStreamWriter(dev)
	format := "qcow2"
	if string(magic) == qcow2.Magic {
		err = copyQcow2(ctx, w, src, in, head, sum, img.ID, o.Progress)
	} else {
		format, err = copyStream(w, in, head, string(magic))
	}
	err = errors.Join(err, w.Close())
	if in.err == nil && err != nil && w.Err() == nil {
		// A corrupt download shows as a decoding error first. The checksum is the better message, but only a
		// complete download has one.
		if _, drainErr := io.Copy(io.Discard, in); drainErr == nil {
			if sumErr := sum.verify(h, img.ID, in.n); sumErr != nil {
				err = sumErr
			}
		}
	}
	if err != nil {
		return Result{}, fmt.Errorf("write image %s to %s: %w", img.ID, dev.Path(), err)
	}
	if err := sum.verify(h, img.ID, in.n); err != nil {
		return Result{}, err
	}
	if w.Written() == 0 {
		return Result{}, fmt.Errorf("image %s is empty", img.ID)
	}
	if err := w.Commit(); err != nil {
		return Result{}, err
	}
	report(o.Progress, 100)
	return Result{Downloaded: in.n, Written: w.Written(), Format: format}, nil
}

// copyStream decompresses if need be and reads the file to its end: whatever follows the compressed frames
// belongs to the checksum.
func copyStream(w *StreamWriter, in *countingReader, head *bufio.Reader, magic string) (string, error) {
	data, format, err := decompress(head, magic)
	if err != nil {
		return "", err
	}
	defer data.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{data}, make([]byte, 1<<20)); err != nil {
		if in.err != nil {
			return "", in.err
		}
		return "", err
	}
	_, err = io.Copy(io.Discard, head)
	return format, err
}

// checkFormat compares what was announced with what the image begins with. An unknown disk format is refused,
// not guessed; a raw image that begins like qcow2 is refused too, because the next reader might believe it.
func checkFormat(img Image, magic string) error {
	isQcow := magic == qcow2.Magic
	switch strings.ToLower(img.DiskFormat) {
	case "", "qcow2", "raw":
	default:
		return fmt.Errorf("image %s has disk format %q; raw and qcow2 can be written", img.ID, img.DiskFormat)
	}
	if isQcow && img.DiskFormat == "raw" {
		return fmt.Errorf("image %s is announced as raw but is qcow2", img.ID)
	}
	if !isQcow && img.DiskFormat == "qcow2" {
		return fmt.Errorf("image %s is announced as qcow2 but does not begin like one", img.ID)
	}
	packed := strings.HasPrefix(magic, zstdMagic) || strings.HasPrefix(magic, gzipMagic)
	if img.ContainerFormat == "compressed" && !packed {
		return fmt.Errorf("image %s is announced as compressed but is neither zstd nor gzip", img.ID)
	}
	return nil
}

func decompress(r io.Reader, magic string) (io.ReadCloser, string, error) {
	switch {
	case strings.HasPrefix(magic, zstdMagic):
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, "", err
		}
		return z.IOReadCloser(), "raw+zstd", nil
	case strings.HasPrefix(magic, gzipMagic):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, "", err
		}
		return z, "raw+gzip", nil
	}
	return io.NopCloser(r), "raw", nil
}

// countingReader hashes and counts what passes through it and remembers why reading failed.
type countingReader struct {
	r        io.Reader
	h        hash.Hash
	n        int64
	err      error // other than io.EOF
	size     int64
	progress func(int)
	last     int
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.h.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	// 100 only when everything is on the disk.
	if c.size > 0 {
		if percent := int(c.n * 99 / c.size); percent != c.last {
			c.last = percent
			report(c.progress, percent)
		}
	}
	return n, err
}

func report(progress func(int), percent int) {
	if progress != nil {
		progress(percent)
	}
}
