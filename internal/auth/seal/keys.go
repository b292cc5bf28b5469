package seal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	suffix  = ".key"
	keyTime = "20060102T150405.000000" // a key's name is when it was made
)

// Keys is a folder of keys (*.key, 64 hexadecimal digits, newest name last)
// that several processes share: the newest seals, each opens what it sealed.
type Keys struct {
	dir  string
	ring atomic.Pointer[ring]
	mu   sync.Mutex // of changes
}

// ring is what the folder held at one time. It does not change.
type ring struct {
	newest string
	boxes  map[string]*Box
}

// OpenKeys reads the keys of a folder, making the first one when there is none.
// Files are private (0600).
func OpenKeys(dir string) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	k := &Keys{dir: dir}
	names, err := k.files()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		if err := k.write(time.Now()); err != nil {
			return nil, err
		}
	}
	return k, k.read()
}

func (k *Keys) files() ([]string, error) {
	names, err := filepath.Glob(filepath.Join(k.dir, "*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	sort.Strings(names)
	return names, nil
}

func idOf(name string) string { return strings.TrimSuffix(filepath.Base(name), suffix) }

func (k *Keys) read() error {
	names, err := k.files()
	if err != nil {
		return err
	}
	r := &ring{boxes: map[string]*Box{}}
	for _, name := range names {
		text, err := os.ReadFile(name) //nolint:gosec // the operator's own key folder
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process has just retired it
		}
		if err != nil {
			return fmt.Errorf("read key: %w", err)
		}
		key, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(key) != KeySize {
			return fmt.Errorf("key %s: expected %d hexadecimal digits", name, 2*KeySize)
		}
		box, err := NewBox(key)
		if err != nil {
			return err
		}
		r.newest, r.boxes[idOf(name)] = idOf(name), box
	}
	if r.newest == "" {
		return fmt.Errorf("keys: folder %s has no key any more", k.dir)
	}
	k.ring.Store(r)
	return nil
}

// write makes a key, whole or not at all: another process may read the folder
// at any time.
func (k *Keys) write(now time.Time) error {
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // never fails
	tmp, err := os.CreateTemp(k.dir, ".new")
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(hex.EncodeToString(key) + "\n")
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	err = os.Link(tmp.Name(), filepath.Join(k.dir, now.UTC().Format(keyTime)+suffix))
	if err != nil && !errors.Is(err, fs.ErrExist) { // another process was faster
		return fmt.Errorf("write key: %w", err)
	}
	return syncDir(k.dir)
}

// syncDir makes a folder's entries durable: what is sealed with a key that a
// power cut takes away is lost.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator's own key folder
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}

// Seal encrypts data for an owner with the newest key and returns the key's id
// with the text, for Open.
func (k *Keys) Seal(data []byte, owner string) (id, sealed string) {
	r := k.ring.Load()
	return r.newest, r.boxes[r.newest].Seal(data, owner)
}

// Open decrypts what was sealed with the key id, looking into the folder once
// more for one that another process may have made.
func (k *Keys) Open(id, sealed, owner string) ([]byte, error) {
	box := k.ring.Load().boxes[id]
	if box == nil {
		k.mu.Lock()
		err := k.read()
		k.mu.Unlock()
		if box = k.ring.Load().boxes[id]; box == nil {
			return nil, errors.Join(fmt.Errorf("%w: folder %s has no key %s", ErrUnreadable, k.dir, id), err)
		}
	}
	return box.Open(sealed, owner)
}

// Lock is Seal with the id of the key in the text: it implements store.Vault.
func (k *Keys) Lock(data []byte, owner string) string {
	id, text := k.Seal(data, owner)
	return id + ":" + text
}

// Unlock opens what Lock made.
func (k *Keys) Unlock(text, owner string) ([]byte, error) {
	id, text, ok := strings.Cut(text, ":")
	if !ok {
		return nil, fmt.Errorf("%w: no sealed text", ErrUnreadable)
	}
	return k.Open(id, text, owner)
}

// Rotate makes a new key once the newest one is older than maxAge, and takes up
// what other processes did to the folder. It returns the id of the key that
// seals from now on: what others sealed can be sealed anew.
func (k *Keys) Rotate(now time.Time, maxAge time.Duration) (newest string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names, err := k.files()
	if err != nil {
		return "", err
	}
	if n := len(names); n == 0 || now.Sub(madeAt(names[n-1])) > maxAge {
		if err := k.write(now); err != nil {
			return "", err
		}
	}
	if err := k.read(); err != nil {
		return "", err
	}
	return k.ring.Load().newest, nil
}

// madeAt is the time in a key's name, or the zero time of one that an operator
// has named otherwise.
func madeAt(name string) time.Time {
	at, err := time.Parse(keyTime, idOf(name))
	if err != nil {
		return time.Time{}
	}
	return at
}

// grace is how long a key stays that was replaced: by then no process seals
// with it any more, as each calls Rotate more often.
const grace = 24 * time.Hour

// Retire removes keys that were replaced more than a day ago and that used does
// not name. A key under an operator's own name is the operator's to remove.
func (k *Keys) Retire(now time.Time, used map[string]bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	names, err := k.files()
	if err != nil {
		return err
	}
	for i, name := range names[:max(0, len(names)-1)] {
		next := madeAt(names[i+1])
		if used[idOf(name)] || madeAt(name).IsZero() || next.IsZero() || now.Sub(next) < grace {
			continue
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("retire key: %w", err)
		}
	}
	return k.read()
}
