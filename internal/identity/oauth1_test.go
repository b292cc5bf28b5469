package identity_test

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // HMAC-SHA1 of RFC 5849
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"

	"github.com/tripleo/tripleo/internal/identity"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/store"
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

// oauthConsumer asks as a consumer does.
type oauthConsumer struct {
	t             *testing.T
	s             *identitytest.Server
	admin         *gophercloud.ServiceClient
	key, secret   string
	user, project string // admin's
	nonce         int
}

func newConsumer(t *testing.T, s *identitytest.Server) *oauthConsumer {
	t.Helper()
	session := s.Admin()
	c := &oauthConsumer{t: t, s: s, admin: must[*gophercloud.ServiceClient](t)(session.Identity()), user: session.UserID, project: session.ProjectID}
	_, made := call(t, c.admin, http.MethodPost, "OS-OAUTH1/consumers", map[string]any{"consumer": map[string]any{}})
	doc := made["consumer"].(map[string]any)
	c.key, c.secret = doc["id"].(string), doc["secret"].(string)
	return c
}

// send signs and sends a POST with the token of by, which may be nil.
func (c *oauthConsumer) send(path, body string, by url.Values, verifier string) (*http.Response, string) {
	c.t.Helper()
	address, more := c.s.AuthURL+path, map[string]string{}
	if verifier != "" {
		more["oauth_verifier"] = verifier
	}
	c.nonce++
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", signed(http.MethodPost, address, fmt.Sprint("nonce", c.nonce), c.key, c.secret, by.Get("oauth_token"), by.Get("oauth_token_secret"), more))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Requested-Project-Id", c.project)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, string(b)
}

func (c *oauthConsumer) values(path string, by url.Values, verifier string) url.Values {
	c.t.Helper()
	res, text := c.send(path, "", by, verifier)
	q, err := url.ParseQuery(text)
	if err != nil || res.StatusCode != http.StatusCreated {
		c.t.Fatalf("%s: %d %s", path, res.StatusCode, text)
	}
	return q
}

func (c *oauthConsumer) request() url.Values { return c.values("/OS-OAUTH1/request_token", nil, "") }

// access is an access token with role reader of admin.
func (c *oauthConsumer) access() url.Values {
	c.t.Helper()
	q := c.request()
	status, doc := call(c.t, c.admin, http.MethodPut, "OS-OAUTH1/authorize/"+q.Get("oauth_token"), readerRole())
	if status != http.StatusOK {
		c.t.Fatalf("authorize: %d %v", status, doc)
	}
	return c.values("/OS-OAUTH1/access_token", q, doc["token"].(map[string]any)["oauth_verifier"].(string))
}

func readerRole() map[string]any {
	return map[string]any{"roles": []any{map[string]any{"name": "reader"}}}
}

// token is one made with an access token.
func (c *oauthConsumer) token(access url.Values) string {
	c.t.Helper()
	res, text := c.send("/auth/tokens", `{"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}}`, access, "")
	if res.StatusCode != http.StatusCreated {
		c.t.Fatalf("token by OAuth: %d %s", res.StatusCode, text)
	}
	return res.Header.Get("X-Subject-Token")
}

// bearer is a client with a token.
func (c *oauthConsumer) bearer(token string) *gophercloud.ServiceClient {
	c.t.Helper()
	p := must[*gophercloud.ProviderClient](c.t)(openstack.NewClient(c.s.AuthURL))
	p.SetToken(token)
	return &gophercloud.ServiceClient{ProviderClient: p, Endpoint: c.s.AuthURL + "/"}
}

