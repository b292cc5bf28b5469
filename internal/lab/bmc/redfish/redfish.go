// Package redfish serves machines' BMCs over Redfish (DSP0266): service root,
// systems with reset and boot override, managers, chassis and sessions, with
// Basic and session authentication and ETags. One handler serves one machine
// (a real BMC) or thousands (an aggregator, as the simulated lab uses it).
package redfish

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/lab/bmc"
)

const (
	root = "/redfish/v1"
	// maxBody bounds a request's body in bytes.
	maxBody = 64 << 10
	// maxSessions a system, and sessionIdle, bound the session table (real BMCs have some 16 to 64).
	maxSessions = 64
	sessionIdle = 30 * time.Minute
)

// Entry is one system under its Redfish identifier.
type Entry struct {
	ID     string
	System bmc.System
}

// Options make a handler.
type Options struct {
	// Systems are served in this order; identifiers are unique.
	Systems []Entry
	// User and Password are the only account, an administrator.
	User, Password string
	// UUID is that of the service.
	UUID string
	Log  *slog.Logger
	Now  func() time.Time
}

// Handler is an http.Handler that is a Redfish service.
type Handler struct {
	o     Options
	byID  map[string]bmc.System
	mux   *http.ServeMux
	mu    sync.Mutex
	token map[[32]byte]*session // by SHA-256 of the token
	count int

	firmware map[string]*firmware // by system
}

type session struct {
	id   string
	used time.Time
}

// object is a JSON object.
type object = map[string]any

// New returns the service's handler.
func New(o Options) *Handler {
	h := &Handler{o: o, byID: make(map[string]bmc.System, len(o.Systems)), token: map[[32]byte]*session{}, firmware: map[string]*firmware{}}
	for _, e := range o.Systems {
		h.byID[e.ID] = e.System
	}
	h.mux = h.routes()
	return h
}

type handlerFunc func(w http.ResponseWriter, r *http.Request) error

// routes is the service's table of contents.
func (h *Handler) routes() *http.ServeMux {
	mux := http.NewServeMux()
	open := func(pattern string, f handlerFunc) { mux.Handle(pattern, h.serve(f)) }
	auth := func(pattern string, f handlerFunc) { mux.Handle(pattern, h.serve(h.authenticated(f))) }
	open("GET /redfish", h.versions)
	open("GET "+root, h.serviceRoot)
	open("GET "+root+"/odata", h.odata)
	open("GET "+root+"/$metadata", h.metadata)
	open("POST "+root+"/SessionService/Sessions", h.createSession)
	auth("GET "+root+"/SessionService", h.sessionService)
	auth("GET "+root+"/SessionService/Sessions", h.listSessions)
	auth("GET "+root+"/SessionService/Sessions/{session}", h.getSession)
	auth("DELETE "+root+"/SessionService/Sessions/{session}", h.deleteSession)
	auth("GET "+root+"/Systems", h.listSystems)
	auth("GET "+root+"/Systems/{id}", h.system(h.getSystem))
	auth("PATCH "+root+"/Systems/{id}", h.system(h.patchSystem))
	auth("POST "+root+"/Systems/{id}/Actions/ComputerSystem.Reset", h.system(h.resetSystem))
	auth("GET "+root+"/Systems/{id}/EthernetInterfaces", h.system(h.listNICs))
	auth("GET "+root+"/Systems/{id}/EthernetInterfaces/{nic}", h.system(h.getNIC))
	auth("GET "+root+"/Systems/{id}/Processors", h.system(h.listProcessors))
	auth("GET "+root+"/Systems/{id}/Processors/{cpu}", h.system(h.getProcessor))
	auth("GET "+root+"/Systems/{id}/Memory", h.system(h.listMemory))
	auth("GET "+root+"/Systems/{id}/Memory/{dimm}", h.system(h.getMemory))
	auth("GET "+root+"/Systems/{id}/SimpleStorage", h.system(h.listStorage))
	auth("GET "+root+"/Systems/{id}/SimpleStorage/{storage}", h.system(h.getStorage))
	auth("GET "+root+"/Managers", h.listManagers)
	auth("GET "+root+"/Managers/{id}", h.system(h.getManager))
	auth("POST "+root+"/Managers/{id}/Actions/Manager.Reset", h.system(h.resetManager))
	auth("GET "+root+"/Chassis", h.listChassis)
	auth("GET "+root+"/Chassis/{id}", h.system(h.getChassis))
	h.firmwareRoutes(auth)
	h.mediaRoutes(auth)
	return mux
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// DSP0266 6.5: a URI with a trailing slash names the same resource.
	if p := r.URL.Path; len(p) > 1 && strings.HasSuffix(p, "/") {
		u := *r.URL
		u.Path = strings.TrimRight(p, "/")
		r = r.Clone(r.Context())
		r.URL = &u
	}
	w.Header().Set("OData-Version", "4.0")
	w.Header().Set("Cache-Control", "no-cache")
	if len(h.o.Systems) == 1 { // a BMC of its own can die or be slow
		if err := h.o.Systems[0].System.Gate(r.Context()); err != nil {
			h.silence(r)
		}
	}
	// DSP0266 8.2: what may be done with a resource is told with it, and with a refusal.
	if _, pattern := h.mux.Handler(r); pattern == "" {
		h.unserved(w, r)
		return
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		w.Header().Set("Allow", strings.Join(h.allowed(r), ", "))
	}
	h.mux.ServeHTTP(w, r)
}

