package image_test

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/crashtest"
	"github.com/tripleo/tripleo/internal/image"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

// TestServeUntilKilled is the process that TestKilledService kills.
func TestServeUntilKilled(t *testing.T) {
	crashtest.ServeUntilKilled(t, func(dir string) http.Handler {
		h, queue := serveDir(t, dir, nil)
		go func() { _ = queue.Run(t.Context()) }()
		return h
	})
}

// serveDir is the service on the data in a folder.
func serveDir(t testing.TB, dir string, now func() time.Time) (http.Handler, *jobs.Queue) {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "i.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	blobs, err := blob.OpenDir(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	log, bus := slog.New(slog.DiscardHandler), notify.New()
	queue, err := jobs.New(db, bus, log)
	if err != nil {
		t.Fatal(err)
	}
	svc, err := image.New(image.Config{DB: db, Bus: bus, Jobs: queue, Log: log, Auth: authtest.Default(), Blob: blobs, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return svc.Handler(), queue
}

// victim is the process and how to talk to it.
type victim struct {
	*crashtest.Victim
	t testing.TB
}

func startVictim(t *testing.T, folder string) *victim {
	t.Helper()
	return &victim{crashtest.Start(t, folder), t}
}

func (v *victim) try(method, path string, body io.Reader) (int, []byte) {
	status, _, data := v.Try(method, path, body, "X-Auth-Token: member")
	return status, data
}

// create makes an image; "" if there was no answer.
func (v *victim) create(format string) string {
	_, data := v.try("POST", "/v2/images", strings.NewReader(`{"name": "i", "container_format": "bare", "disk_format": "`+format+`"}`))
	var m struct{ ID string }
	_ = json.Unmarshal(data, &m)
	return m.ID
}

func (v *victim) status(id string) string {
	_, data := v.try("GET", "/v2/images/"+id, nil)
	var m struct{ Status string }
	_ = json.Unmarshal(data, &m)
	return m.Status
}

// until asks again and again, at most for a while.
func (v *victim) until(what string, ok func() bool) {
	v.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			v.t.Fatalf("%s: not within 30 seconds", what)
		}
	}
}

// half begins an upload that never ends by itself.
func (v *victim) half() (id string, feed *io.PipeWriter, ended chan int) {
	id, ended = v.create("raw"), make(chan int, 1)
	var body *io.PipeReader
	body, feed = io.Pipe()
	go func() {
		code, _ := v.try("PUT", "/v2/images/"+id+"/file", body)
		ended <- code
	}()
	if _, err := feed.Write(make([]byte, 3*mib)); err != nil {
		v.t.Fatal(err)
	}
	v.until("the upload is under way", func() bool { return v.status(id) == "saving" })
	return id, feed, ended
}

// upload sends images until there is no answer, and notes those acknowledged.
func (v *victim) upload(tried func(id string, acknowledged bool)) {
	for {
		id := v.create("raw")
		if id == "" {
			return
		}
		code, _ := v.try("PUT", "/v2/images/"+id+"/file", strings.NewReader(content(id)))
		tried(id, code == http.StatusNoContent)
		if code != http.StatusNoContent {
			return
		}
	}
}

func content(id string) string { return strings.Repeat(id, 4000) }

// bodies are the files of the blob store; those that were being written are
// made to look old, as the store leaves alone what another process may write.
func bodies(t *testing.T, folder string, age bool) int {
	t.Helper()
	n, old := 0, time.Now().Add(-time.Hour)
	err := filepath.WalkDir(filepath.Join(folder, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // it went meanwhile
		}
		n++
		if age {
			return os.Chtimes(path, old, old)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A service that is killed while clients upload and a conversion runs: every
// image that was acknowledged is whole, every other is whole or queued without
// data, the space of what was broken off is free, and the conversion is done.
func TestKilledService(t *testing.T) {
	folder := t.TempDir()
	acknowledged := map[string]bool{} // by id of every image with an upload
	raw := make([]byte, 32*mib)
	_, _ = rand.NewChaCha8([32]byte{}).Read(raw)
	source := toQcow2(t, raw)
	var halves []string
	var disk string
	for round := range 3 {
		v := startVictim(t, folder)
		if round == 0 {
			disk = v.create("qcow2")
			if code, _ := v.try("PUT", "/v2/images/"+disk+"/file", bytes.NewReader(source)); code != http.StatusNoContent {
				t.Fatalf("upload: %d", code)
			}
		}
		half, feed, ended := v.half()
		halves = append(halves, half)
		var mu sync.Mutex
		var wg sync.WaitGroup
		enough := make(chan struct{})
		var once sync.Once
		for range 4 {
			wg.Go(func() {
				v.upload(func(id string, ok bool) {
					mu.Lock()
					defer mu.Unlock()
					acknowledged[id] = ok
					if len(acknowledged) >= 15*(round+1) {
						once.Do(func() { close(enough) })
					}
				})
			})
		}
		<-enough
		if code, _ := v.try("GET", "/v2/images/"+disk+"/file?format=raw", nil); code != http.StatusAccepted && (round == 0 || code != http.StatusOK) {
			t.Errorf("raw form: %d, expected 202 until it is converted", code)
		}
		v.Kill()
		_ = feed.CloseWithError(io.ErrUnexpectedEOF) // the client waits for it
		wg.Wait()
		if code := <-ended; code != 0 {
			t.Errorf("an upload that was broken off was answered with %d", code)
		}
		bodies(t, folder, true)
	}
	v := startVictim(t, folder)
	whole := 1 // the disk
	for id, ok := range acknowledged {
		v.until("an image is active or queued", func() bool { s := v.status(id); return s == "active" || s == "queued" })
		code, data := v.try("GET", "/v2/images/"+id+"/file", nil)
		switch {
		case code == http.StatusOK && string(data) == content(id):
			whole++
		case ok || code != http.StatusNoContent:
			t.Errorf("image %s, acknowledged %t: %d with %d bytes, expected all or, if not acknowledged, none", id, ok, code, len(data))
		}
	}
	for _, id := range halves {
		v.until("the half image is queued", func() bool { return v.status(id) == "queued" })
		if code, data := v.try("GET", "/v2/images/"+id+"/file", nil); code != http.StatusNoContent || len(data) > 0 {
			t.Errorf("half an image: %d with %d bytes, expected none", code, len(data))
		}
	}
	v.until("the conversion is done", func() bool {
		code, data := v.try("GET", "/v2/images/"+disk+"/file?format=raw", nil)
		return code == http.StatusOK && bytes.Equal(data, raw)
	})
	v.until("the space is free", func() bool { return bodies(t, folder, false) == whole+1 })
	if code, _ := v.try("PUT", "/v2/images/"+halves[0]+"/file", strings.NewReader("again")); code != http.StatusNoContent || v.status(halves[0]) != "active" {
		t.Errorf("the upload after the crash: %d", code)
	}
}
