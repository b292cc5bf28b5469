package objectstore_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // TempURL's classic digest
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/accounts"
	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/containers"
	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/objects"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/objectstore"
)

type env struct {
	*identitytest.Server
	t       *testing.T
	service *objectstore.Service
	blobs   *blob.Dir
	admin   *cloud.Session
	account string // path of the admin's account
}

func start(t *testing.T) *env {
	t.Helper()
	s := identitytest.Start(t)
	blobs, err := blob.OpenDir(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	svc, err := objectstore.New(objectstore.Config{DB: s.DB, Bus: s.Bus, Jobs: s.Jobs, Log: s.Log, Auth: s.Tokens, Blob: blobs})
	if err != nil {
		t.Fatal(err)
	}
	s.Mount("/object-store", oneLineHeaders(t, svc.Handler()))
	s.Mount("/node", svc.NodeHandler())
	admin := s.Admin()
	return &env{Server: s, t: t, service: svc, blobs: blobs, admin: admin, account: "/v1/AUTH_" + admin.ProjectID}
}

// oneLineHeaders fails the test when the service sets a header of several lines: net/http writes it as one, so
// that no client can tell.
func oneLineHeaders(t *testing.T, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		for name, values := range w.Header() {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n") {
				t.Errorf("%s %s is answered with header %q: %q", r.Method, r.URL, name, values)
			}
		}
	})
}

type reply struct {
	status int
	header http.Header
	body   string
}

// do sends one request; headers are "Name: value". Session nil sends no token.
func (e *env) do(who *cloud.Session, method, path, body string, headers ...string) reply {
	e.t.Helper()
	return e.doURL(who, method, e.URL+"/object-store"+path, body, headers...)
}

func (e *env) doURL(who *cloud.Session, method, url, body string, headers ...string) reply {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	if who != nil {
		req.Header.Set("X-Auth-Token", who.Provider.Token())
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(data)}
}

func (e *env) want(status int, r reply) reply {
	e.t.Helper()
	if r.status != status {
		e.t.Fatalf("status %d, expected %d: %s", r.status, status, r.body)
	}
	return r
}

func TestGophercloud(t *testing.T) {
	e := start(t)
	ctx := t.Context()
	c, err := e.admin.ObjectStore()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := containers.Create(ctx, c, "plan", containers.CreateOpts{Metadata: map[string]string{"Usage-Tripleo": "plan"}}).Extract(); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("0123456789abcdef", 20_000)
	for name, content := range map[string]string{"a/one.yaml": "one", "a/two.yaml": "two", "b.yaml": big, "empty": ""} {
		if _, err := objects.Create(ctx, c, "plan", name, objects.CreateOpts{Content: strings.NewReader(content)}).Extract(); err != nil {
			t.Fatal(err)
		}
		res := objects.Download(ctx, c, "plan", name, nil)
		got, err := res.ExtractContent()
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != content {
			t.Errorf("%s: %d bytes came back, %d were sent", name, len(got), len(content))
		}
	}
	pages, err := objects.List(c, "plan", objects.ListOpts{Delimiter: "/"}).AllPages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := objects.ExtractInfo(pages)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range infos {
		names = append(names, i.Name+i.Subdir)
	}
	if diff := cmp.Diff([]string{"a/", "b.yaml", "empty"}, names); diff != "" {
		t.Errorf("listing with a delimiter (-want +got):\n%s", diff)
	}
	if _, err := accounts.Update(ctx, c, accounts.UpdateOpts{TempURLKey: "k"}).Extract(); err != nil {
		t.Fatal(err)
	}
	u, err := objects.CreateTempURL(ctx, c, "plan", "a/one.yaml", objects.CreateTempURLOpts{Method: http.MethodGet, TTL: 60})
	if err != nil {
		t.Fatal(err)
	}
	if got := e.want(200, e.doURL(nil, "GET", u, "")); got.body != "one" {
		t.Errorf("temporary URL gave %q", got.body)
	}
	if _, err := objects.Copy(ctx, c, "plan", "b.yaml", objects.CopyOpts{Destination: "/plan/c.yaml"}).Extract(); err != nil {
		t.Fatal(err)
	}
	if _, err := objects.Delete(ctx, c, "plan", "b.yaml", nil).Extract(); err != nil {
		t.Fatal(err)
	}
	head, err := containers.Get(ctx, c, "plan", nil).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if head.ObjectCount != 4 || head.BytesUsed != int64(len(big)+6) {
		t.Errorf("container counts %d objects and %d bytes, expected 4 and %d", head.ObjectCount, head.BytesUsed, len(big)+6)
	}
}

