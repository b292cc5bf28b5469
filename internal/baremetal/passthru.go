package baremetal

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
)

// vendorMethod is a method of a vendor interface.
type vendorMethod struct {
	http        []string
	async       bool
	description string
	run         func(ctx context.Context, m drivers.Machine, args map[string]any) (any, error)
}

// vendorMethods lists what a vendor interface has. Names and arguments are
// those of Ironic's drivers.
func vendorMethods(iface string) map[string]vendorMethod {
	post := []string{http.MethodPost}
	reset := func(ctx context.Context, m drivers.Machine, args map[string]any) (any, error) {
		warm := true
		if v, ok := args["warm"]; ok {
			var err error
			if warm, err = wantBool("warm", v); err != nil {
				return nil, err
			}
		}
		return nil, drivers.Ask(ctx, m, "reset of the controller", func(ctx context.Context, r drivers.Resettable) error {
			return r.ResetController(ctx, warm)
		})
	}
	switch iface {
	case "ipmitool":
		return map[string]vendorMethod{
			"send_raw":  {post, true, "Send raw bytes to the BMC. Required argument: \"raw_bytes\" - a string of raw bytes (e.g. '0x00 0x01').", sendRaw},
			"bmc_reset": {post, true, "Reset the BMC. Required argument: \"warm\" (Boolean) - for warm (True) or cold (False) reset.", reset},
		}
	case "redfish":
		return map[string]vendorMethod{
			"bmc_reset": {post, true, "Restart the manager of the system. Optional argument: \"warm\" (Boolean) - gracefully (True, the default) or by force (False).", reset},
		}
	case "fake":
		echo := func(_ context.Context, _ drivers.Machine, args map[string]any) (any, error) {
			bar, _ := args["bar"].(string)
			if bar == "" {
				return nil, api.Invalid("bar is missing")
			}
			return bar == "baz", nil
		}
		return map[string]vendorMethod{
			"first_method":  {post, true, "Test if the value of bar is baz", echo},
			"second_method": {post, true, "Test if the value of bar is meow", echo},
		}
	default:
		return nil
	}
}

const maxRawBytes = 255

// rawBytes reads "0x00 0x01 …" or "00 01 …": network function, command, data.
func rawBytes(v any) ([]byte, error) {
	s, _ := v.(string)
	var out []byte
	for f := range strings.FieldsSeq(strings.ReplaceAll(s, ",", " ")) {
		n, err := strconv.ParseUint(strings.TrimPrefix(f, "0x"), 16, 8)
		if err != nil {
			return nil, api.Invalid("raw_bytes: %q is no byte in hexadecimal", f)
		}
		out = append(out, byte(n))
	}
	if len(out) < 2 || len(out) > maxRawBytes {
		return nil, api.Invalid("raw_bytes has %d bytes, expected 2 to %d: network function, command and data, such as '0x06 0x01'", len(out), maxRawBytes)
	}
	return out, nil
}

func rawCommand(v any) (netFn, cmd uint8, data []byte, err error) {
	b, err := rawBytes(v)
	if err != nil {
		return 0, 0, nil, err
	}
	return b[0], b[1], b[2:], nil
}

func sendRaw(ctx context.Context, m drivers.Machine, args map[string]any) (any, error) {
	netFn, cmd, data, err := rawCommand(args["raw_bytes"])
	if err != nil {
		return nil, err
	}
	return nil, drivers.Ask(ctx, m, "raw command", func(ctx context.Context, r drivers.Raw) error {
		_, err := r.RawCommand(ctx, netFn, cmd, data)
		return err
	})
}

func (s *Service) listPassthru(w http.ResponseWriter, r *http.Request) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	out := map[string]any{}
	for name, m := range vendorMethods(n.Interfaces["vendor"]) {
		out[name] = map[string]any{"http_methods": m.http, "async": m.async, "attach": false, "description": m.description, "require_exclusive_lock": true}
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

// callPassthru serves vendor_passthru/<method> and vendor_passthru?method=….
// Ironic answers 202 to asynchronous methods; here the controller has taken
// the command by then.
func (s *Service) callPassthru(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("method")
	if name == "" {
		name = r.URL.Query().Get("method")
	}
	if name == "" {
		return api.Invalid("Method not specified")
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	args := map[string]any{}
	if len(data) > 0 {
		if err := api.DecodeJSON(data, &args); err != nil {
			return err
		}
	}
	var result any
	async := false
	err = s.onMachine(r, func(ctx context.Context, n *Node, m drivers.Machine) error {
		method, ok := vendorMethods(n.Interfaces["vendor"])[name]
		if !ok {
			return api.Invalid("No handler for method %s: the vendor_interface of node %s is %s", name, n.UUID, n.Interfaces["vendor"])
		}
		if !has(method.http, r.Method) {
			return api.Invalid("The method %s does not support HTTP %s", name, r.Method)
		}
		async = method.async
		result, err = method.run(ctx, m, args)
		return err
	})
	if err != nil {
		return err
	}
	if async {
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	return api.WriteJSON(w, http.StatusOK, result)
}

// listDriverPassthru serves the methods of a driver as such: there are none.
func (s *Service) listDriverPassthru(w http.ResponseWriter, r *http.Request) error {
	if _, ok := drivers.Hardware(r.PathValue("driver")); !ok {
		return driverNotFound(r.PathValue("driver"))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{})
}

func (s *Service) callDriverPassthru(_ http.ResponseWriter, r *http.Request) error {
	if _, ok := drivers.Hardware(r.PathValue("driver")); !ok {
		return driverNotFound(r.PathValue("driver"))
	}
	name := r.PathValue("method")
	if name == "" {
		name = r.URL.Query().Get("method")
	}
	return api.Invalid("No handler for method %q: driver %s has no methods of its own", name, r.PathValue("driver"))
}
