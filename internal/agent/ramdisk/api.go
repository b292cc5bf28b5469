package ramdisk

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// maxBody bounds a command's JSON, in bytes: a config drive of 64 MiB in base64 with room to spare.
const maxBody = 100 << 20

// handler serves ironic-python-agent's API.
func (a *agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.getRoot)
	mux.HandleFunc("GET /v1", a.getV1)
	mux.HandleFunc("GET /v1/{$}", a.getV1)
	mux.HandleFunc("GET /v1/status", a.getStatus)
	mux.HandleFunc("GET /v1/status/{$}", a.getStatus)
	mux.HandleFunc("GET /v1/commands", a.listCommands)
	mux.HandleFunc("GET /v1/commands/{$}", a.listCommands)
	mux.HandleFunc("GET /v1/commands/{id}", a.getCommand)
	mux.HandleFunc("POST /v1/commands", a.postCommand)
	mux.HandleFunc("POST /v1/commands/{$}", a.postCommand)
	return mux
}

func (a *agent) getRoot(w http.ResponseWriter, _ *http.Request) {
	v1 := map[string]any{"id": "v1", "links": []map[string]string{{"href": a.callbackURL + "/v1", "rel": "self"}}}
	writeJSON(w, http.StatusOK, map[string]any{"name": "OpenStack Ironic Python Agent API",
		"description":     "Ironic Python Agent is a provisioning agent for OpenStack Ironic",
		"default_version": v1, "versions": []any{v1}})
}

func (a *agent) getV1(w http.ResponseWriter, _ *http.Request) {
	link := func(path string) []map[string]string {
		return []map[string]string{{"href": a.callbackURL + path, "rel": "self"}}
	}
	writeJSON(w, http.StatusOK, map[string]any{"id": "v1", "links": link("/v1"),
		"commands": link("/v1/commands"), "status": link("/v1/status"),
		"media_types": []map[string]string{{"base": "application/json", "type": "application/vnd.openstack.ironic-python-agent.v1+json"}}})
}

func (a *agent) getStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"started_at": float64(a.started.UnixMilli()) / 1000, "version": a.o.Version})
}

func (a *agent) listCommands(w http.ResponseWriter, r *http.Request) {
	if !a.allowed(w, r) {
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"commands": a.commands.list()})
}

func (a *agent) getCommand(w http.ResponseWriter, r *http.Request) {
	if !a.allowed(w, r) {
		return
	}
	e := a.commands.find(r.PathValue("id"))
	if e == nil {
		writeError(w, commandErr("RequestedObjectNotFoundError", http.StatusNotFound, "Requested object not found",
			fmt.Errorf("command %s was not found", r.PathValue("id"))))
		return
	}
	if waits(r) {
		a.await(r, e)
	}
	writeJSON(w, http.StatusOK, a.commands.snapshot(e))
}

func (a *agent) postCommand(w http.ResponseWriter, r *http.Request) {
	if !a.allowed(w, r) {
		return
	}
	var body struct {
		Name   string          `json:"name"`
		Params json.RawMessage `json:"params"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&body); err != nil {
		writeError(w, commandErr("InvalidContentError", http.StatusBadRequest, "Invalid request body", err))
		return
	}
	if body.Name == "" {
		writeError(w, commandErr("InvalidContentError", http.StatusBadRequest, "Invalid request body",
			errors.New(`missing command "name" field`)))
		return
	}
	e, err := a.commands.submit(body.Name, body.Params)
	if err != nil {
		writeError(w, asCommandError(err))
		return
	}
	if !e.run.async || waits(r) {
		a.await(r, e)
	}
	writeJSON(w, http.StatusOK, a.commands.snapshot(e))
}

func waits(r *http.Request) bool { return strings.EqualFold(r.URL.Query().Get("wait"), "true") }

// await returns when the command is done or the client is gone.
func (a *agent) await(r *http.Request, e *entry) {
	select {
	case <-e.done:
	case <-r.Context().Done():
	}
}

// allowed checks the token Ironic handed out at lookup. Without one nobody can be told apart, as in releases
// before tokens. The original checks it on POST only; but results, too, are nobody else's business, and a
// client that sends it with one request sends it with all... except old ones, hence GETs without a token pass.
func (a *agent) allowed(w http.ResponseWriter, r *http.Request) bool {
	given := r.URL.Query().Get("agent_token")
	if a.token == "" || subtle.ConstantTimeCompare([]byte(given), []byte(a.token)) == 1 {
		return true
	}
	if r.Method == http.MethodGet && given == "" {
		return true
	}
	writeError(w, commandErr("Unauthorized", http.StatusUnauthorized, "Unauthorized", errors.New("token invalid")))
	return false
}

func writeError(w http.ResponseWriter, e *commandError) { writeJSON(w, e.Code, e) }

// writeJSON writes an answer; a client that is gone has no use for the error.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// clientTimeouts returns an HTTP client for Ironic, the inspector and images. It bounds how long an answer's
// header may take, not how long a body does.
func clientTimeouts(transport *http.Transport) *http.Client {
	transport.ResponseHeaderTimeout = 2 * time.Minute
	return &http.Client{Transport: transport}
}