func TestListings(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", ""))
	for _, n := range []string{"a", "b/1", "b/2", "b/x/1", "c", "d/1", "ä", "..", "x//y", "x/./y"} {
		e.want(201, e.do(e.admin, "PUT", e.account+"/c/"+strings.ReplaceAll(strings.ReplaceAll(n, "..", "%2E%2E"), "/./", "/%2E/"), "1"))
	}
	for _, tc := range []struct{ reason, query, want string }{
		{"all, by bytes", "", ".. a b/1 b/2 b/x/1 c d/1 x/./y x//y ä"},
		{"delimiter", "delimiter=/", ".. a b/ c d/ x/ ä"},
		{"prefix and delimiter", "prefix=b/&delimiter=/", "b/1 b/2 b/x/"},
		{"limit", "limit=2", ".. a"},
		{"marker", "marker=b/2&limit=2", "b/x/1 c"},
		{"a common prefix as marker is not shown again", "delimiter=/&marker=b/", "c d/ x/ ä"},
		{"end marker", "end_marker=b/2", ".. a b/1"},
		{"reverse", "reverse=true&limit=3", "ä x//y x/./y"},
		{"reverse with delimiter and limit", "reverse=true&delimiter=/&limit=4", "ä x/ d/ c"},
		{"reverse with marker", "reverse=true&marker=b/2", "b/1 a .."},
		{"delimiter and limit count prefixes", "delimiter=/&limit=3", ".. a b/"},
		{"path", "path=b", "b/1 b/2"},
		{"path at the top", "path=", ".. a c ä"},
		{"nothing", "prefix=zzz", ""},
	} {
		got := e.do(e.admin, "GET", e.account+"/c?"+tc.query, "")
		if diff := cmp.Diff(strings.Fields(tc.want), strings.Fields(got.body)); diff != "" && tc.want != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
		if tc.want == "" && got.status != http.StatusNoContent {
			t.Errorf("%s: status %d, expected 204", tc.reason, got.status)
		}
	}
	e.want(412, e.do(e.admin, "GET", e.account+"/c?limit=10001", ""))
	xml := e.want(200, e.do(e.admin, "GET", e.account+"/c?format=xml&limit=1", ""))
	if !strings.Contains(xml.body, `<container name="c"><object><name>..</name>`) {
		t.Errorf("XML listing is %s", xml.body)
	}
	if got := e.want(200, e.do(e.admin, "GET", e.account+"?format=json", "")); !strings.Contains(got.body, `"count":10`) {
		t.Errorf("account listing is %s", got.body)
	}
}