// TestOAuthStaysSmall: a token by OAuth is not exchanged for what the user did
// not give, neither at once nor by way of a trust or a credential.
func TestOAuthStaysSmall(t *testing.T) {
	c := newConsumer(t, identitytest.Start(t))
	token := c.token(c.access())
	mine := c.bearer(token)
	rescope := func(scope any) map[string]any {
		return map[string]any{"auth": map[string]any{"identity": map[string]any{"methods": []string{"token"}, "token": map[string]any{"id": token}}, "scope": scope}}
	}
	trust := map[string]any{"trustor_user_id": c.user, "trustee_user_id": c.user, "project_id": c.project, "impersonation": true, "roles": []any{map[string]any{"name": "admin"}}}
	credential := map[string]any{"type": "ec2", "user_id": c.user, "project_id": c.project, "blob": `{"access": "a", "secret": "s"}`}
	_, made := call(t, c.admin, http.MethodPost, "credentials", map[string]any{"credential": credential})
	id := made["credential"].(map[string]any)["id"].(string)
	for _, tc := range []struct {
		what, method, path string
		body               any
	}{
		{"the user's roles on the project", http.MethodPost, "auth/tokens", rescope(map[string]any{"project": map[string]any{"id": c.project}})},
		{"the system", http.MethodPost, "auth/tokens", rescope(map[string]any{"system": map[string]any{"all": true}})},
		{"no scope", http.MethodPost, "auth/tokens", rescope("unscoped")},
		{"an application credential", http.MethodPost, "users/" + c.user + "/application_credentials", map[string]any{"application_credential": map[string]any{"name": "x"}}},
		{"a trust", http.MethodPost, "OS-TRUST/trusts", map[string]any{"trust": trust}},
		{"an EC2 credential", http.MethodPost, "users/" + c.user + "/credentials/OS-EC2", map[string]any{"tenant_id": c.project}},
		{"a credential", http.MethodPost, "credentials", map[string]any{"credential": credential}},
		{"a known secret in a credential", http.MethodPatch, "credentials/" + id, map[string]any{"credential": map[string]any{"blob": `{"access": "a", "secret": "known"}`}}},
	} {
		if status, doc := call(t, mine, tc.method, tc.path, tc.body); status != http.StatusForbidden {
			t.Errorf("%s: %d %v, expected 403", tc.what, status, doc)
		}
	}
}

// TestOAuthDelegates: only the user authorizes a request token, nobody to whom
// they gave some of their roles.
func TestOAuthDelegates(t *testing.T) {
	c := newConsumer(t, identitytest.Start(t))
	service := must[*cloudSession](t)(c.s.Cloud.Service(t.Context()))
	_, made := call(t, c.admin, http.MethodPost, "OS-TRUST/trusts", map[string]any{"trust": map[string]any{
		"trustor_user_id": c.user, "trustee_user_id": service.UserID, "project_id": c.project, "impersonation": true, "roles": []any{map[string]any{"name": "reader"}},
	}})
	byTrust := must[*cloudSession](t)(c.s.Cloud.Trust(t.Context(), made["trust"].(map[string]any)["id"].(string)))
	_, made = call(t, c.admin, http.MethodPost, "users/"+c.user+"/application_credentials", map[string]any{"application_credential": map[string]any{
		"name": "x", "unrestricted": true,
	}})
	cred := made["application_credential"].(map[string]any)
	byCred := must[*gophercloud.ProviderClient](t)(openstack.NewClient(c.s.AuthURL))
	if err := openstack.Authenticate(t.Context(), byCred, gophercloud.AuthOptions{
		IdentityEndpoint: c.s.AuthURL, ApplicationCredentialID: cred["id"].(string), ApplicationCredentialSecret: cred["secret"].(string),
	}); err != nil {
		t.Fatal(err)
	}
	for what, token := range map[string]string{"a trust": byTrust.Provider.Token(), "an application credential": byCred.Token(), "OAuth": c.token(c.access())} {
		path := "OS-OAUTH1/authorize/" + c.request().Get("oauth_token")
		if status, doc := call(t, c.bearer(token), http.MethodPut, path, readerRole()); status != http.StatusForbidden {
			t.Errorf("by %s: %d %v, expected 403", what, status, doc)
		}
		if status, doc := call(t, c.admin, http.MethodPut, path, readerRole()); status != http.StatusOK {
			t.Errorf("by the user after %s: %d %v", what, status, doc)
		}
	}
}

