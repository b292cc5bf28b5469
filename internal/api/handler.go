// Package api is what every OpenStack API of the undercloud shares: the route
// table with its policies, faults, request ids, body limits, microversions,
// paging.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sort"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/auth/policy"
	"github.com/tripleo/tripleo/internal/store"
)

// Policy says who may call a route. It is checked before the handler runs.
type Policy int

// Policies. Unset is a programming error that NewHandler refuses.
const (
	Unset         Policy = iota
	Public               // no token needed; a valid one is recognised
	Authenticated        // any valid token
	StackUser            // as Reader, or role heat_stack_user: a machine that acts for its resource
	Reader               // role reader, member, admin or service
	StackMember          // as Member, or role heat_stack_user
	Member               // role member, admin or service
	Service              // role service or admin
	Admin                // role admin
)

func (p Policy) allows(id *auth.Identity) bool {
	switch p {
	case Public, Authenticated:
		return true
	case StackUser:
		return id.HasRole("reader", "member", "admin", "service", "heat_stack_user")
	case Reader:
		return id.HasRole("reader", "member", "admin", "service")
	case StackMember:
		return id.HasRole("member", "admin", "service", "heat_stack_user")
	case Member:
		return id.HasRole("member", "admin", "service")
	case Service:
		return id.HasRole("service", "admin")
	case Admin:
		return id.IsAdmin()
	default:
		return false
	}
}

// Route is one line of a service's contents page. It has a Policy, or an
// Action that the service's rules decide on, or both.
type Route struct {
	Method  string
	Pattern string // http.ServeMux pattern without method, e.g. "/v1/nodes/{node}"
	Policy  Policy
	Action  string                                       // e.g. "identity:get_user"; "" is decided by Policy alone
	Target  func(r *http.Request) (policy.Target, error) // what Action is about; nil: nothing
	Since   string                                       // the microversion that brought it; "" is always
	Handler func(w http.ResponseWriter, r *http.Request) error
}

// Fault is an error on its way to the client.
type Fault struct {
	Status    int
	Message   string
	RequestID string
	Err       *Error
}

// FaultFunc writes a fault in the envelope of one service.
type FaultFunc func(w http.ResponseWriter, r *http.Request, f Fault)

// HandlerOptions configure NewHandler.
type HandlerOptions struct {
	Service  string // OpenStack service type, for logs
	Routes   []Route
	Auth     auth.Validator
	Rules    *policy.Enforcer // for routes with an Action
	Log      *slog.Logger
	Fault    FaultFunc
	MaxBody  int64          // bytes; 0 means 4 MiB, negative means unlimited
	Versions *Microversions // nil: the service has none
}

const defaultMaxBody = 4 << 20

// NewHandler builds the handler of a service from its route table. It panics
// on a route without policy or handler: that is a mistake in the program.
func NewHandler(o HandlerOptions) http.Handler {
	if o.MaxBody == 0 {
		o.MaxBody = defaultMaxBody
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	methods := map[string]map[string]bool{}
	for _, route := range o.Routes {
		if route.Action != "" && (o.Rules == nil || !o.Rules.Has(route.Action)) {
			panic("api: route " + route.Method + " " + route.Pattern + " has an action without a rule: " + route.Action)
		}
		if route.Action != "" && route.Policy == Unset {
			route.Policy = Authenticated
		}
		if route.Policy == Unset || route.Handler == nil {
			panic("api: route " + route.Method + " " + route.Pattern + " has no policy or no handler")
		}
		mux.Handle(route.Method+" "+route.Pattern, &endpoint{route: route, o: &o})
		if methods[route.Pattern] == nil {
			methods[route.Pattern] = map[string]bool{}
		}
		methods[route.Pattern][route.Method] = true
	}
	return &root{mux: mux, o: &o}
}

// root sets the request id, recovers panics and answers unknown paths and
// methods with the service's own fault.
type root struct {
	mux *http.ServeMux
	o   *HandlerOptions
}

type requestIDKey struct{}

// RequestID returns the id of the current request ("req-…").
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func (h *root) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := "req-" + uuid.NewString()
	w.Header().Set("X-Openstack-Request-Id", id)
	ctx := context.WithValue(r.Context(), requestIDKey{}, id)
	if r.Method == http.MethodDelete {
		ctx = store.Freeing(ctx)
	}
	r = r.WithContext(ctx)
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // the documented sentinel, compared as net/http does
				panic(p)
			}
			h.o.Log.Error("handler panicked", "service", h.o.Service, "request_id", id, "panic", p, "stack", string(debug.Stack()))
			h.o.fail(w, r, errors.New("panic"))
		}
	}()
	if r.URL.Path == "" { // a stripped prefix
		r.URL.Path = "/"
	}
	handler, pattern := h.mux.Handler(r)
	if pattern == "" {
		h.notRouted(w, r)
		return
	}
	_ = handler
	h.mux.ServeHTTP(w, r)
}