func TestConditionsAndRanges(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", ""))
	put := e.want(201, e.do(e.admin, "PUT", e.account+"/c/o", "0123456789", "X-Object-Meta-Color: red", "Content-Type: text/plain"))
	etag := put.header.Get("Etag")
	past, future := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for _, tc := range []struct {
		reason, header, body string
		status               int
	}{
		{"plain", "", "0123456789", 200},
		{"same ETag", "If-None-Match: " + etag, "", 304},
		{"same ETag in quotes", `If-None-Match: "` + etag + `"`, "", 304},
		{"other ETag", "If-None-Match: x", "0123456789", 200},
		{"If-Match other", "If-Match: x", "", 412},
		{"not modified since", "If-Modified-Since: " + future, "", 304},
		{"modified since", "If-Modified-Since: " + past, "0123456789", 200},
		{"unmodified since fails", "If-Unmodified-Since: " + past, "", 412},
		{"first bytes", "Range: bytes=0-3", "0123", 206},
		{"last bytes", "Range: bytes=-3", "789", 206},
		{"from the middle", "Range: bytes=5-", "56789", 206},
		{"beyond the end", "Range: bytes=20-30", "", 416},
	} {
		got := e.do(e.admin, "GET", e.account+"/c/o", "", nonEmpty(tc.header)...)
		if got.status != tc.status || tc.body != "" && got.body != tc.body {
			t.Errorf("%s: status %d and body %q, expected %d and %q", tc.reason, got.status, got.body, tc.status, tc.body)
		}
	}
	e.want(412, e.do(e.admin, "PUT", e.account+"/c/o", "x", "If-None-Match: *"))
	e.want(422, e.do(e.admin, "PUT", e.account+"/c/o", "x", "Etag: 00000000000000000000000000000000"))
	e.want(404, e.do(e.admin, "PUT", e.account+"/nowhere/o", "x"))
	e.want(409, e.do(e.admin, "DELETE", e.account+"/c", ""))
	e.want(202, e.do(e.admin, "POST", e.account+"/c/o", "", "X-Object-Meta-Size: big"))
	head := e.want(200, e.do(e.admin, "HEAD", e.account+"/c/o", ""))
	if head.header.Get("X-Object-Meta-Color") != "" || head.header.Get("X-Object-Meta-Size") != "big" || head.header.Get("Content-Type") != "text/plain" {
		t.Errorf("POST replaces metadata and keeps the content type; headers are %v", head.header)
	}
	if head.header.Get("Content-Length") != "10" {
		t.Errorf("HEAD says %s bytes, expected 10", head.header.Get("Content-Length"))
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func sign(key, method, path string, expires int64) string {
	m := hmac.New(sha1.New, []byte(key))
	fmt.Fprintf(m, "%s\n%d\n%s", method, expires, path)
	return hex.EncodeToString(m.Sum(nil))
}

func TestTempURL(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", "", "X-Container-Meta-Temp-URL-Key: ck"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/other", ""))
	e.want(204, e.do(e.admin, "POST", e.account, "", "X-Account-Meta-Temp-URL-Key: ak"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/dir/o", "hello", "X-Object-Meta-Secret: s"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/other/o", "other"))
	later, past := time.Now().Add(time.Minute).Unix(), time.Now().Add(-time.Minute).Unix()
	o := e.account + "/c/dir/o"
	query := func(sig string, expires int64, extra string) string {
		return "?temp_url_sig=" + sig + "&temp_url_expires=" + strconv.FormatInt(expires, 10) + extra
	}
	for _, tc := range []struct {
		reason, method, path, query string
		status                      int
	}{
		{"account key", "GET", o, query(sign("ak", "GET", o, later), later, ""), 200},
		{"container key", "GET", o, query(sign("ck", "GET", o, later), later, ""), 200},
		{"GET allows HEAD", "HEAD", o, query(sign("ak", "GET", o, later), later, ""), 200},
		{"GET does not allow PUT", "PUT", o, query(sign("ak", "GET", o, later), later, ""), 401},
		{"HEAD does not allow GET", "GET", o, query(sign("ak", "HEAD", o, later), later, ""), 401},
		{"PUT", "PUT", o, query(sign("ak", "PUT", o, later), later, ""), 201},
		{"expired", "GET", o, query(sign("ak", "GET", o, past), past, ""), 401},
		{"expiry changed", "GET", o, query(sign("ak", "GET", o, past), later, ""), 401},
		{"wrong key", "GET", o, query(sign("xx", "GET", o, later), later, ""), 401},
		{"empty key", "GET", o, query(sign("", "GET", o, later), later, ""), 401},
		{"other object", "GET", o + "2", query(sign("ak", "GET", o, later), later, ""), 401},
		{"container key on another container", "GET", e.account + "/other/o", query(sign("ck", "GET", e.account+"/other/o", later), later, ""), 401},
		{"prefix", "GET", o, query(sign("ak", "GET", "prefix:"+e.account+"/c/dir/", later), later, "&temp_url_prefix=dir/"), 200},
		{"outside of the prefix", "GET", o, query(sign("ak", "GET", "prefix:"+e.account+"/c/din/", later), later, "&temp_url_prefix=din/"), 401},
		{"ISO time", "GET", o, "?temp_url_sig=" + sign("ak", "GET", o, later) + "&temp_url_expires=" + time.Unix(later, 0).UTC().Format("2006-01-02T15:04:05Z"), 200},
		{"no signature", "GET", o, "?temp_url_expires=" + strconv.FormatInt(later, 10), 401},
		{"nothing", "GET", o, "", 401},
		{"not for containers", "GET", e.account + "/c", query(sign("ak", "GET", e.account+"/c", later), later, ""), 401},
		{"archive by temporary URL", "PUT", o, query(sign("ak", "PUT", o, later), later, "&extract-archive=tar"), 400},
	} {
		for _, prefix := range []string{"/object-store", "/node"} {
			got := e.doURL(nil, tc.method, e.URL+prefix+tc.path+tc.query, "new")
			if got.status != tc.status {
				t.Errorf("%s at %s: status %d, expected %d", tc.reason, prefix, got.status, tc.status)
			}
		}
	}
	got := e.do(nil, "GET", o+query(sign("ak", "GET", o, later), later, "&filename=x%22y"), "")
	if want := `attachment; filename="x%22y"; filename*=UTF-8''x%22y`; got.header.Get("Content-Disposition") != want {
		t.Errorf("Content-Disposition is %q, expected %q", got.header.Get("Content-Disposition"), want)
	}
	e.want(401, e.doURL(e.admin, "GET", e.URL+"/node"+o, ""))
	e.want(400, e.do(nil, "PUT", o+query(sign("ak", "PUT", o, later), later, ""), "", "X-Copy-From: /other/o"))
	e.want(400, e.do(nil, "PUT", o+query(sign("ak", "PUT", o, later), later, ""), "", "X-Object-Manifest: other/o"))
}