// TestCredentialsStayWithTheirUser: what signs as a user is bound to what made it, and goes to nobody else.
func TestCredentialsStayWithTheirUser(t *testing.T) {
	c := newConsumer(t, identitytest.Start(t))
	credential := func(more map[string]any) map[string]any {
		doc := map[string]any{"type": "ec2", "user_id": c.user, "project_id": c.project, "blob": `{"access": "` + fmt.Sprint(more) + `", "secret": "s"}`}
		maps.Copy(doc, more)
		return map[string]any{"credential": doc}
	}
	status, made := call(t, c.admin, http.MethodPost, "credentials", credential(map[string]any{"trust_id": "another's", "app_cred_id": "another's"}))
	doc, _ := made["credential"].(map[string]any)
	if status != http.StatusCreated || doc["trust_id"] != nil || doc["app_cred_id"] != nil {
		t.Fatalf("%d %v: the client says what a credential acts by", status, made)
	}
	own := "credentials/" + doc["id"].(string)
	for _, k := range []string{"trust_id", "app_cred_id"} {
		if status, doc := call(t, c.admin, http.MethodPatch, own, map[string]any{"credential": map[string]any{k: "another's"}}); status != http.StatusBadRequest {
			t.Errorf("a change of %s: %d %v, expected 400", k, status, doc)
		}
	}
	_, made = call(t, c.admin, http.MethodPost, "users/"+c.user+"/application_credentials", map[string]any{"application_credential": map[string]any{"name": "x", "unrestricted": true}})
	cred := made["application_credential"].(map[string]any)
	p := must[*gophercloud.ProviderClient](t)(openstack.NewClient(c.s.AuthURL))
	if err := openstack.Authenticate(t.Context(), p, gophercloud.AuthOptions{
		IdentityEndpoint: c.s.AuthURL, ApplicationCredentialID: cred["id"].(string), ApplicationCredentialSecret: cred["secret"].(string),
	}); err != nil {
		t.Fatal(err)
	}
	byCred := c.bearer(p.Token())
	if status, doc := call(t, byCred, http.MethodPatch, own, map[string]any{"credential": map[string]any{"blob": `{"access": "a", "secret": "known"}`}}); status != http.StatusForbidden {
		t.Errorf("a secret set by an application credential: %d %v, expected 403", status, doc)
	}
	status, made = call(t, byCred, http.MethodPost, "credentials", credential(map[string]any{"app_cred_id": nil}))
	if doc, _ := made["credential"].(map[string]any); status != http.StatusCreated || doc["app_cred_id"] != cred["id"] {
		t.Errorf("%d %v: it is not bound to the application credential", status, made)
	}
	if status, doc := call(t, byCred, http.MethodPost, "credentials", credential(map[string]any{"project_id": "elsewhere"})); status != http.StatusForbidden {
		t.Errorf("for another project: %d %v, expected 403", status, doc)
	}
}

// TestOAuthTakenBack: with an access token, or its consumer, go the tokens made
// with it, and only those; and they end when it does.
func TestOAuthTakenBack(t *testing.T) {
	c := newConsumer(t, identitytest.Start(t))
	alive := func(token string) bool {
		_, err := c.s.Tokens.Validate(t.Context(), token)
		return err == nil
	}
	one, other := c.access(), c.access()
	first, second := c.token(one), c.token(other)
	if status, _ := call(t, c.admin, http.MethodDelete, "users/"+c.user+"/OS-OAUTH1/access_tokens/"+one.Get("oauth_token"), nil); status != http.StatusNoContent {
		t.Fatalf("delete the access token: %d", status)
	}
	if alive(first) || !alive(second) {
		t.Errorf("after one access token is deleted: its token is valid: %t, that of the other: %t", alive(first), alive(second))
	}
	until := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	if err := c.s.DB.Tx(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE identity_oauth_tokens SET expires_at = ?`, store.At(until))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	third := c.token(other)
	if id, err := c.s.Tokens.Validate(t.Context(), third); err != nil || !id.ExpiresAt.Equal(until) {
		t.Errorf("a token of an access token that ends at %s: %v, %v", until, id, err)
	}
	if status, _ := call(t, c.admin, http.MethodDelete, "OS-OAUTH1/consumers/"+c.key, nil); status != http.StatusNoContent {
		t.Fatalf("delete the consumer: %d", status)
	}
	if alive(second) || alive(third) {
		t.Error("a token is valid though its consumer is deleted")
	}
	if !alive(c.admin.Token()) {
		t.Error("the user's own token ended with the consumer")
	}
}

// TestOAuthExpired: request and access tokens are kept until they expire, no
// longer: each would keep the key that it is encrypted with.
func TestOAuthExpired(t *testing.T) {
	c := newConsumer(t, identitytest.Start(t))
	c.access()
	c.request()
	left := func() (kinds []string) {
		t.Helper()
		if err := c.s.DB.View(t.Context(), func(tx *store.Tx) error {
			return tx.Each(func(scan func(...any) error) error {
				var kind string
				err := scan(&kind)
				kinds = append(kinds, kind)
				return err
			}, `SELECT kind FROM identity_oauth_tokens ORDER BY kind`)
		}); err != nil {
			t.Fatal(err)
		}
		return kinds
	}
	for _, tc := range []struct {
		after time.Duration
		want  []string
	}{
		{7 * time.Hour, []string{"access", "request"}},
		{9 * time.Hour, []string{"access"}},
		{25 * time.Hour, nil},
	} {
		second(t, c.s, identity.Config{Now: func() time.Time { return time.Now().Add(tc.after) }})
		if got := left(); !slices.Equal(got, tc.want) {
			t.Errorf("after %s there are %v, expected %v", tc.after, got, tc.want)
		}
	}
}
