package redfish

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/tripleo/tripleo/internal/lab/bmc"
)

// resetTypes maps ResetType (DSP0268, ComputerSystem) to what a BMC does.
var resetTypes = map[string]bmc.Action{
	"On": bmc.On, "ForceOn": bmc.On, "ForceOff": bmc.Off, "GracefulShutdown": bmc.Soft,
	"ForceRestart": bmc.Reset, "GracefulRestart": bmc.Reset, "PowerCycle": bmc.Cycle, "PushPowerButton": bmc.Soft, "Nmi": bmc.NMI,
}

func resetTypeNames() []string {
	names := make([]string, 0, len(resetTypes))
	for n := range resetTypes {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Boot targets (DSP0268, Boot.BootSourceOverrideTarget) and our devices.
var bootTargets = map[string]bmc.BootDevice{"None": bmc.NoDevice, "Pxe": bmc.PXE, "Hdd": bmc.Disk, "Cd": bmc.CDROM, "UefiHttp": bmc.HTTP, "BiosSetup": bmc.Setup}

func bootTargetOf(d bmc.BootDevice) string {
	for name, dev := range bootTargets {
		if dev == d {
			return name
		}
	}
	return "None"
}

var health = object{"State": "Enabled", "Health": "OK"}

func (h *Handler) ids() []string {
	ids := make([]string, 0, len(h.o.Systems))
	for _, e := range h.o.Systems {
		ids = append(ids, e.ID)
	}
	return ids
}

func (h *Handler) versions(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, object{"v1": root + "/"})
	return nil
}

func (h *Handler) odata(w http.ResponseWriter, _ *http.Request) error {
	var value []object
	for _, name := range []string{"Systems", "Managers", "Chassis", "SessionService"} {
		value = append(value, object{"name": name, "kind": "Singleton", "url": root + "/" + name})
	}
	writeJSON(w, http.StatusOK, object{"@odata.context": root + "/$metadata", "value": value})
	return nil
}

// metadata is the service's OData metadata document (DSP0266 8.4.2): references to the schemas of what is served.
func (h *Handler) metadata(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/xml")
	_, err := io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?>
<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0">
  <edmx:Reference Uri="http://redfish.dmtf.org/schemas/v1/ServiceRoot_v1.xml"><edmx:Include Namespace="ServiceRoot"/><edmx:Include Namespace="ServiceRoot.v1_9_0"/></edmx:Reference>
  <edmx:Reference Uri="http://redfish.dmtf.org/schemas/v1/ComputerSystem_v1.xml"><edmx:Include Namespace="ComputerSystem"/><edmx:Include Namespace="ComputerSystem.v1_16_0"/></edmx:Reference>
  <edmx:Reference Uri="http://redfish.dmtf.org/schemas/v1/Manager_v1.xml"><edmx:Include Namespace="Manager"/><edmx:Include Namespace="Manager.v1_10_0"/></edmx:Reference>
  <edmx:Reference Uri="http://redfish.dmtf.org/schemas/v1/Chassis_v1.xml"><edmx:Include Namespace="Chassis"/><edmx:Include Namespace="Chassis.v1_14_0"/></edmx:Reference>
  <edmx:Reference Uri="http://redfish.dmtf.org/schemas/v1/VirtualMedia_v1.xml"><edmx:Include Namespace="VirtualMedia"/><edmx:Include Namespace="VirtualMedia.v1_6_0"/></edmx:Reference>
  <edmx:DataServices>
    <Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="Service">
      <EntityContainer Name="Service" Extends="ServiceRoot.v1_9_0.ServiceContainer"/>
    </Schema>
  </edmx:DataServices>
</edmx:Edmx>
`)
	return err
}

func (h *Handler) serviceRoot(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, object{
		"@odata.id": root + "/", "@odata.type": "#ServiceRoot.v1_9_0.ServiceRoot",
		"Id": "RootService", "Name": "Root Service", "RedfishVersion": "1.11.0", "UUID": h.o.UUID,
		"Product": "tripleo lab", "Vendor": "tripleo",
		"ProtocolFeaturesSupported": object{"ExpandQuery": object{"NoLinks": false, "ExpandAll": false, "Links": false, "Levels": false}, "SelectQuery": false},
		"Systems":                   ref(root + "/Systems"), "Managers": ref(root + "/Managers"), "Chassis": ref(root + "/Chassis"),
		"SessionService": ref(root + "/SessionService"),
		"Registries":     ref(root + "/Registries"),
		"Links":          object{"Sessions": ref(root + "/SessionService/Sessions")},
	})
	return nil
}

func (h *Handler) sessionService(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, object{
		"@odata.id": root + "/SessionService", "@odata.type": "#SessionService.v1_1_8.SessionService",
		"Id": "SessionService", "Name": "Session Service", "ServiceEnabled": true, "SessionTimeout": int(sessionIdle.Seconds()),
		"Status": health, "Sessions": ref(root + "/SessionService/Sessions"),
	})
	return nil
}

func (h *Handler) listSystems(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, collection(root+"/Systems", "ComputerSystemCollection", "Computer System Collection", h.ids()))
	return nil
}

func (h *Handler) listManagers(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, collection(root+"/Managers", "ManagerCollection", "Manager Collection", h.ids()))
	return nil
}

func (h *Handler) listChassis(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, collection(root+"/Chassis", "ChassisCollection", "Chassis Collection", h.ids()))
	return nil
}

func powerState(sys bmc.System) string {
	if sys.PoweredOn() {
		return "On"
	}
	return "Off"
}

func bootObject(b bmc.BootOverride) object {
	enabled := "Once"
	switch {
	case b.Device == bmc.NoDevice:
		enabled = "Disabled"
	case b.Persistent:
		enabled = "Continuous"
	}
	mode := "Legacy"
	if b.UEFI {
		mode = "UEFI"
	}
	return object{
		"BootSourceOverrideEnabled": enabled, "BootSourceOverrideMode": mode, "BootSourceOverrideTarget": bootTargetOf(b.Device),
		"BootSourceOverrideTarget@Redfish.AllowableValues": []string{"None", "Pxe", "Hdd", "Cd", "UefiHttp"},
		"BootSourceOverrideMode@Redfish.AllowableValues":   []string{"Legacy", "UEFI"},
	}
}

func systemObject(id, led string, sys bmc.System) object {
	info, path := sys.Info(), root+"/Systems/"+id
	o := object{
		"@odata.id": path, "@odata.type": "#ComputerSystem.v1_16_0.ComputerSystem",
		"Id": id, "Name": info.Name, "SystemType": "Physical", "UUID": info.UUID,
		"Manufacturer": info.Manufacturer, "Model": info.Product, "SerialNumber": info.Serial, "SKU": info.Product, "AssetTag": "", "PartNumber": "",
		"BiosVersion": info.BIOSVersion, "HostName": "", "IndicatorLED": led, "PowerState": powerState(sys), "Status": health,
		"Boot":               bootObject(sys.Boot()),
		"ProcessorSummary":   object{"Count": info.CPUs, "Model": info.CPUModel, "Status": health},
		"MemorySummary":      object{"TotalSystemMemoryGiB": float64(info.MemoryMiB) / 1024, "Status": health},
		"EthernetInterfaces": ref(path + "/EthernetInterfaces"), "Processors": ref(path + "/Processors"),
		"Memory": ref(path + "/Memory"), "SimpleStorage": ref(path + "/SimpleStorage"),
		"Bios": ref(path + "/Bios"), "SecureBoot": ref(path + "/SecureBoot"),
		"Links": object{"Chassis": []object{ref(root + "/Chassis/" + id)}, "ManagedBy": []object{ref(root + "/Managers/" + id)}},
		"Actions": object{"#ComputerSystem.Reset": object{
			"target": path + "/Actions/ComputerSystem.Reset", "ResetType@Redfish.AllowableValues": resetTypeNames(),
		}},
	}
	if driveOf(sys) != nil {
		o["VirtualMedia"] = ref(path + "/VirtualMedia")
	}
	return o
}

// etag is a strong validator of what a client may change with PATCH: the power
// state and counters move by themselves and must not fail a conditional PATCH.
func etag(sys bmc.System) (string, error) {
	b, err := json.Marshal(bootObject(sys.Boot()))
	if err != nil {
		return "", fmt.Errorf("etag: %w", err)
	}
	sum := sha256.Sum256(b)
	return `"` + hex.EncodeToString(sum[:8]) + `"`, nil
}

func (h *Handler) getSystem(w http.ResponseWriter, _ *http.Request, id string, sys bmc.System) error {
	tag, err := etag(sys)
	if err != nil {
		return err
	}
	led, err := h.light(id, nil)
	if err != nil {
		return err
	}
	obj := systemObject(id, led, sys)
	obj["@odata.etag"] = tag
	w.Header().Set("ETag", tag)
	writeJSON(w, http.StatusOK, obj)
	return nil
}

// patchSystem sets the boot override; properties that are absent keep their value.
func (h *Handler) patchSystem(w http.ResponseWriter, r *http.Request, id string, sys bmc.System) error {
	tag, err := etag(sys)
	if err != nil {
		return err
	}
	if m := r.Header.Get("If-Match"); m != "" && m != "*" && m != tag {
		return &fault{http.StatusPreconditionFailed, "Base.1.8.PreconditionFailed", "the resource has changed since that ETag"}
	}
	var in struct {
		IndicatorLED *string
		Boot         *struct {
			Target  *string `json:"BootSourceOverrideTarget"`
			Enabled *string `json:"BootSourceOverrideEnabled"`
			Mode    *string `json:"BootSourceOverrideMode"`
		}
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.Boot == nil && in.IndicatorLED == nil {
		return &fault{http.StatusBadRequest, "Base.1.8.PropertyNotWritable", "only Boot and IndicatorLED can be changed"}
	}
	if _, err := h.light(id, in.IndicatorLED); err != nil {
		return err
	}
	if in.Boot == nil {
		return h.getSystem(w, r, id, sys)
	}
	b := sys.Boot()
	if t := in.Boot.Target; t != nil {
		dev, ok := bootTargets[*t]
		if !ok {
			return invalid("BootSourceOverrideTarget %q is not one of None, Pxe, Hdd", *t)
		}
		b.Device = dev
	}
	if e := in.Boot.Enabled; e != nil {
		switch *e {
		case "Disabled":
			b.Device, b.Persistent = bmc.NoDevice, false
		case "Once":
			b.Persistent = false
		case "Continuous":
			b.Persistent = true
		default:
			return invalid("BootSourceOverrideEnabled %q is not one of Disabled, Once, Continuous", *e)
		}
	}
	if m := in.Boot.Mode; m != nil {
		if *m != "Legacy" && *m != "UEFI" {
			return invalid("BootSourceOverrideMode %q is not one of Legacy, UEFI", *m)
		}
		b.UEFI = *m == "UEFI"
	}
	if err := sys.SetBoot(b); err != nil {
		return invalid("%v", err)
	}
	return h.getSystem(w, r, id, sys)
}

func (h *Handler) resetSystem(w http.ResponseWriter, r *http.Request, id string, sys bmc.System) error {
	var in struct{ ResetType string }
	if err := readJSON(r, &in); err != nil {
		return err
	}
	action, ok := resetTypes[in.ResetType]
	if !ok {
		return invalid("ResetType %q is not one of %v", in.ResetType, resetTypeNames())
	}
	if err := sys.Power(action); err != nil {
		if errors.Is(err, bmc.ErrConflict) {
			return &fault{http.StatusConflict, "Base.1.8.ActionNotSupported", err.Error()}
		}
		return fmt.Errorf("power %s: %w", action, err)
	}
	if action == bmc.On || action == bmc.Cycle || action == bmc.Reset {
		h.restarted(id)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) listNICs(w http.ResponseWriter, _ *http.Request, id string, sys bmc.System) error {
	var names []string
	for _, n := range sys.Info().NICs {
		names = append(names, n.Name)
	}
	writeJSON(w, http.StatusOK, collection(root+"/Systems/"+id+"/EthernetInterfaces", "EthernetInterfaceCollection", "Ethernet Interfaces", names))
	return nil
}

func (h *Handler) getNIC(w http.ResponseWriter, r *http.Request, id string, sys bmc.System) error {
	name := r.PathValue("nic")
	for _, n := range sys.Info().NICs {
		if n.Name == name {
			writeJSON(w, http.StatusOK, object{
				"@odata.id": root + "/Systems/" + id + "/EthernetInterfaces/" + name, "@odata.type": "#EthernetInterface.v1_6_0.EthernetInterface",
				"Id": name, "Name": name, "MACAddress": n.MAC, "PermanentMACAddress": n.MAC, "InterfaceEnabled": true, "LinkStatus": "LinkUp", "Status": health,
			})
			return nil
		}
	}
	return notFound("interface " + name)
}

func (h *Handler) listProcessors(w http.ResponseWriter, _ *http.Request, id string, _ bmc.System) error {
	writeJSON(w, http.StatusOK, collection(root+"/Systems/"+id+"/Processors", "ProcessorCollection", "Processors", []string{"CPU0"}))
	return nil
}

func (h *Handler) getProcessor(w http.ResponseWriter, r *http.Request, id string, sys bmc.System) error {
	if c := r.PathValue("cpu"); c != "CPU0" {
		return notFound("processor " + c)
	}
	info := sys.Info()
	writeJSON(w, http.StatusOK, object{
		"@odata.id": root + "/Systems/" + id + "/Processors/CPU0", "@odata.type": "#Processor.v1_10_0.Processor",
		"Id": "CPU0", "Name": "CPU0", "Socket": "CPU0", "ProcessorType": "CPU", "ProcessorArchitecture": "x86", "InstructionSet": "x86-64",
		"Model": info.CPUModel, "TotalCores": info.CPUs, "TotalThreads": info.CPUs, "Status": health,
	})
	return nil
}

func (h *Handler) listMemory(w http.ResponseWriter, _ *http.Request, id string, _ bmc.System) error {
	writeJSON(w, http.StatusOK, collection(root+"/Systems/"+id+"/Memory", "MemoryCollection", "Memory", []string{"DIMM0"}))
	return nil
}

func (h *Handler) getMemory(w http.ResponseWriter, r *http.Request, id string, sys bmc.System) error {
	if d := r.PathValue("dimm"); d != "DIMM0" {
		return notFound("memory " + d)
	}
	writeJSON(w, http.StatusOK, object{
		"@odata.id": root + "/Systems/" + id + "/Memory/DIMM0", "@odata.type": "#Memory.v1_10_0.Memory",
		"Id": "DIMM0", "Name": "DIMM0", "MemoryType": "DRAM", "CapacityMiB": sys.Info().MemoryMiB, "Status": health,
	})
	return nil
}

func (h *Handler) listStorage(w http.ResponseWriter, _ *http.Request, id string, _ bmc.System) error {
	writeJSON(w, http.StatusOK, collection(root+"/Systems/"+id+"/SimpleStorage", "SimpleStorageCollection", "Simple Storage", []string{"0"}))
	return nil
}

func (h *Handler) getStorage(w http.ResponseWriter, r *http.Request, id string, sys bmc.System) error {
	if s := r.PathValue("storage"); s != "0" {
		return notFound("storage " + s)
	}
	writeJSON(w, http.StatusOK, object{
		"@odata.id": root + "/Systems/" + id + "/SimpleStorage/0", "@odata.type": "#SimpleStorage.v1_2_0.SimpleStorage",
		"Id": "0", "Name": "Storage Controller", "Status": health,
		"Devices": []object{{"Name": "sda", "CapacityBytes": sys.Info().DiskBytes, "Status": health}},
	})
	return nil
}

func (h *Handler) getManager(w http.ResponseWriter, _ *http.Request, id string, sys bmc.System) error {
	path := root + "/Managers/" + id
	o := object{
		"@odata.id": path, "@odata.type": "#Manager.v1_10_0.Manager", "Id": id, "Name": "BMC of " + sys.Info().Name,
		"ManagerType": "BMC", "FirmwareVersion": "1.0", "UUID": sys.Info().UUID, "PowerState": "On", "Status": health,
		"DateTime": h.o.Now().UTC().Format("2006-01-02T15:04:05Z"), "DateTimeLocalOffset": "+00:00",
		"Links":   object{"ManagerForServers": []object{ref(root + "/Systems/" + id)}, "ManagerForChassis": []object{ref(root + "/Chassis/" + id)}},
		"Actions": object{"#Manager.Reset": object{"target": path + "/Actions/Manager.Reset", "ResetType@Redfish.AllowableValues": []string{"ForceRestart", "GracefulRestart"}}},
	}
	if driveOf(sys) != nil {
		o["VirtualMedia"] = ref(path + "/VirtualMedia")
	}
	writeJSON(w, http.StatusOK, o)
	return nil
}

// resetManager restarts the BMC: its sessions are gone.
func (h *Handler) resetManager(w http.ResponseWriter, _ *http.Request, _ string, _ bmc.System) error {
	h.mu.Lock()
	clear(h.token)
	h.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) getChassis(w http.ResponseWriter, _ *http.Request, id string, sys bmc.System) error {
	led, err := h.light(id, nil)
	if err != nil {
		return err
	}
	info := sys.Info()
	writeJSON(w, http.StatusOK, object{
		"@odata.id": root + "/Chassis/" + id, "@odata.type": "#Chassis.v1_14_0.Chassis", "Id": id, "Name": info.Name, "ChassisType": "RackMount",
		"Manufacturer": info.Manufacturer, "Model": info.Product, "SerialNumber": info.Serial, "PowerState": powerState(sys), "IndicatorLED": led,
		"Status": health,
		"Links":  object{"ComputerSystems": []object{ref(root + "/Systems/" + id)}, "ManagedBy": []object{ref(root + "/Managers/" + id)}},
	})
	return nil
}