// allowed are the methods that a request's resource knows.
func (h *Handler) allowed(r *http.Request) (out []string) {
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := h.mux.Handler(other); pattern != "" {
			out = append(out, m)
		}
	}
	return out
}

// unserved answers what no route takes.
func (h *Handler) unserved(w http.ResponseWriter, r *http.Request) {
	f := &fault{http.StatusNotFound, "Base.1.8.ResourceMissingAtURI", r.URL.Path + " does not exist"}
	if methods := h.allowed(r); len(methods) > 0 {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		f = &fault{http.StatusMethodNotAllowed, "Base.1.8.OperationNotAllowed", r.Method + " is not allowed on " + r.URL.Path}
	}
	f.write(w)
}

// write answers with the error (DSP0266 8.6).
func (f *fault) write(w http.ResponseWriter) {
	writeJSON(w, f.status, object{"error": object{
		"code": f.id, "message": f.msg,
		"@Message.ExtendedInfo": []object{{"@odata.type": "#Message.v1_1_1.Message", "MessageId": f.id, "Message": f.msg, "MessageSeverity": "Critical", "Severity": "Critical",
			"Resolution": "Correct the request and send it again."}},
	}})
}

// silence never answers: the client gives up or the connection breaks.
func (h *Handler) silence(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(2 * time.Minute):
	}
	panic(http.ErrAbortHandler)
}

// fault is an error with its place in the protocol.
type fault struct {
	status  int
	id, msg string
}

func (f *fault) Error() string { return f.msg }

func invalid(format string, a ...any) error {
	return &fault{http.StatusBadRequest, "Base.1.8.PropertyValueNotInList", fmt.Sprintf(format, a...)}
}

func notFound(what string) error {
	return &fault{http.StatusNotFound, "Base.1.8.ResourceMissingAtURI", what + " does not exist"}
}

