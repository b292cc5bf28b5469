package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/store"
)

func handler(routes ...api.Route) http.Handler {
	return api.NewHandler(api.HandlerOptions{
		Service: "test", Routes: routes, Auth: authtest.Default(), MaxBody: 64,
		Versions: &api.Microversions{Type: "test", Min: "1.1", Max: "1.20", Legacy: "X-Test-API-Version"},
		Fault: func(w http.ResponseWriter, _ *http.Request, f api.Fault) {
			_ = api.WriteJSON(w, f.Status, map[string]string{"message": f.Message})
		},
	})
}

func do(t *testing.T, h http.Handler, method, path, token, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func ok(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func TestPoliciesAndUnknownPaths(t *testing.T) {
	h := handler(
		api.Route{Method: "GET", Pattern: "/public", Policy: api.Public, Handler: ok},
		api.Route{Method: "GET", Pattern: "/read", Policy: api.Reader, Handler: ok},
		api.Route{Method: "POST", Pattern: "/write", Policy: api.Member, Handler: ok},
		api.Route{Method: "POST", Pattern: "/admin", Policy: api.Admin, Handler: ok},
	)
	for _, tc := range []struct {
		reason, method, path, token string
		want                        int
	}{
		{"public without token", "GET", "/public", "", 204},
		{"public with a wrong token is still public", "GET", "/public", "nonsense", 204},
		{"no token", "GET", "/read", "", 401},
		{"wrong token", "GET", "/read", "nonsense", 401},
		{"reader reads", "GET", "/read", "reader", 204},
		{"reader does not write", "POST", "/write", "reader", 403},
		{"member writes", "POST", "/write", "member", 204},
		{"member is no admin", "POST", "/admin", "member", 403},
		{"admin", "POST", "/admin", "admin", 204},
		{"unknown path", "GET", "/nothing", "admin", 404},
		{"wrong method", "DELETE", "/write", "admin", 405},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			w := do(t, h, tc.method, tc.path, tc.token, "")
			if w.Code != tc.want {
				t.Errorf("%d, expected %d", w.Code, tc.want)
			}
			if w.Header().Get("X-Openstack-Request-Id") == "" {
				t.Error("no request id")
			}
		})
	}
}

func TestErrorsKeepTheirSecrets(t *testing.T) {
	var fail error
	h := handler(api.Route{Method: "GET", Pattern: "/", Policy: api.Public, Handler: func(http.ResponseWriter, *http.Request) error { return fail }})
	for _, tc := range []struct {
		reason string
		err    error
		status int
		text   string
	}{
		{"an unknown error shows no text", errors.New("password hunter2 refused"), 500, "internal error"},
		{"the cause of a known error stays here", api.Conflict("the stack is busy").Wrap(errors.New("hunter2")), 409, "the stack is busy"},
		{"the store's errors have kinds", store.ErrNotFound, 404, "could not be found"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			fail = tc.err
			w := do(t, h, "GET", "/", "", "")
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.text) || strings.Contains(w.Body.String(), "hunter2") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

func TestBodiesAreBoundedAndErrorsNameThePlace(t *testing.T) {
	h := handler(api.Route{Method: "POST", Pattern: "/", Policy: api.Public, Handler: func(w http.ResponseWriter, r *http.Request) error {
		var in struct {
			Count int `json:"count"`
		}
		if err := api.ReadJSON(r, &in); err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, in)
	}})
	for _, tc := range []struct {
		reason, body string
		status       int
		text         string
	}{
		{"fine", `{"count": 3}`, 200, `{"count":3}`},
		{"too long", `{"count": ` + strings.Repeat("1", 100) + `}`, 413, "larger than 64 bytes"},
		{"malformed", `{"count": }`, 400, "byte 11"},
		{"wrong type", `{"count": "three"}`, 400, `"count" holds a string`},
		{"empty", "", 400, "empty"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			w := do(t, h, "POST", "/", "", tc.body)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), strings.ReplaceAll(tc.text, `"`, `\"`)) && !strings.Contains(w.Body.String(), tc.text) {
				t.Errorf("%d %s, expected %d with %q", w.Code, w.Body, tc.status, tc.text)
			}
		})
	}
}

func TestMicroversions(t *testing.T) {
	h := handler(
		api.Route{Method: "GET", Pattern: "/v", Policy: api.Public, Handler: func(w http.ResponseWriter, r *http.Request) error {
			return api.WriteJSON(w, 200, map[string]any{"version": api.Version(r), "new": api.AtLeast(r, "1.10")})
		}},
		api.Route{Method: "GET", Pattern: "/since", Policy: api.Public, Since: "1.9", Handler: ok},
	)
	for _, tc := range []struct {
		reason, path, header, value string
		status                      int
		version                     string
	}{
		{"none asked: the minimum", "/v", "", "", 200, "1.1"},
		{"latest", "/v", "OpenStack-API-Version", "test latest", 200, "1.20"},
		{"numbers, not text: 1.9 is before 1.10", "/v", "X-Test-API-Version", "1.9", 200, "1.9"},
		{"another service's header does not count", "/v", "OpenStack-API-Version", "other 1.5", 200, "1.1"},
		{"beyond", "/v", "X-Test-API-Version", "1.21", 406, ""},
		{"nonsense", "/v", "X-Test-API-Version", "new", 400, ""},
		{"a route before its time", "/since", "X-Test-API-Version", "1.8", 404, ""},
		{"a route in its time", "/since", "X-Test-API-Version", "1.10", 204, ""},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			w := do(t, h, "GET", tc.path, "", "", tc.header, tc.value)
			if w.Code != tc.status {
				t.Fatalf("%d %s, expected %d", w.Code, w.Body, tc.status)
			}
			if tc.version != "" {
				var out struct {
					Version string
					New     bool
				}
				if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
					t.Fatal(err)
				}
				if out.Version != tc.version || out.New != (tc.version == "1.20") || w.Header().Get("OpenStack-API-Version") != "test "+tc.version {
					t.Errorf("%+v, header %q", out, w.Header().Get("OpenStack-API-Version"))
				}
			}
		})
	}
}
