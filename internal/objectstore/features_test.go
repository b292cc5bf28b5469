package objectstore_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// names returns what a listing holds, with the ids of versions if it has them.
func (e *env) names(query string) []string {
	e.t.Helper()
	var items []struct {
		Name, Subdir string
		ContentType  string `json:"content_type"`
		Latest       *bool  `json:"is_latest"`
	}
	sep := "?"
	if strings.Contains(query, "?") {
		sep = "&"
	}
	got := e.want(200, e.do(e.admin, "GET", e.account+query+sep+"format=json", ""))
	if err := json.Unmarshal([]byte(got.body), &items); err != nil {
		e.t.Fatal(err)
	}
	out := []string{}
	for _, i := range items {
		text := i.Name + i.Subdir
		if strings.Contains(i.ContentType, "x-deleted") {
			text += " deleted"
		}
		if i.Latest != nil && *i.Latest {
			text += " latest"
		}
		out = append(out, text)
	}
	return out
}

func TestVersions(t *testing.T) {
	e := start(t)
	c := e.account + "/c"
	e.want(201, e.do(e.admin, "PUT", c, ""))
	e.want(201, e.do(e.admin, "PUT", c+"/o", "null version"))
	e.want(204, e.do(e.admin, "POST", c, "", "X-Versions-Enabled: true"))
	v1 := e.want(201, e.do(e.admin, "PUT", c+"/o", "one")).header.Get("X-Object-Version-Id")
	v2 := e.want(201, e.do(e.admin, "PUT", c+"/o", "two")).header.Get("X-Object-Version-Id")
	marker := e.want(204, e.do(e.admin, "DELETE", c+"/o", "")).header.Get("X-Object-Version-Id")
	e.want(404, e.do(e.admin, "GET", c+"/o", ""))
	if got := e.want(200, e.do(e.admin, "GET", c+"/o?version-id="+v1, "")); got.body != "one" {
		t.Errorf("version %s is %q", v1, got.body)
	}
	e.want(404, e.do(e.admin, "GET", c+"/o?version-id="+marker, ""))
	e.want(400, e.do(e.admin, "GET", c+"/o?version-id=nonsense", ""))
	e.want(400, e.do(e.admin, "POST", c+"/o?version-id="+v1, ""))
	if diff := cmp.Diff([]string{"o deleted latest", "o", "o", "o"}, e.names("/c?versions")); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"o", "o"}, e.names("/c?versions&marker=o&version_marker="+v2)); diff != "" {
		t.Errorf("versions behind a marker (-want +got):\n%s", diff)
	}
	e.want(409, e.do(e.admin, "DELETE", c, ""))
	if got := e.want(201, e.do(e.admin, "PUT", c+"/o?version-id="+v1, "")); got.header.Get("X-Object-Version-Id") != v1 {
		t.Errorf("restoring gave version %q, expected %q", got.header.Get("X-Object-Version-Id"), v1)
	}
	if got := e.want(200, e.do(e.admin, "GET", c+"/o", "")); got.body != "one" || got.header.Get("X-Object-Version-Id") != v1 {
		t.Errorf("after restoring the object is %q, version %q", got.body, got.header.Get("X-Object-Version-Id"))
	}
	reader := e.User("eve", "evil", "member")
	e.want(204, e.do(e.admin, "POST", c, "", "X-Container-Read: evil:eve", "X-Versions-Enabled: false"))
	e.want(200, e.do(reader, "GET", c+"/o", ""))
	e.want(403, e.do(reader, "GET", c+"/o?version-id="+v2, ""))
	e.want(403, e.do(reader, "GET", c+"?versions", ""))
	e.want(201, e.do(e.admin, "PUT", c+"/o", "unversioned"))
	e.want(201, e.do(e.admin, "PUT", c+"/o", "unversioned again"))
	if n := len(e.names("/c?versions")); n != 5 {
		t.Errorf("%d versions, expected 5: writing while versioning is off replaces only what has no version", n)
	}
	for range 5 { // whatever is first goes
		var items []struct {
			ID string `json:"version_id"`
		}
		if err := json.Unmarshal([]byte(e.do(e.admin, "GET", c+"?versions", "").body), &items); err != nil {
			t.Fatal(err)
		}
		e.want(204, e.do(e.admin, "DELETE", c+"/o?version-id="+items[0].ID, ""))
	}
	if h := e.want(204, e.do(e.admin, "HEAD", c, "")).header; h.Get("X-Container-Bytes-Used") != "0" || h.Get("X-Container-Object-Count") != "0" {
		t.Errorf("an emptied container counts %s objects and %s bytes", h.Get("X-Container-Object-Count"), h.Get("X-Container-Bytes-Used"))
	}
	e.want(204, e.do(e.admin, "DELETE", c, ""))
}

