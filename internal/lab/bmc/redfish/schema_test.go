package redfish_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// schemaRules are the properties that a resource of a type has in any case: those listed as "required" in the DMTF's JSON
// schemas of the version that is served (DSP8010 2023.3, http://redfish.dmtf.org/schemas/v1/). Every resource also has the
// properties of DSP0266 9.5: @odata.id, @odata.type and, unless it is a collection, Id and Name.
func schemaRules() map[string][]string {
	return map[string][]string{
		"AttributeRegistry.v1_3_6":      {"Language", "OwningEntity", "RegistryVersion"},
		"Bios.v1_1_0":                   {},
		"Chassis.v1_14_0":               {"ChassisType"},
		"ComputerSystem.v1_16_0":        {},
		"EthernetInterface.v1_6_0":      {},
		"Manager.v1_10_0":               {},
		"Memory.v1_10_0":                {},
		"MessageRegistryFile.v1_1_3":    {"Languages", "Location", "Registry"},
		"Processor.v1_10_0":             {},
		"SecureBoot.v1_1_0":             {},
		"ServiceRoot.v1_9_0":            {"Links"},
		"Session.v1_3_0":                {},
		"SessionService.v1_1_8":         {},
		"SimpleStorage.v1_2_0":          {},
		"VirtualMedia.v1_6_0":           {},
		"ChassisCollection":             {"Members", "Members@odata.count"},
		"ComputerSystemCollection":      {"Members", "Members@odata.count"},
		"EthernetInterfaceCollection":   {"Members", "Members@odata.count"},
		"ManagerCollection":             {"Members", "Members@odata.count"},
		"MemoryCollection":              {"Members", "Members@odata.count"},
		"MessageRegistryFileCollection": {"Members", "Members@odata.count"},
		"ProcessorCollection":           {"Members", "Members@odata.count"},
		"SessionCollection":             {"Members", "Members@odata.count"},
		"SimpleStorageCollection":       {"Members", "Members@odata.count"},
		"VirtualMediaCollection":        {"Members", "Members@odata.count"},
	}
}

// profile is what managing software counts on beyond what schemas require: DSP0272's example profile for a server, as far
// as OpenStack uses it.
func profile() map[string][]string {
	return map[string][]string{
		"ServiceRoot":       {"RedfishVersion", "UUID", "Systems", "Managers", "Chassis", "SessionService", "Registries", "Links.Sessions"},
		"ComputerSystem":    {"SystemType", "UUID", "Manufacturer", "Model", "SerialNumber", "BiosVersion", "PowerState", "Status.State", "Status.Health", "Boot.BootSourceOverrideEnabled", "Boot.BootSourceOverrideTarget", "ProcessorSummary.Count", "MemorySummary.TotalSystemMemoryGiB", "Links.Chassis", "Links.ManagedBy", "EthernetInterfaces", "Bios", "SecureBoot", "VirtualMedia", "Actions"},
		"Chassis":           {"Manufacturer", "Model", "SerialNumber", "PowerState", "Status.Health", "Links.ComputerSystems", "Links.ManagedBy"},
		"Manager":           {"ManagerType", "FirmwareVersion", "UUID", "PowerState", "DateTime", "DateTimeLocalOffset", "Links.ManagerForServers", "VirtualMedia", "Actions"},
		"EthernetInterface": {"MACAddress", "PermanentMACAddress", "Status.Health"},
		"SessionService":    {"ServiceEnabled", "SessionTimeout", "Sessions"},
		"Session":           {"UserName"},
		"VirtualMedia":      {"MediaTypes", "Image", "Inserted", "ConnectedVia", "WriteProtected", "Actions"},
	}
}

func lookup(doc map[string]any, path string) bool {
	head, rest, deep := strings.Cut(path, ".")
	if strings.HasPrefix(path, "Members@") {
		head, deep = path, false
	}
	v, ok := doc[head]
	if !ok || !deep {
		return ok
	}
	m, isObject := v.(map[string]any)
	return isObject && lookup(m, rest)
}

// references collects the @odata.id of everything a document points to.
func references(v any, out *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if id, ok := e.(string); ok && (k == "@odata.id" || k == "Uri") {
				*out = append(*out, id)
			}
			references(e, out)
		}
	case []any:
		for _, e := range v {
			references(e, out)
		}
	}
}

