package identity_test

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // HMAC-SHA1 of RFC 5849
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/identity/identitytest"
)

// signed makes the Authorization header of a request as RFC 5849 says.
func signed(method, address, nonce, consumer, consumerSecret, token, tokenSecret string, more map[string]string) string {
	params := map[string]string{"oauth_consumer_key": consumer, "oauth_nonce": nonce, "oauth_signature_method": "HMAC-SHA1",
		"oauth_timestamp": fmt.Sprint(time.Now().Unix()), "oauth_version": "1.0"}
	if token != "" {
		params["oauth_token"] = token
	}
	for k, v := range more {
		params[k] = v
	}
	var pairs, header []string
	for k, v := range params {
		pairs = append(pairs, url.QueryEscape(k)+"="+url.QueryEscape(v))
		header = append(header, fmt.Sprintf("%s=%q", k, url.QueryEscape(v)))
	}
	slices.Sort(pairs)
	base := method + "&" + url.QueryEscape(address) + "&" + url.QueryEscape(strings.Join(pairs, "&"))
	m := hmac.New(sha1.New, []byte(consumerSecret+"&"+tokenSecret))
	m.Write([]byte(base))
	return "OAuth " + strings.Join(header, ", ") + fmt.Sprintf(", oauth_signature=%q", url.QueryEscape(base64.StdEncoding.EncodeToString(m.Sum(nil))))
}

// TestOAuth: a consumer gets tokens of a user with just the roles that the user
// gave, until the user takes that back; no request counts twice.
func TestOAuth(t *testing.T) {
	s := identitytest.Start(t)
	admin := s.Admin()
	idc, err := admin.Identity()
	if err != nil {
		t.Fatal(err)
	}
	_, made := call(t, idc, http.MethodPost, "OS-OAUTH1/consumers", map[string]any{"consumer": map[string]any{}})
	consumer := made["consumer"].(map[string]any)
	key, secret := consumer["id"].(string), consumer["secret"].(string)
	base := s.URL + "/identity/v3"
	send := func(method, path, header, body string, more ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		for i := 0; i+1 < len(more); i += 2 {
			req.Header.Set(more[i], more[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	_, me := call(t, idc, http.MethodGet, "users?name=admin", nil)
	user := me["users"].([]any)[0].(map[string]any)["id"].(string)
	_, at := call(t, idc, http.MethodGet, "projects?name=admin", nil)
	project := at["projects"].([]any)[0].(map[string]any)["id"].(string)
	header := signed("POST", base+"/OS-OAUTH1/request_token", "n1", key, secret, "", "", map[string]string{"oauth_callback": "oob"})
	code, text := send("POST", "/OS-OAUTH1/request_token", header, "", "Requested-Project-Id", project)
	q, err := url.ParseQuery(text)
	if err != nil || code != http.StatusCreated || q.Get("oauth_token") == "" {
		t.Fatalf("request token: %d %s", code, text)
	}
	if code, _ := send("POST", "/OS-OAUTH1/request_token", header, "", "Requested-Project-Id", project); code != http.StatusUnauthorized {
		t.Errorf("the same request again: %d", code)
	}
	status, doc := call(t, idc, http.MethodPut, "OS-OAUTH1/authorize/"+q.Get("oauth_token"), map[string]any{"roles": []any{map[string]any{"name": "reader"}}})
	if status != http.StatusOK {
		t.Fatalf("authorize: %d %v", status, doc)
	}
	verifier := doc["token"].(map[string]any)["oauth_verifier"].(string)
	code, text = send("POST", "/OS-OAUTH1/access_token", signed("POST", base+"/OS-OAUTH1/access_token", "n2", key, secret, q.Get("oauth_token"), q.Get("oauth_token_secret"),
		map[string]string{"oauth_verifier": verifier}), "")
	a, err := url.ParseQuery(text)
	if err != nil || code != http.StatusCreated {
		t.Fatalf("access token: %d %s", code, text)
	}
	token := func(nonce string) (int, map[string]any) {
		t.Helper()
		code, text := send("POST", "/auth/tokens", signed("POST", base+"/auth/tokens", nonce, key, secret, a.Get("oauth_token"), a.Get("oauth_token_secret"), nil),
			`{"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}}`)
		var doc map[string]any
		_ = json.Unmarshal([]byte(text), &doc)
		body, _ := doc["token"].(map[string]any)
		return code, body
	}
	code, body := token("n3")
	if code != http.StatusCreated || body["project"].(map[string]any)["id"] != project || body["user"].(map[string]any)["id"] != user {
		t.Fatalf("token by OAuth: %d %v", code, body)
	}
	if roles, _ := body["roles"].([]any); len(roles) != 1 || roles[0].(map[string]any)["name"] != "reader" {
		t.Errorf("roles %v, want the one given", body["roles"])
	}
	path := "users/" + user + "/OS-OAUTH1/access_tokens"
	if _, list := call(t, idc, http.MethodGet, path, nil); len(list["access_tokens"].([]any)) != 1 {
		t.Errorf("access tokens %v", list)
	}
	if _, list := call(t, idc, http.MethodGet, path+"/"+a.Get("oauth_token")+"/roles", nil); len(list["roles"].([]any)) != 1 {
		t.Errorf("roles of the access token %v", list)
	}
	if status, _ := call(t, idc, http.MethodDelete, path+"/"+a.Get("oauth_token"), nil); status != http.StatusNoContent {
		t.Errorf("taking it back: %d", status)
	}
	if code, _ := token("n4"); code != http.StatusUnauthorized {
		t.Errorf("after it was taken back: %d", code)
	}
}