func (h *Handler) serve(f handlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		err := f(w, r)
		if err == nil {
			return
		}
		var ft *fault
		if !errors.As(err, &ft) {
			h.o.Log.Error("redfish request failed", "method", r.Method, "path", r.URL.Path, "err", err)
			ft = &fault{http.StatusInternalServerError, "Base.1.8.InternalError", "internal error"}
		}
		if ft.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="redfish"`)
		}
		ft.write(w)
	})
}

// authenticated lets requests with a session token or Basic credentials pass.
func (h *Handler) authenticated(f handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if t := r.Header.Get("X-Auth-Token"); t != "" {
			if !h.sessionValid(t) {
				return &fault{http.StatusUnauthorized, "Base.1.8.NoValidSession", "the session is unknown or has expired"}
			}
			return f(w, r)
		}
		user, password, ok := r.BasicAuth()
		if !ok || !h.credentialsValid(user, password) {
			return &fault{http.StatusUnauthorized, "Base.1.8.InsufficientPrivilege", "authentication required"}
		}
		return f(w, r)
	}
}

func (h *Handler) credentialsValid(user, password string) bool {
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	wu, wp := sha256.Sum256([]byte(h.o.User)), sha256.Sum256([]byte(h.o.Password))
	return subtle.ConstantTimeCompare(u[:], wu[:])&subtle.ConstantTimeCompare(p[:], wp[:]) == 1
}

func (h *Handler) sessionValid(token string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := sha256.Sum256([]byte(token))
	s, ok := h.token[key]
	if !ok {
		return false
	}
	if h.o.Now().Sub(s.used) > sessionIdle {
		delete(h.token, key)
		return false
	}
	s.used = h.o.Now()
	return true
}

// system finds the machine a path names.
func (h *Handler) system(f func(http.ResponseWriter, *http.Request, string, bmc.System) error) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		sys, ok := h.byID[id]
		if !ok {
			return notFound("system " + id)
		}
		if len(h.o.Systems) > 1 {
			if err := sys.Gate(r.Context()); err != nil {
				h.silence(r)
			}
		}
		return f(w, r, id, sys)
	}
}

func (h *Handler) createSession(w http.ResponseWriter, r *http.Request) error {
	var in struct{ UserName, Password string }
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if !h.credentialsValid(in.UserName, in.Password) {
		return &fault{http.StatusUnauthorized, "Base.1.8.InsufficientPrivilege", "wrong user or password"}
	}
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	token := hex.EncodeToString(secret)
	h.mu.Lock()
	for k, s := range h.token {
		if h.o.Now().Sub(s.used) > sessionIdle {
			delete(h.token, k)
		}
	}
	if len(h.token) >= maxSessions*len(h.o.Systems) {
		h.mu.Unlock()
		return &fault{http.StatusServiceUnavailable, "Base.1.8.SessionLimitExceeded", "too many sessions"}
	}
	h.count++
	id := fmt.Sprint(h.count)
	h.token[sha256.Sum256([]byte(token))] = &session{id: id, used: h.o.Now()}
	h.mu.Unlock()
	w.Header().Set("X-Auth-Token", token)
	w.Header().Set("Location", root+"/SessionService/Sessions/"+id)
	writeJSON(w, http.StatusCreated, h.sessionObject(id))
	return nil
}

func (h *Handler) sessionObject(id string) object {
	return object{"@odata.id": root + "/SessionService/Sessions/" + id, "@odata.type": "#Session.v1_3_0.Session", "Id": id, "Name": "Session " + id, "UserName": h.o.User}
}

func (h *Handler) hasSession(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.token {
		if s.id == id {
			return true
		}
	}
	return false
}

func (h *Handler) getSession(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("session")
	if !h.hasSession(id) {
		return notFound("session " + id)
	}
	writeJSON(w, http.StatusOK, h.sessionObject(id))
	return nil
}

func (h *Handler) listSessions(w http.ResponseWriter, _ *http.Request) error {
	h.mu.Lock()
	var ids []string
	for _, s := range h.token {
		ids = append(ids, s.id)
	}
	h.mu.Unlock()
	writeJSON(w, http.StatusOK, collection(root+"/SessionService/Sessions", "SessionCollection", "Sessions", ids))
	return nil
}

func (h *Handler) deleteSession(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("session")
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, s := range h.token {
		if s.id == id {
			delete(h.token, k)
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	return notFound("session " + id)
}

func readJSON(r *http.Request, v any) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return &fault{http.StatusRequestEntityTooLarge, "Base.1.8.MalformedJSON", "the request body is too large"}
	}
	if err := json.Unmarshal(b, v); err != nil {
		return &fault{http.StatusBadRequest, "Base.1.8.MalformedJSON", "the request body is not valid JSON: " + err.Error()}
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if status == http.StatusOK && w.Header().Get("ETag") == "" {
		sum := sha256.Sum256(b)
		w.Header().Set("ETag", `W/"`+hex.EncodeToString(sum[:8])+`"`)
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

func ref(id string) object { return object{"@odata.id": id} }

func collection(path, typ, name string, ids []string) object {
	members := make([]object, 0, len(ids))
	for _, id := range ids {
		members = append(members, ref(path+"/"+id))
	}
	return object{"@odata.id": path, "@odata.type": "#" + typ + "." + typ, "Name": name, "Members": members, "Members@odata.count": len(members)}
}