func (h *root) notRouted(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := h.mux.Handler(probe); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 {
		h.o.fail(w, r, NotFound("The resource could not be found."))
		return
	}
	sort.Strings(allowed)
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	h.o.fail(w, r, &Error{Kind: KindMethodNotAllowed, Message: "The method is not allowed for this resource."})
}

type endpoint struct {
	route Route
	o     *HandlerOptions
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e.o.MaxBody > 0 && r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, e.o.MaxBody)
	}
	if err := e.serve(w, r); err != nil {
		e.o.fail(w, r, err)
	}
}

func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) error {
	r, err := e.authenticate(r)
	if err != nil {
		return err
	}
	if e.o.Versions != nil {
		version, err := e.o.Versions.negotiate(w, r)
		if err != nil {
			return err
		}
		if e.route.Since != "" && !versionAtLeast(version, e.route.Since) {
			return NotFound("The resource could not be found.")
		}
		r = r.WithContext(context.WithValue(r.Context(), versionKey{}, version))
	}
	if err := e.enforce(r); err != nil {
		return err
	}
	return e.route.Handler(w, r)
}

// enforce asks the rules. A target that does not exist (a Target with the error
// not found) has no attributes: who may do the action to any gets to hear that
// it is missing, others do not.
func (e *endpoint) enforce(r *http.Request) error {
	if e.route.Action == "" {
		return nil
	}
	id, ok := auth.FromContext(r.Context())
	if !ok {
		return Unauthorized("The request you have made requires authentication.")
	}
	var target policy.Target
	if e.route.Target != nil {
		var err error
		if target, err = e.route.Target(r); err != nil && (target == nil || asError(err).Kind != KindNotFound) {
			return err
		}
	}
	if !e.o.Rules.Allows(e.route.Action, id, target) {
		return Forbidden("You are not authorized to perform the requested action: %s.", e.route.Action)
	}
	return nil
}

func (e *endpoint) authenticate(r *http.Request) (*http.Request, error) {
	token := r.Header.Get("X-Auth-Token")
	if token == "" {
		if e.route.Policy == Public {
			return r, nil
		}
		return nil, Unauthorized("The request you have made requires authentication.")
	}
	id, err := e.o.Auth.Validate(r.Context(), token)
	if err != nil {
		if e.route.Policy == Public {
			return r, nil
		}
		return nil, Unauthorized("The request you have made requires authentication.").Wrap(err)
	}
	if !e.route.Policy.allows(id) || !id.MayRequest(e.o.Service, r.Method, r.URL.Path) {
		return nil, Forbidden("You are not authorized to perform the requested action.")
	}
	return r.WithContext(auth.NewContext(r.Context(), id)), nil
}

// fail writes err as the service's fault and logs what the client is not told.
func (o *HandlerOptions) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	id := RequestID(r.Context())
	if e.Kind == KindInternal && r.Context().Err() == nil {
		o.Log.Error("request failed", "service", o.Service, "method", r.Method, "path", r.URL.Path, "request_id", id, "error", err)
	} else {
		o.Log.Debug("request refused", "service", o.Service, "method", r.Method, "path", r.URL.Path, "request_id", id, "error", err)
	}
	f := Fault{Status: e.Status(), Message: e.Message, RequestID: id, Err: e}
	if e.Kind == KindInternal {
		f.Message = "internal error; the server's log has more under " + id
	}
	if e.Kind == KindUnauthorized {
		w.Header().Set("Www-Authenticate", "Keystone uri=\""+BaseURL(r)+"\"")
	}
	o.Fault(w, r, f)
}

// BaseURL returns scheme and host as the client addressed them.
func BaseURL(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// TimeFormat is how most OpenStack APIs write times (UTC).
const TimeFormat = "2006-01-02T15:04:05Z"

// FormatTime writes t for JSON: nil for the zero time.
func FormatTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(TimeFormat)
}
