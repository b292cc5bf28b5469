package redfish

import (
	"maps"
	"net/http"

	"github.com/tripleo/tripleo/internal/lab/bmc"
)

// firmware is what a machine's setup screen would show: settings that take
// effect at the next reset, and the locator lights.
type firmware struct {
	attributes, pending map[string]any
	reset               bool // to the factory's settings at the next reset
	secure              bool
	led                 string // of the system and its chassis
}

const registryName = "TripleOLab.v1_0_0"

func factorySettings() map[string]any {
	return map[string]any{"ProcVirtualization": "Enabled", "LogicalProc": "Enabled", "BootRetry": float64(1), "QuietBoot": false, "AssetTag": ""}
}

// registry describes the settings (DSP0268, AttributeRegistry).
func registry() []object {
	enabled := []object{{"ValueName": "Enabled", "ValueDisplayName": "Enabled"}, {"ValueName": "Disabled", "ValueDisplayName": "Disabled"}}
	base := func(name, kind string, more object) object {
		o := object{"AttributeName": name, "DisplayName": name, "Type": kind, "ReadOnly": false, "ResetRequired": true}
		maps.Copy(o, more)
		return o
	}
	return []object{
		base("ProcVirtualization", "Enumeration", object{"Value": enabled}),
		base("LogicalProc", "Enumeration", object{"Value": enabled}),
		base("BootRetry", "Integer", object{"LowerBound": 0, "UpperBound": 10}),
		base("QuietBoot", "Boolean", nil),
		base("AssetTag", "String", object{"MinLength": 0, "MaxLength": 32}),
	}
}

// checkSetting says why the firmware refuses a value.
func checkSetting(name string, v any) error {
	for _, a := range registry() {
		if a["AttributeName"] != name {
			continue
		}
		var ok bool
		switch a["Type"] {
		case "Enumeration":
			ok = v == "Enabled" || v == "Disabled"
		case "Integer":
			n, isNum := v.(float64)
			ok = isNum && n >= 0 && n <= 10 && n == float64(int(n))
		case "Boolean":
			_, ok = v.(bool)
		default:
			s, isText := v.(string)
			ok = isText && len(s) <= 32
		}
		if !ok {
			return invalid("attribute %s does not take the value %v", name, v)
		}
		return nil
	}
	return &fault{http.StatusBadRequest, "Base.1.8.PropertyUnknown", "there is no attribute " + name}
}

// firmwareOf returns a machine's firmware; h.mu is held.
func (h *Handler) firmwareOf(id string) *firmware {
	f := h.firmware[id]
	if f == nil {
		f = &firmware{attributes: factorySettings(), pending: map[string]any{}, led: "Off"}
		h.firmware[id] = f
	}
	return f
}

// restarted applies what was pending: the machine begins its self test.
func (h *Handler) restarted(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.firmwareOf(id)
	if f.reset {
		f.attributes, f.reset = factorySettings(), false
	}
	maps.Copy(f.attributes, f.pending)
	clear(f.pending)
}

func (h *Handler) firmwareRoutes(auth func(pattern string, f handlerFunc)) {
	const system = root + "/Systems/{id}"
	auth("GET "+system+"/Bios", h.system(h.getBIOS))
	auth("GET "+system+"/Bios/Settings", h.system(h.getBIOSSettings))
	auth("PATCH "+system+"/Bios/Settings", h.system(h.patchBIOSSettings))
	auth("POST "+system+"/Bios/Actions/Bios.ResetBios", h.system(h.resetBIOS))
	auth("GET "+system+"/SecureBoot", h.system(h.getSecureBoot))
	auth("PATCH "+system+"/SecureBoot", h.system(h.patchSecureBoot))
	auth("PATCH "+root+"/Chassis/{id}", h.system(h.patchChassis))
	auth("GET "+root+"/Registries", h.listRegistries)
	auth("GET "+root+"/Registries/"+registryName, h.getRegistry)
	auth("GET "+root+"/Registries/"+registryName+"/"+registryName+".json", h.getRegistryFile)
}

func (h *Handler) getBIOS(w http.ResponseWriter, _ *http.Request, id string, _ bmc.System) error {
	h.mu.Lock()
	attributes := maps.Clone(h.firmwareOf(id).attributes)
	h.mu.Unlock()
	path := root + "/Systems/" + id + "/Bios"
	writeJSON(w, http.StatusOK, object{
		"@odata.id": path, "@odata.type": "#Bios.v1_1_0.Bios", "Id": "Bios", "Name": "BIOS Configuration Current Settings",
		"AttributeRegistry": registryName, "Attributes": attributes,
		"@Redfish.Settings": object{"@odata.type": "#Settings.v1_3_0.Settings", "SettingsObject": ref(path + "/Settings"), "SupportedApplyTimes": []string{"OnReset"}},
		"Actions":           object{"#Bios.ResetBios": object{"target": path + "/Actions/Bios.ResetBios"}},
	})
	return nil
}

