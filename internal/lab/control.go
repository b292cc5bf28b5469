package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/vswitch"
)

// The control API: JSON over HTTP on the unix socket lab.sock. It is for the
// command line and tests; the undercloud uses the BMCs.

// SocketPath is where the lab in dir listens.
func SocketPath(dir string) string { return filepath.Join(dir, "lab.sock") }

// Status describes a running lab.
type Status struct {
	Name, Backend, Dir string
	PID                int
	// Namespace is the network namespace of the undercloud's port; empty in the simulation.
	Namespace   string
	NodeURL     string
	Instackenv  string
	Provisioned int
	Machines    []MachineStatus
}

// MachineStatus describes one machine.
type MachineStatus struct {
	Name, Profile, UUID, MAC, Namespace string
	Firmware                            string
	PMType, PMAddress                   string
	// Native and Tagged are the VLANs of the machine's port of the switch; empty in the simulation.
	Native         uint16
	Tagged         []uint16
	PoweredOn      bool
	Phase, Detail  string
	Since          time.Time
	Boots          int
	BootDevice     bmc.BootDevice
	BootPersistent bool
	Faults         []machine.Fault
}

func (u *unit) status() MachineStatus {
	st := u.machine.Status()
	n := u.node
	ms := MachineStatus{
		Name: n.Name, Profile: n.Profile, UUID: n.Info.UUID, MAC: n.MAC.String(), Namespace: n.Namespace, PMType: n.PMType,
		PoweredOn: st.PoweredOn, Phase: st.Phase, Detail: st.Detail, Since: st.Since, Boots: st.Boots,
		BootDevice: st.Boot.Device, BootPersistent: st.Boot.Persistent, Faults: st.Faults, Firmware: n.Firmware,
	}
	if u.port != nil {
		mode := u.port.Mode()
		ms.Native, ms.Tagged = mode.Native, mode.Tagged
	}
	if n.PMType == "redfish" {
		ms.PMAddress = n.RedfishURL()
	} else {
		ms.PMAddress = fmt.Sprintf("%s:%d", n.BMCAddress, n.IPMIPort)
	}
	return ms
}

type apiError struct {
	status int
	msg    string
}

func (e *apiError) Error() string { return e.msg }

const maxControlBody = 64 << 10

func (s *server) listenControl() error {
	path := SocketPath(s.rec.Config.Dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("control socket: %w", err)
	}
	l, err := net.Listen("unix", path) //nolint:noctx // lives as long as the lab
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, fileMode); err != nil {
		return errors.Join(fmt.Errorf("control socket: %w", err), l.Close())
	}
	mux := http.NewServeMux()
	handle := func(pattern string, f func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxControlBody)
			if err := f(w, r); err != nil {
				status := http.StatusInternalServerError
				var ae *apiError
				if errors.As(err, &ae) {
					status = ae.status
				}
				reply(w, status, map[string]string{"error": err.Error()})
			}
		})
	}
	handle("GET /v1/status", s.getStatus)
	handle("POST /v1/shutdown", s.postShutdown)
	handle("POST /v1/machines/{name}/power", s.unitHandler(s.postPower))
	handle("PUT /v1/machines/{name}/faults/{fault}", s.unitHandler(s.putFault))
	handle("DELETE /v1/machines/{name}/faults/{fault}", s.unitHandler(s.putFault))
	handle("PUT /v1/machines/{name}/port", s.unitHandler(s.putPort))
	handle("GET /v1/machines/{name}/console", s.unitHandler(s.getConsole))
	handle("POST /v1/machines/{name}/console", s.unitHandler(s.postConsole))
	s.serveHTTP(l, mux)
	return nil
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (s *server) unitHandler(f func(http.ResponseWriter, *http.Request, *unit) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		u, ok := s.byID[r.PathValue("name")]
		if !ok {
			return &apiError{http.StatusNotFound, fmt.Sprintf("no machine %q in this lab", r.PathValue("name"))}
		}
		return f(w, r, u)
	}
}

