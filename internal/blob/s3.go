package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3Config names a bucket.
type S3Config struct {
	Endpoint  string // HOST:PORT
	Bucket    string // made if it does not exist
	Prefix    string // before every key, e.g. "undercloud/"; "" is none
	Region    string
	AccessKey string
	SecretKey string
	Insecure  bool // HTTP instead of HTTPS
	Transport http.RoundTripper
}

// S3 keeps bodies as objects of a bucket: Ceph's RGW, MinIO, AWS and others.
// Large ones go up in parts, which become visible together.
type S3 struct {
	core   *minio.Core
	bucket string
	prefix string
	frame  *framing
}

// partBytes is the size of a part, so that the 10,000 parts S3 allows make 160
// GB; an upload holds one part in memory.
const partBytes = 16 << 20

// staleUpload is after how long the parts of an unfinished upload are removed:
// longer than any body may take.
const staleUpload = 48 * time.Hour

// OpenS3 connects to a bucket.
func OpenS3(ctx context.Context, c S3Config) (*S3, error) {
	core, err := minio.NewCore(c.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Secure: !c.Insecure, Region: c.Region, Transport: c.Transport,
		BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		return nil, fmt.Errorf("S3 at %s: %w", c.Endpoint, err)
	}
	s := &S3{core: core, bucket: c.Bucket, prefix: c.Prefix, frame: newFraming()}
	exists, err := core.BucketExists(ctx, c.Bucket)
	if err == nil && !exists {
		err = core.MakeBucket(ctx, c.Bucket, minio.MakeBucketOptions{Region: c.Region})
	}
	if err != nil {
		return nil, fmt.Errorf("S3 bucket %s at %s: %w", c.Bucket, c.Endpoint, err)
	}
	return s, s.clean(ctx)
}

// clean removes the parts of uploads that were broken off long ago.
func (s *S3) clean(ctx context.Context) error {
	for u := range s.core.ListIncompleteUploads(ctx, s.bucket, s.prefix, true) {
		if u.Err != nil {
			return nil //nolint:nilerr // not every server lists them; it costs space, not data
		}
		if time.Since(u.Initiated) > staleUpload {
			if err := s.core.RemoveIncompleteUpload(ctx, s.bucket, u.Key); err != nil {
				return fmt.Errorf("S3 upload %s: %w", u.Key, err)
			}
		}
	}
	return nil
}

// Close implements Store.
func (s *S3) Close() error { return nil }

// Put implements Store.
func (s *S3) Put(ctx context.Context, key string, r io.Reader) (Info, error) {
	if err := checkKey(key); err != nil {
		return Info{}, err
	}
	pr, pw := io.Pipe()
	type result struct {
		info Info
		err  error
	}
	encoded := make(chan result, 1)
	go func() {
		info, err := s.frame.encode(ctx, key, pw, r)
		if err == nil {
			_ = pw.Close()
		} else { // not err itself: the client takes io.ErrUnexpectedEOF for the end of the body
			_ = pw.CloseWithError(errors.New("the body broke off"))
		}
		encoded <- result{info, err}
	}()
	_, err := s.core.Client.PutObject(ctx, s.bucket, s.prefix+key, pr, -1, minio.PutObjectOptions{
		ContentType: "application/octet-stream", PartSize: partBytes, SendContentMd5: true, DisableContentSha256: true,
	})
	_ = pr.CloseWithError(errors.New("the upload has ended")) // releases the encoder when the server refused
	res := <-encoded
	if err != nil && res.err == nil || err == nil && res.err != nil {
		err = errors.Join(err, res.err)
	} else if err != nil {
		err = fmt.Errorf("%w (%w)", res.err, err)
	}
	if err != nil {
		return Info{}, fmt.Errorf("write blob: %w", err)
	}
	return res.info, nil
}

// Get implements Store.
func (s *S3) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	first, end := span(off, n)
	opts := minio.GetObjectOptions{}
	header := "bytes=" + strconv.FormatInt(first, 10) + "-"
	if end >= 0 {
		header += strconv.FormatInt(end-1, 10)
	}
	opts.Set("Range", header)
	body, _, head, err := s.core.GetObject(ctx, s.bucket, s.prefix+key, opts)
	if minio.ToErrorResponse(err).Code == "InvalidRange" {
		return io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		return nil, s3Error(err)
	}
	_, total, _ := strings.Cut(head.Get("Content-Range"), "/")
	stored, err := strconv.ParseInt(total, 10, 64)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read blob: Content-Range of %s is %q", key, head.Get("Content-Range")), body.Close())
	}
	return s.frame.decode(key, body, stored, off, n)
}

// Stat implements Store.
func (s *S3) Stat(ctx context.Context, key string) (Info, error) {
	if err := checkKey(key); err != nil {
		return Info{}, err
	}
	o, err := s.core.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return Info{}, s3Error(err)
	}
	size, err := dataSize(o.Size)
	if err != nil {
		return Info{}, fmt.Errorf("blob %s: %w", key, err)
	}
	return Info{Size: size, Modified: o.LastModified}, nil
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{})
	if err != nil && !errors.Is(s3Error(err), ErrNotFound) {
		return fmt.Errorf("delete blob: %w", err)
	}
	return nil
}

// List implements Store. A body that is cut is listed with size -1.
func (s *S3) List(ctx context.Context, prefix string, fn func(string, Info) error) error {
	ctx, cancel := context.WithCancel(ctx) // ends the listing's goroutine
	defer cancel()
	for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return fmt.Errorf("list blobs: %w", o.Err)
		}
		if err := fn(strings.TrimPrefix(o.Key, s.prefix), listed(o.Size, Info{Modified: o.LastModified})); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func s3Error(err error) error {
	switch minio.ToErrorResponse(err).Code {
	case "NoSuchKey", "NotFound":
		return fmt.Errorf("%w (%w)", ErrNotFound, err)
	case "QuotaExceeded", "XMinioStorageFull":
		return fmt.Errorf("%w (%w)", ErrFull, err)
	}
	return fmt.Errorf("read blob: %w", err)
}