func (h *Handler) getBIOSSettings(w http.ResponseWriter, _ *http.Request, id string, _ bmc.System) error {
	h.mu.Lock()
	pending := maps.Clone(h.firmwareOf(id).pending)
	h.mu.Unlock()
	writeJSON(w, http.StatusOK, object{"@odata.id": root + "/Systems/" + id + "/Bios/Settings", "@odata.type": "#Bios.v1_1_0.Bios", "Id": "Settings",
		"Name": "BIOS Configuration Pending Settings", "AttributeRegistry": registryName, "Attributes": pending})
	return nil
}

func (h *Handler) patchBIOSSettings(w http.ResponseWriter, r *http.Request, id string, sys bmc.System) error {
	var in struct{ Attributes map[string]any }
	if err := readJSON(r, &in); err != nil {
		return err
	}
	for name, v := range in.Attributes {
		if err := checkSetting(name, v); err != nil {
			return err
		}
	}
	h.mu.Lock()
	maps.Copy(h.firmwareOf(id).pending, in.Attributes)
	h.mu.Unlock()
	return h.getBIOSSettings(w, r, id, sys)
}

func (h *Handler) resetBIOS(w http.ResponseWriter, _ *http.Request, id string, _ bmc.System) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.firmwareOf(id).reset = true
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) getSecureBoot(w http.ResponseWriter, _ *http.Request, id string, _ bmc.System) error {
	h.mu.Lock()
	secure := h.firmwareOf(id).secure
	h.mu.Unlock()
	current := "Disabled"
	if secure {
		current = "Enabled"
	}
	writeJSON(w, http.StatusOK, object{"@odata.id": root + "/Systems/" + id + "/SecureBoot", "@odata.type": "#SecureBoot.v1_1_0.SecureBoot", "Id": "SecureBoot",
		"Name": "UEFI Secure Boot", "SecureBootEnable": secure, "SecureBootCurrentBoot": current, "SecureBootMode": "UserMode"})
	return nil
}

func (h *Handler) patchSecureBoot(w http.ResponseWriter, r *http.Request, id string, sys bmc.System) error {
	var in struct{ SecureBootEnable *bool }
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.SecureBootEnable == nil {
		return invalid("SecureBootEnable is missing")
	}
	if *in.SecureBootEnable && !sys.Boot().UEFI {
		return &fault{http.StatusConflict, "Base.1.8.ActionNotSupported", "Secure Boot needs the boot mode UEFI"}
	}
	h.mu.Lock()
	h.firmwareOf(id).secure = *in.SecureBootEnable
	h.mu.Unlock()
	return h.getSecureBoot(w, r, id, sys)
}

// light reads and sets the locator light.
func (h *Handler) light(id string, set *string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.firmwareOf(id)
	if set != nil {
		if *set != "Lit" && *set != "Blinking" && *set != "Off" {
			return "", invalid("IndicatorLED %q is not one of Lit, Blinking, Off", *set)
		}
		f.led = *set
	}
	return f.led, nil
}

func (h *Handler) patchChassis(w http.ResponseWriter, r *http.Request, id string, sys bmc.System) error {
	var in struct{ IndicatorLED *string }
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.IndicatorLED == nil {
		return &fault{http.StatusBadRequest, "Base.1.8.PropertyNotWritable", "only IndicatorLED can be changed"}
	}
	if _, err := h.light(id, in.IndicatorLED); err != nil {
		return err
	}
	return h.getChassis(w, r, id, sys)
}

func (h *Handler) listRegistries(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, collection(root+"/Registries", "MessageRegistryFileCollection", "Registry File Collection", []string{registryName}))
	return nil
}

func (h *Handler) getRegistry(w http.ResponseWriter, _ *http.Request) error {
	path := root + "/Registries/" + registryName
	writeJSON(w, http.StatusOK, object{"@odata.id": path, "@odata.type": "#MessageRegistryFile.v1_1_3.MessageRegistryFile", "Id": registryName, "Name": "BIOS attributes",
		"Languages": []string{"en"}, "Registry": registryName, "Location": []object{{"Language": "en", "Uri": path + "/" + registryName + ".json"}}})
	return nil
}

func (h *Handler) getRegistryFile(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, object{"@odata.type": "#AttributeRegistry.v1_3_6.AttributeRegistry", "Id": registryName, "Name": "BIOS attributes", "Language": "en",
		"OwningEntity": "tripleo", "RegistryVersion": "1.0.0", "RegistryEntries": object{"Attributes": registry()}})
	return nil
}