func (s *server) getStatus(w http.ResponseWriter, _ *http.Request) error {
	c := s.rec.Config
	st := Status{Name: c.Name, Backend: c.Backend, Dir: c.Dir, PID: os.Getpid(), NodeURL: c.NodeURL, Instackenv: InstackenvPath(c.Dir)}
	if c.real() {
		st.Namespace = c.Name
	}
	for _, u := range s.units {
		st.Machines = append(st.Machines, u.status())
	}
	reply(w, http.StatusOK, st)
	return nil
}

func (s *server) postShutdown(w http.ResponseWriter, _ *http.Request) error {
	reply(w, http.StatusAccepted, map[string]string{})
	s.stop()
	return nil
}

func (s *server) postPower(w http.ResponseWriter, r *http.Request, u *unit) error {
	var in struct{ Action string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return &apiError{http.StatusBadRequest, "want {\"Action\": ...}: " + err.Error()}
	}
	a, err := bmc.ParseAction(in.Action)
	if err != nil {
		return &apiError{http.StatusBadRequest, err.Error()}
	}
	if err := u.machine.Power(a); err != nil {
		return &apiError{http.StatusConflict, err.Error()}
	}
	reply(w, http.StatusAccepted, u.status())
	return nil
}

func (s *server) putFault(w http.ResponseWriter, r *http.Request, u *unit) error {
	f, err := machine.ParseFault(r.PathValue("fault"))
	if err != nil {
		return &apiError{http.StatusBadRequest, err.Error()}
	}
	on := r.Method == http.MethodPut
	if err := u.breakHardware(f, on); err != nil {
		return err
	}
	u.machine.SetFault(f, on)
	reply(w, http.StatusOK, u.status())
	return nil
}

// What a bad cable does: enough to be felt, not enough to stop everything.
const (
	lossRate  = 0.1
	slowBytes = 128 << 10 // a second
)

// breakHardware does what a fault needs besides the mainboard's knowing of it.
func (u *unit) breakHardware(f machine.Fault, on bool) error {
	switch f {
	case machine.LinkDown, machine.LinkSlow, machine.LinkLossy:
		if u.port == nil {
			return &apiError{http.StatusBadRequest, "a simulated machine has no cable"}
		}
		if f == machine.LinkDown {
			u.port.SetLink(!on)
			return nil
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if f == machine.LinkSlow {
			u.damage.BytesPerSecond = 0
			if on {
				u.damage.BytesPerSecond = slowBytes
			}
		} else {
			u.damage.Loss = 0
			if on {
				u.damage.Loss = lossRate
			}
		}
		u.port.Damage(u.damage)
	case machine.DiskBad:
		if u.badDisk == nil {
			return &apiError{http.StatusBadRequest, "a simulated machine has no disk that could fail; see --sim-failures"}
		}
		return u.badDisk(on)
	}
	return nil
}

// putPort moves a machine's cable to other VLANs of the switch.
func (s *server) putPort(w http.ResponseWriter, r *http.Request, u *unit) error {
	if u.port == nil {
		return &apiError{http.StatusBadRequest, "a simulated machine has no cable"}
	}
	var in vswitch.Mode
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return &apiError{http.StatusBadRequest, "want {\"Native\": ..., \"Tagged\": [...]}: " + err.Error()}
	}
	if err := u.port.SetMode(in); err != nil {
		return &apiError{http.StatusBadRequest, err.Error()}
	}
	reply(w, http.StatusOK, u.status())
	return nil
}

func (s *server) getConsole(w http.ResponseWriter, r *http.Request, u *unit) error {
	if u.console == nil {
		return &apiError{http.StatusNotFound, "a simulated machine has no console"}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rc := http.NewResponseController(w)
	// The client is gone, or the lab: nobody to tell.
	_ = u.console.copyTo(r.Context(), w, r.URL.Query().Get("follow") == "true", func() { _ = rc.Flush() })
	return nil
}

func (s *server) postConsole(w http.ResponseWriter, r *http.Request, u *unit) error {
	if u.input == nil {
		return &apiError{http.StatusNotFound, "a simulated machine has no console"}
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return &apiError{http.StatusBadRequest, err.Error()}
	}
	if err := u.input(b); err != nil {
		return &apiError{http.StatusConflict, err.Error()}
	}
	reply(w, http.StatusOK, map[string]int{"Written": len(b)})
	return nil
}