func TestOlderVersioning(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/old", ""))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", "", "X-Versions-Location: old"))
	for _, body := range []string{"one", "two", "three"} {
		e.want(201, e.do(e.admin, "PUT", e.account+"/c/o", body))
	}
	if names := e.names("/old"); len(names) != 2 || !strings.HasPrefix(names[0], "001o/") {
		t.Errorf("kept %v, expected two names that begin with 001o/", names)
	}
	for _, want := range []string{"two", "one"} {
		e.want(204, e.do(e.admin, "DELETE", e.account+"/c/o", ""))
		if got := e.do(e.admin, "GET", e.account+"/c/o", "").body; got != want {
			t.Errorf("after DELETE the object is %q, expected %q", got, want)
		}
	}
	e.want(204, e.do(e.admin, "DELETE", e.account+"/c/o", ""))
	e.want(404, e.do(e.admin, "DELETE", e.account+"/c/o", ""))

	e.want(204, e.do(e.admin, "POST", e.account+"/c", "", "X-History-Location: old"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/o", "kept"))
	e.want(204, e.do(e.admin, "DELETE", e.account+"/c/o", ""))
	if names := e.names("/old"); len(names) != 2 || !strings.HasSuffix(names[1], " deleted") {
		t.Errorf("history kept %v, expected the object and a delete marker", names)
	}
	e.want(400, e.do(e.admin, "POST", e.account+"/c", "", "X-Versions-Enabled: true"))
	e.want(204, e.do(e.admin, "POST", e.account+"/c", "", "X-History-Location: nowhere"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/p", "1"))
	e.want(412, e.do(e.admin, "PUT", e.account+"/c/p", "2"))
}

func TestSymlinks(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", ""))
	etag := e.want(201, e.do(e.admin, "PUT", e.account+"/c/target", "content")).header.Get("Etag")
	link := func(name, to string, headers ...string) int {
		return e.do(e.admin, "PUT", e.account+"/c/"+name, "", append([]string{"X-Symlink-Target: c/" + to}, headers...)...).status
	}
	for _, tc := range []struct {
		reason, name, to, header string
		put, get                 int
	}{
		{"dynamic", "l1", "target", "", 201, 200},
		{"a link to a link", "l2", "l1", "", 201, 200},
		{"too long a chain", "l3", "l2", "", 201, 409},
		{"to nowhere", "n", "nowhere", "", 201, 404},
		{"to itself", "self", "self", "", 400, 404},
		{"static", "s", "target", "X-Symlink-Target-Etag: " + etag, 201, 200},
		{"static with another ETag", "x", "target", "X-Symlink-Target-Etag: 0", 409, 404},
		{"static to nowhere", "y", "nowhere", "X-Symlink-Target-Etag: " + etag, 409, 404},
	} {
		if got := link(tc.name, tc.to, nonEmpty(tc.header)...); got != tc.put {
			t.Errorf("%s: PUT gives %d, expected %d", tc.reason, got, tc.put)
		}
		if got := e.do(e.admin, "GET", e.account+"/c/"+tc.name, ""); got.status != tc.get || tc.get == 200 && got.body != "content" {
			t.Errorf("%s: GET gives %d %q, expected %d", tc.reason, got.status, got.body, tc.get)
		}
	}
	head := e.want(200, e.do(e.admin, "HEAD", e.account+"/c/s?symlink=get", ""))
	if head.header.Get("X-Symlink-Target") != "c/target" || head.header.Get("X-Symlink-Target-Etag") != etag || head.header.Get("Content-Length") != "0" {
		t.Errorf("the link itself has headers %v", head.header)
	}
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/target", "changed"))
	e.want(409, e.do(e.admin, "GET", e.account+"/c/s", ""))
	e.want(204, e.do(e.admin, "DELETE", e.account+"/c/l1", ""))
	e.want(200, e.do(e.admin, "GET", e.account+"/c/target", ""))
}

func TestQuotas(t *testing.T) {
	e := start(t)
	reseller := e.Session("tripleo", "service-secret", "service") // a service may do what a reseller may
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", "", "X-Container-Meta-Quota-Bytes: 10", "X-Container-Meta-Quota-Count: 2"))
	e.want(400, e.do(e.admin, "POST", e.account+"/c", "", "X-Container-Meta-Quota-Bytes: many"))
	for _, tc := range []struct {
		reason, name, body string
		status             int
	}{
		{"fits", "a", "12345678", 201},
		{"more bytes than allowed", "b", "123", 413},
		{"replacing counts the difference", "a", "1234567890", 201},
		{"smaller", "a", "1", 201},
		{"second object", "b", "2", 201},
		{"more objects than allowed", "d", "", 413},
	} {
		if got := e.do(e.admin, "PUT", e.account+"/c/"+tc.name, tc.body); got.status != tc.status {
			t.Errorf("%s: status %d, expected %d", tc.reason, got.status, tc.status)
		}
	}
	e.want(403, e.do(e.admin, "POST", e.account, "", "X-Account-Meta-Quota-Bytes: 100"))
	e.want(204, e.do(reseller, "POST", e.account, "", "X-Account-Meta-Quota-Bytes: 100"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/free", ""))
	e.want(413, e.do(e.admin, "PUT", e.account+"/free/o", strings.Repeat("x", 200)))
}

func TestAccountACL(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", "", "X-Container-Meta-Temp-URL-Key: secret"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/o", "x"))
	ro, rw, adm := e.User("ro", "other", "member"), e.User("rw", "other", "member"), e.User("adm", "other", "member")
	e.want(400, e.do(e.admin, "POST", e.account, "", `X-Account-Access-Control: {"admins": ["x"]}`))
	e.want(204, e.do(e.admin, "POST", e.account, "", `X-Account-Access-Control: {"read-only": ["other:ro"], "read-write": ["other:rw"], "admin": ["other:adm"]}`))
	for _, tc := range []struct {
		method, path string
		ro, rw, adm  int
	}{
		{"GET", "", 200, 200, 200},
		{"GET", "/c", 200, 200, 200},
		{"GET", "/c/o", 200, 200, 200},
		{"PUT", "/c/o", 403, 201, 201},
		{"PUT", "/new", 403, 201, 202},
		{"POST", "", 403, 403, 204},
		{"DELETE", "/new", 403, 204, 404},
	} {
		who := 0
		for _, u := range []struct{ got, want int }{
			{e.do(ro, tc.method, e.account+tc.path, "").status, tc.ro},
			{e.do(rw, tc.method, e.account+tc.path, "").status, tc.rw},
			{e.do(adm, tc.method, e.account+tc.path, "").status, tc.adm},
		} {
			if u.got != u.want {
				t.Errorf("%s %q by %s: status %d, expected %d", tc.method, tc.path, []string{"ro", "rw", "adm"}[who], u.got, u.want)
			}
			who++
		}
	}
	if h := e.want(204, e.do(rw, "HEAD", e.account+"/c", "")).header; h.Get("X-Container-Meta-Temp-Url-Key") != "" {
		t.Error("read-write sees a signing key")
	}
	if h := e.want(204, e.do(adm, "HEAD", e.account+"/c", "")).header; h.Get("X-Container-Meta-Temp-Url-Key") != "secret" {
		t.Error("an account's admin does not see its signing key")
	}
}

func TestFormPost(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", "", "X-Container-Meta-Temp-URL-Key: k"))
	later, past := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	post := func(path, redirect string, size, count, expires int64, signed string, files ...string) reply {
		m := hmac.New(sha256.New, []byte("k"))
		fmt.Fprintf(m, "%s\n%s\n%d\n%d\n%d", signed, redirect, size, count, expires)
		var b bytes.Buffer
		form := multipart.NewWriter(&b)
		for name, value := range map[string]string{
			"redirect": redirect, "max_file_size": fmt.Sprint(size), "max_file_count": fmt.Sprint(count), "expires": fmt.Sprint(expires),
			"signature": hex.EncodeToString(m.Sum(nil)), "x_delete_after": "100",
		} {
			_ = form.WriteField(name, value) // into a buffer
		}
		for i, content := range files {
			w, _ := form.CreateFormFile("file", fmt.Sprintf("f%d", i)) // into a buffer
			_, _ = w.Write([]byte(content))
		}
		_ = form.Close()
		return e.do(nil, "POST", path, b.String(), "Content-Type: "+form.FormDataContentType())
	}
	up := e.account + "/c/up/"
	for _, tc := range []struct {
		reason string
		got    reply
		status int
	}{
		{"two files", post(up, "", 10, 2, later, up, "one", "two"), 201},
		{"too many", post(up, "", 10, 1, later, up, "one", "two"), 400},
		{"too large", post(up, "", 2, 1, later, up, "one"), 413},
		{"expired", post(up, "", 10, 1, past, up, "one"), 401},
		{"signed for another path", post(up, "", 10, 1, later, e.account+"/c/down/", "one"), 401},
		{"no files", post(up, "", 10, 1, later, up), 400},
		{"to a container that is not there", post(e.account+"/nowhere/x", "", 10, 1, later, e.account+"/nowhere/x", "one"), 401},
	} {
		if tc.got.status != tc.status {
			t.Errorf("%s: status %d, expected %d: %s", tc.reason, tc.got.status, tc.status, tc.got.body)
		}
	}
	got := e.want(200, e.do(e.admin, "GET", e.account+"/c/up/f1", ""))
	if got.body != "two" || got.header.Get("X-Delete-At") == "" {
		t.Errorf("the second file is %q, expires at %q", got.body, got.header.Get("X-Delete-At"))
	}
}

func TestStaticWeb(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", "", "X-Container-Read: .r:*,.rlistings", "X-Container-Meta-Web-Index: index.html",
		"X-Container-Meta-Web-Listings: true", "X-Container-Meta-Web-Error: error.html", "X-Container-Meta-Web-Listings-CSS: a.css"))
	for name, body := range map[string]string{"index.html": "front", "sub/index.html": "sub", "list/a": "1", "list/javascript:x": "2", "404error.html": "lost"} {
		e.want(201, e.do(e.admin, "PUT", e.account+"/c/"+name, body))
	}
	for _, tc := range []struct {
		reason, path string
		status       int
		want         string
	}{
		{"index", "/c/", 200, "front"},
		{"index of a folder", "/c/sub/", 200, "sub"},
		{"listing", "/c/list/", 200, `<a href="javascript%3Ax">javascript:x</a>`},
		{"style of a listing", "/c/list/", 200, `href="../a.css"`},
		{"the site's own page for what is missing", "/c/nothing", 404, "lost"},
	} {
		if got := e.do(nil, "GET", e.account+tc.path, ""); got.status != tc.status || !strings.Contains(got.body, tc.want) {
			t.Errorf("%s: %d %q, expected %d and %q", tc.reason, got.status, got.body, tc.status, tc.want)
		}
	}
	if got := e.want(200, e.do(e.admin, "GET", e.account+"/c", "")); !strings.Contains(got.body, "index.html\n") {
		t.Errorf("with a token the container is listed as ever, got %q", got.body)
	}
	e.want(204, e.do(e.admin, "POST", e.account+"/c", "", "X-Container-Read: other:*"))
	e.want(401, e.do(nil, "GET", e.account+"/c/", ""))
}

func TestNestedManifests(t *testing.T) {
	e := start(t)
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", ""))
	for _, n := range []string{"a", "b"} {
		e.want(201, e.do(e.admin, "PUT", e.account+"/c/"+n, strings.Repeat(n, 5)))
	}
	inline := base64.StdEncoding.EncodeToString([]byte("-data-"))
	put := func(name, manifest string) reply {
		return e.do(e.admin, "PUT", e.account+"/c/"+name+"?multipart-manifest=put", manifest)
	}
	e.want(201, put("inner", `[{"path": "c/a"}, {"data": "`+inline+`"}, {"path": "c/b", "range": "1-2"}]`))
	e.want(201, put("outer", `[{"path": "c/inner"}, {"path": "c/inner", "range": "3-8"}]`))
	const want = "aaaaa-data-bbaa-dat"
	if got := e.want(200, e.do(e.admin, "GET", e.account+"/c/outer", "")); got.body != want {
		t.Errorf("nested manifests give %q, expected %q", got.body, want)
	}
	got := e.want(206, e.do(e.admin, "GET", e.account+"/c/outer", "", "Range: bytes=4-12,-2"))
	if !strings.Contains(got.header.Get("Content-Type"), "multipart/byteranges") || !strings.Contains(got.body, want[4:13]) || !strings.Contains(got.body, "Content-Range: bytes 17-18/19") {
		t.Errorf("ranges of nested manifests are %q", got.body)
	}
	raw := e.want(200, e.do(e.admin, "GET", e.account+"/c/inner?multipart-manifest=get&format=raw", "")).body
	e.want(201, put("again", raw))
	if got := e.do(e.admin, "GET", e.account+"/c/again", "").body; got != "aaaaa-data-bb" {
		t.Errorf("a manifest PUT again as it was read gives %q", got)
	}
	for _, tc := range []struct{ reason, manifest, want string }{
		{"not JSON", "x", "Manifest must be valid JSON"},
		{"nothing", "[]", "should not be empty"},
		{"missing segment", `[{"path": "c/zzz"}]`, "c/zzz, 404 Not Found"},
		{"wrong ETag", `[{"path": "c/a", "etag": "0"}]`, "c/a, Etag Mismatch"},
		{"wrong size", `[{"path": "c/a", "size_bytes": 4}]`, "c/a, Size Mismatch"},
		{"range outside", `[{"path": "c/a", "range": "9-10"}]`, "c/a, Unsatisfiable Range"},
		{"unknown key", `[{"path": "c/a", "color": 1}]`, "extraneous keys"},
		{"only data", `[{"data": "` + inline + `"}]`, "at least one object-backed segment"},
		{"itself", `[{"path": "c/bad"}]`, "cannot be included in the manifest"},
	} {
		if got := put("bad", tc.manifest); got.status != http.StatusBadRequest || !strings.Contains(got.body, tc.want) {
			t.Errorf("%s: %d %q, expected 400 and %q", tc.reason, got.status, got.body, tc.want)
		}
	}
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/a", "other"))
	if got := e.do(e.admin, "GET", e.account+"/c/inner", ""); got.status != http.StatusConflict {
		t.Errorf("a manifest whose segment has changed gives %d %q, expected 409", got.status, got.body)
	}
	e.RunJobs()
	e.want(204, e.do(e.admin, "DELETE", e.account+"/c/inner?multipart-manifest=delete&async=yes", ""))
	e.want(404, e.do(e.admin, "GET", e.account+"/c/b", ""))
}