// TestEveryResourceHasWhatItsSchemaRequires walks the service from its root.
func TestEveryResourceHasWhatItsSchemaRequires(t *testing.T) {
	_, _, srv := start(t)
	ask := func(method, path, body string) (*http.Response, map[string]any) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, password)
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if len(data) > 0 && json.Unmarshal(data, &doc) != nil && !strings.Contains(resp.Header.Get("Content-Type"), "xml") {
			t.Fatalf("%s %s: no JSON: %s", method, path, data)
		}
		return resp, doc
	}
	if resp, _ := ask("POST", "/redfish/v1/SessionService/Sessions", `{"UserName": "`+user+`", "Password": "`+password+`"}`); resp.StatusCode != http.StatusCreated {
		t.Fatalf("session: %s", resp.Status)
	}
	if resp, _ := ask("GET", "/redfish/v1/$metadata", ""); resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/xml") {
		t.Errorf("$metadata: %s %v", resp.Status, resp.Header)
	}
	rules, more := schemaRules(), profile()
	unseen := map[string]bool{}
	for name := range rules {
		unseen[name] = true
	}
	todo, seen := []string{"/redfish/v1/"}, map[string]bool{}
	for len(todo) > 0 {
		path := todo[0]
		todo = todo[1:]
		if seen[strings.TrimRight(path, "/")] {
			continue
		}
		seen[strings.TrimRight(path, "/")] = true
		resp, doc := ask("GET", path, "")
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s, which another resource points to: %s", path, resp.Status)
			continue
		}
		for header, want := range map[string]string{"OData-Version": "4.0", "Content-Type": "application/json", "Allow": "GET", "ETag": `"`, "Cache-Control": "no-cache"} {
			if !strings.Contains(resp.Header.Get(header), want) {
				t.Errorf("%s: header %s is %q, want %q in it", path, header, resp.Header.Get(header), want)
			}
		}
		kind, _ := doc["@odata.type"].(string)
		name := strings.TrimPrefix(kind[:max(strings.LastIndex(kind, "."), 0)], "#")
		required, known := rules[name]
		if !known {
			t.Errorf("%s: type %q is of no schema in the table", path, kind)
			continue
		}
		delete(unseen, name)
		base, _, _ := strings.Cut(name, ".")
		if !strings.HasSuffix(base, "Collection") {
			required = append(required, "Id")
		}
		for _, p := range slices.Concat(required, []string{"Name"}, more[base]) {
			if !lookup(doc, p) {
				t.Errorf("%s (%s): property %s is missing", path, name, p)
			}
		}
		if id, _ := doc["@odata.id"].(string); base != "AttributeRegistry" && strings.TrimRight(id, "/") != strings.TrimRight(path, "/") {
			t.Errorf("%s: @odata.id is %q", path, id)
		}
		references(doc, &todo)
	}
	for name := range unseen {
		t.Errorf("schema %s is in the table, but nothing of it was found in %d resources", name, len(seen))
	}

	// Refusals have a body of DSP0266 8.6 and say what is allowed.
	for _, tt := range []struct {
		method, path, body, allow string
		status                    int
	}{
		{"DELETE", "/redfish/v1/Systems/1", "", "GET, HEAD, PATCH", 405},
		{"GET", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", "", "POST", 405},
		{"GET", "/redfish/v1/Nothing", "", "", 404},
		{"GET", "/redfish/v1/Systems/2", "", "", 404},
		{"PATCH", "/redfish/v1/Systems/1", `{"Boot": {"BootSourceOverrideTarget": "Tape"}}`, "", 400},
		{"PATCH", "/redfish/v1/Systems/1", `{`, "", 400},
		{"POST", "/redfish/v1/Managers/1/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia", `{"Image": "ftp://x/y"}`, "", 400},
	} {
		resp, doc := ask(tt.method, tt.path, tt.body)
		if resp.StatusCode != tt.status || tt.allow != "" && resp.Header.Get("Allow") != tt.allow {
			t.Errorf("%s %s: %s, Allow %q; want %d, %q", tt.method, tt.path, resp.Status, resp.Header.Get("Allow"), tt.status, tt.allow)
		}
		fault, _ := doc["error"].(map[string]any)
		list, _ := fault["@Message.ExtendedInfo"].([]any)
		if fault["code"] == nil || fault["message"] == nil || len(list) == 0 || !strings.Contains(fmt.Sprint(list[0]), "MessageId:Base.1.") {
			t.Errorf("%s %s: error %v, want code, message and @Message.ExtendedInfo with a MessageId", tt.method, tt.path, doc)
		}
	}
}
