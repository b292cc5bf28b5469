package objectstore

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeRows fetches from sorted names and counts the rows it gives.
type fakeRows struct {
	names []string
	rows  int
}

func (f *fakeRows) fetch(reverse bool) fetchFunc {
	return func(b bounds, limit int, take func(*entry) bool) error {
		var in []string
		for _, n := range f.names {
			if (b.from == "" || n > b.from || b.incl && n == b.from) && (b.before == "" || n < b.before) {
				in = append(in, n)
			}
		}
		if reverse {
			sort.Sort(sort.Reverse(sort.StringSlice(in)))
		}
		for i, n := range in {
			if i == limit {
				return nil
			}
			f.rows++
			if !take(&entry{Name: n}) {
				return nil
			}
		}
		return nil
	}
}

// plainListing is what a listing is, said in the simplest way: all names, in
// order, those in between, prefixes shown once.
func plainListing(names []string, l *listingQuery) []string {
	sorted := append([]string{}, names...)
	sort.Strings(sorted)
	if l.reverse {
		sort.Sort(sort.Reverse(sort.StringSlice(sorted)))
	}
	out, shown := []string{}, map[string]bool{}
	for _, n := range sorted {
		low, high := l.marker, l.end
		if l.reverse {
			low, high = l.end, l.marker
		}
		if !strings.HasPrefix(n, l.prefix) || low != "" && n <= low || high != "" && n >= high {
			continue
		}
		if i := strings.Index(n[len(l.prefix):], l.delimiter); l.delimiter != "" && i >= 0 {
			n = n[:len(l.prefix)+i+len(l.delimiter)]
			if shown[n] || n == l.marker {
				continue
			}
			shown[n] = true
		}
		if len(out) < l.limit {
			out = append(out, n)
		}
	}
	return out
}

func TestListingAgainstPlain(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	word := func() string {
		var b strings.Builder
		for range random.IntN(6) {
			b.WriteByte("ab/-"[random.IntN(4)])
		}
		return b.String()
	}
	for range 3000 {
		set := map[string]bool{}
		for range random.IntN(60) {
			if w := word(); w != "" {
				set[w] = true
			}
		}
		f := &fakeRows{}
		for n := range set {
			f.names = append(f.names, n)
		}
		sort.Strings(f.names)
		l := &listingQuery{limit: random.IntN(20), reverse: random.IntN(2) == 0}
		for _, field := range []*string{&l.prefix, &l.marker, &l.end} {
			if random.IntN(3) == 0 {
				*field = word()
			}
		}
		l.delimiter = []string{"", "/", "-", "ab"}[random.IntN(4)]
		entries, err := l.run(f.fetch(l.reverse))
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, e := range entries {
			got = append(got, e.Name+e.Subdir)
		}
		if diff := cmp.Diff(plainListing(f.names, l), got); diff != "" {
			t.Fatalf("%+v of %q (-want +got):\n%s", *l, f.names, diff)
		}
	}
}

// TestListingSkips checks that a folder costs the same however much is in it.
func TestListingSkips(t *testing.T) {
	f := &fakeRows{}
	for folder := range 10 {
		for i := range 2000 {
			f.names = append(f.names, fmt.Sprintf("f%d/%04d", folder, i))
		}
	}
	for _, reverse := range []bool{false, true} {
		f.rows = 0
		l := &listingQuery{limit: maxListing, delimiter: "/", reverse: reverse}
		entries, err := l.run(f.fetch(reverse))
		if err != nil || len(entries) != 10 {
			t.Fatalf("%d entries, expected 10 (%v)", len(entries), err)
		}
		if f.rows > 10*skipAfter {
			t.Errorf("reverse %t: %d rows were read for 10 folders, expected at most %d", reverse, f.rows, 10*skipAfter)
		}
	}
}

// FuzzRanges holds what is parsed of a Range header within the content.
func FuzzRanges(f *testing.F) {
	for _, s := range []string{"bytes=0-3", "bytes=-5", "bytes=5-", "bytes=0-0,2-3", "bytes = 1 - 2", "bytes=9-1", "bytes=--1", "bytes=18446744073709551615-"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		ranges, err := parseRanges(header, size)
		if err != nil {
			return
		}
		for _, r := range ranges {
			if r.off < 0 || r.n <= 0 || r.off+r.n > size {
				t.Errorf("%q of %d bytes gives %+v", header, size, r)
			}
		}
	})
}

// FuzzManifest feeds manifests; what is accepted names objects or holds data.
func FuzzManifest(f *testing.F) {
	for _, s := range []string{`[{"path": "c/o"}]`, `[{"data": "eA=="}, {"path": "/c/o", "range": "1-2", "size_bytes": "3"}]`, `[null]`, `[{"path": 1}]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		wanted, err := readManifest(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, g := range wanted {
			if g.Path == "" && g.Data == "" {
				t.Errorf("%q gives an empty segment", text)
			}
		}
	})
}