func TestLongPoll(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", ""))
	etag := e.want(201, e.do(e.admin, "PUT", e.account+"/c/o", "one")).header.Get("Etag")
	got := make(chan reply, 1)
	go func() {
		got <- e.do(e.admin, "GET", e.account+"/c/o", "", "If-None-Match: "+etag, "X-Long-Poll: 60")
	}()
	select {
	case r := <-got:
		t.Fatalf("answered %d before anything changed", r.status)
	case <-time.After(100 * time.Millisecond): // long enough to see an answer that comes at once
	}
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/unrelated", "x"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/o", "two"))
	if r := <-got; r.status != 200 || r.body != "two" {
		t.Errorf("status %d and body %q, expected 200 and the new content", r.status, r.body)
	}
	e.want(200, e.do(e.admin, "GET", e.account+"/c/o", "", "If-None-Match: "+etag, "X-Long-Poll: 60"))
	etag = e.do(e.admin, "HEAD", e.account+"/c/o", "").header.Get("Etag")
	e.want(304, e.do(e.admin, "HEAD", e.account+"/c/o", "", "If-None-Match: "+etag, "X-Long-Poll: 1"))
}

func TestAccess(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/private", ""))
	e.want(201, e.do(e.admin, "PUT", e.account+"/public", "", "X-Container-Read: .r:*"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/listed", "", "X-Container-Read: .r:*,.rlistings"))
	for _, c := range []string{"private", "public", "listed"} {
		e.want(201, e.do(e.admin, "PUT", e.account+"/"+c+"/o", "x"))
	}
	eve, reader := e.User("eve", "evil", "admin"), e.User("rita", "admin", "reader")
	e.want(201, e.do(e.admin, "PUT", e.account+"/shared", "", "X-Container-Write: evil:eve", "X-Container-Read: "+eve.ProjectID+":*"))
	service, err := e.Cloud.Service(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		reason       string
		who          *cloud.Session
		method, path string
		status       int
	}{
		{"nobody reads a private object", nil, "GET", "/private/o", 401},
		{"another project's admin reads", eve, "GET", "/private/o", 403},
		{"another project's admin lists", eve, "GET", "", 403},
		{"another project's admin writes", eve, "PUT", "/private/x", 403},
		{"another project's admin asks for what is not there", eve, "GET", "/nowhere/x", 403},
		{"a reader reads", reader, "GET", "/private/o", 200},
		{"a reader lists", reader, "GET", "/private", 200},
		{"a reader writes", reader, "PUT", "/private/o", 403},
		{"a reader makes a container", reader, "PUT", "/new", 403},
		{"a reader deletes", reader, "DELETE", "/private/o", 403},
		{"the service user reads everywhere", service, "GET", "/private/o", 200},
		{"public object", nil, "GET", "/public/o", 200},
		{"public object cannot be written", nil, "PUT", "/public/o", 401},
		{"public is not listed", nil, "GET", "/public", 401},
		{"listed", nil, "GET", "/listed", 200},
		{"write ACL by names", eve, "PUT", "/shared/o", 201},
		{"read ACL by project", eve, "GET", "/shared/o", 200},
		{"ACL is not for metadata of the container", eve, "POST", "/shared", 403},
		{"COPY from what may not be read", eve, "COPY", "/private/o", 403},
	} {
		if got := e.do(tc.who, tc.method, e.account+tc.path, "", "Destination: shared/copy"); got.status != tc.status {
			t.Errorf("%s: status %d, expected %d", tc.reason, got.status, tc.status)
		}
	}
	e.want(403, e.do(eve, "PUT", e.account+"/shared/steal", "", "X-Copy-From: private/o"))
	// A manifest may name what its writer may not read; who reads it must.
	e.want(201, e.do(eve, "PUT", e.account+"/shared/steal", "", "X-Object-Manifest: private/o"))
	e.want(403, e.do(eve, "GET", e.account+"/shared/steal", ""))
	e.want(400, e.do(eve, "PUT", e.account+"/shared/steal?multipart-manifest=put", `[{"path":"private/o"}]`))
	e.want(201, e.do(eve, "PUT", e.account+"/shared/steal", "", "X-Symlink-Target: private/o"))
	e.want(403, e.do(eve, "GET", e.account+"/shared/steal", ""))
	e.want(200, e.do(reader, "GET", e.account+"/shared/steal", ""))
	e.want(201, e.do(e.admin, "PUT", e.account+"/listed/manifest", "", "X-Object-Manifest: private/o"))
	e.want(401, e.do(nil, "GET", e.account+"/listed/manifest", ""))
	if h := e.want(204, e.do(reader, "HEAD", e.account+"/shared", "")).header; h.Get("X-Container-Write") != "" {
		t.Error("a reader sees the container's ACL")
	}
}

func archive(t *testing.T, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, n := range names {
		content := "content of " + n
		if err := w.WriteHeader(&tar.Header{Name: n, Mode: 0o600, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: "link", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestBulk(t *testing.T) {
	e := start(t)
	var names []string
	for i := range 450 { // more than two transactions
		names = append(names, fmt.Sprintf("./dir/f%03d.yaml", i))
	}
	data := archive(t, append(names, "../evil", "a/../../evil")...)
	res := e.want(200, e.do(e.admin, "PUT", e.account+"/plan?extract-archive=tar.gz", data, "Accept: application/json", "X-Detect-Content-Type: true"))
	var out struct {
		Created int        `json:"Number Files Created"`
		Status  string     `json:"Response Status"`
		Errors  [][]string `json:"Errors"`
	}
	if err := json.Unmarshal([]byte(res.body), &out); err != nil {
		t.Fatal(err)
	}
	if out.Created != 450 || len(out.Errors) != 2 {
		t.Errorf("%d files created with errors %v, expected 450 and the two that climb out refused", out.Created, out.Errors)
	}
	got := e.want(200, e.do(e.admin, "GET", e.account+"/plan/dir/f007.yaml", ""))
	if got.body != "content of ./dir/f007.yaml" {
		t.Errorf("content is %q", got.body)
	}
	text := e.want(200, e.do(e.admin, "PUT", e.account+"?extract-archive=tar.gz", archive(t, "made/by/account"))).body
	if !strings.Contains(text, "Number Files Created: 1\nResponse Status: 201 Created\n") {
		t.Errorf("text result is %q", text)
	}
	broken := e.want(200, e.do(e.admin, "PUT", e.account+"?extract-archive=tar.gz", data[:len(data)/2])).body
	if !strings.Contains(broken, "Response Status: 400") {
		t.Errorf("half an archive is reported as %q", broken)
	}
	del := e.want(200, e.do(e.admin, "POST", e.account+"?bulk-delete", "/plan/dir/f000.yaml\nplan/nothing\nplan\n")).body
	if !strings.Contains(del, "Number Deleted: 1\nNumber Not Found: 1\n") || !strings.Contains(del, "plan, 409 Conflict") {
		t.Errorf("bulk delete is reported as %q", del)
	}
}

func TestLargeObjects(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/seg", ""))
	big := strings.Repeat("x", 100_000)
	e.want(201, e.do(e.admin, "PUT", e.account+"/seg/1", "hello "))
	e.want(201, e.do(e.admin, "PUT", e.account+"/seg/2", big))
	e.want(201, e.do(e.admin, "PUT", e.account+"/seg/3", " world"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/seg/slo?multipart-manifest=put",
		`[{"path":"/seg/1"},{"path":"/seg/2","size_bytes":100000},{"path":"/seg/3","range":"1-5"}]`))
	want := "hello " + big + "world"
	if got := e.want(200, e.do(e.admin, "GET", e.account+"/seg/slo", "")); got.body != want || got.header.Get("X-Static-Large-Object") != "True" {
		t.Errorf("static large object: %d bytes, expected %d", len(got.body), len(want))
	}
	if got := e.want(206, e.do(e.admin, "GET", e.account+"/seg/slo", "", "Range: bytes=100000-100008")); got.body != want[100_000:100_009] {
		t.Errorf("range across segments is %q, expected %q", got.body, want[100_000:100_009])
	}
	e.want(400, e.do(e.admin, "PUT", e.account+"/seg/bad?multipart-manifest=put", `[{"path":"/seg/9"}]`))
	e.want(201, e.do(e.admin, "PUT", e.account+"/seg/dlo", "", "X-Object-Manifest: seg/1"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/seg/1b", "again"))
	if got := e.want(200, e.do(e.admin, "GET", e.account+"/seg/dlo", "")); got.body != "hello again" {
		t.Errorf("dynamic large object is %q", got.body)
	}
	e.want(200, e.do(e.admin, "DELETE", e.account+"/seg/slo?multipart-manifest=delete", ""))
	e.want(404, e.do(e.admin, "GET", e.account+"/seg/2", ""))
}

// TestNothingIsLeft replaces, deletes, breaks off and expires large objects;
// then no body may be left in the blob store.
func TestNothingIsLeft(t *testing.T) {
	e := start(t)
	e.RunJobs()
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", ""))
	big := strings.Repeat("y", 100_000)
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/replaced", big))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/replaced", "small"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/deleted", big))
	e.want(204, e.do(e.admin, "DELETE", e.account+"/c/deleted", ""))
	e.want(422, e.do(e.admin, "PUT", e.account+"/c/wrong", big, "Etag: 0"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/expiring", big, "X-Delete-After: 1"))
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left := 0
		err := e.blobs.List(t.Context(), "", func(string, blob.Info) error { left++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("%d bodies are left", left)
		case <-tick.C:
		}
	}
	if got := e.want(200, e.do(e.admin, "GET", e.account+"/c", "")); got.body != "replaced\n" {
		t.Errorf("the container holds %q, expected only what was replaced", got.body)
	}
}
