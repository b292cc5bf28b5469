package baremetal

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"io"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/store"
)

func (s *Service) getConsole(w http.ResponseWriter, r *http.Request) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	if n.Interfaces["console"] == "no-console" {
		return api.Invalid("Node %s: driver %s does not support the console (console_interface is no-console)", n.UUID, n.Driver)
	}
	out := map[string]any{"console_enabled": n.ConsoleEnabled, "console_info": nil}
	if n.ConsoleEnabled {
		out["console_info"] = map[string]any{"type": "websocket", "url": s.consoleURL(n)}
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

// consoleURL is where the console is: who knows its token may use it.
func (s *Service) consoleURL(n *Node) string {
	return strings.Replace(s.cfg.BaseURL, "http", "ws", 1) + "/v1/nodes/" + n.UUID + "/console?token=" + n.Secrets.ConsoleToken
}

func (s *Service) setConsole(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Enabled any `json:"enabled"`
	}
	if v := r.URL.Query().Get("enabled"); v != "" {
		in.Enabled = v
	} else if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	on, err := wantBool("enabled", in.Enabled)
	if err != nil {
		return err
	}
	n, err := s.mutate(r.Context(), r.PathValue("node"), func(_ *store.Tx, n *Node) error {
		if n.locked() {
			return s.lockedError(n)
		}
		if n.Interfaces["console"] == "no-console" {
			return api.Invalid("Node %s: driver %s does not support the console (console_interface is no-console)", n.UUID, n.Driver)
		}
		if err := drivers.Validate(n.Driver, n.DriverInfo); err != nil {
			return api.Invalid("%s", err.Error())
		}
		n.ConsoleEnabled, n.Secrets.ConsoleToken = on, ""
		if on {
			n.Secrets.ConsoleToken = rand.Text()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.accepted(w, n)
}

// maxConsoleFrame bounds what a client types at once.
const maxConsoleFrame = 64 << 10

// serveConsole carries the serial console over a WebSocket: binary frames of
// bytes both ways, until either side or an operator ends it.
func (s *Service) serveConsole(w http.ResponseWriter, r *http.Request) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	token := n.Secrets.ConsoleToken
	if !n.ConsoleEnabled || token == "" || subtle.ConstantTimeCompare([]byte(token), []byte(r.URL.Query().Get("token"))) != 1 {
		return api.NotFound("The console of node %s is not enabled, or the token is not its token.", n.UUID)
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{"binary"},
		InsecureSkipVerify: true, // the token in the URL authenticates, no cookie: other origins gain nothing
	})
	if err != nil {
		return nil //nolint:nilerr // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }() // after a proper close it does nothing
	conn.SetReadLimit(maxConsoleFrame)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go s.watchConsole(ctx, cancel, n.UUID, token)
	stream := websocket.NetConn(ctx, conn, websocket.MessageBinary)
	if n.Interfaces["console"] == "fake" {
		_, err = io.Copy(stream, stream) // an echo
	} else {
		err = s.drivers.Console(ctx, n.target(), stream, stream)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Info("console ended", "node", n.display(), "error", err)
		_ = conn.Close(websocket.StatusInternalError, "the console was lost")
		return nil
	}
	_ = conn.Close(websocket.StatusNormalClosure, "")
	return nil
}

// watchConsole ends a console that was disabled.
func (s *Service) watchConsole(ctx context.Context, end func(), node, token string) {
	sub := s.cfg.Bus.Subscribe(topic(node))
	defer sub.Close()
	for {
		n, err := s.node(ctx, node)
		if err != nil || n.Secrets.ConsoleToken != token {
			end()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-sub.C():
		}
	}
}
