package baremetal

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/baremetal/states"
	"github.com/tripleo/tripleo/internal/store"
)

const maxLimit = 1000

func (s *Service) wireOpts(r *http.Request) wireOptions {
	return wireOptions{base: s.cfg.BaseURL, minor: minor(r), host: s.hostOf}
}

// fieldList reads ?fields=a,b and checks the names against a complete
// document.
func fieldList(r *http.Request, full map[string]any) ([]string, error) {
	var fields, unknown []string
	for _, v := range r.URL.Query()["fields"] {
		for f := range strings.SplitSeq(v, ",") {
			if f = strings.TrimSpace(f); f == "" {
				continue
			}
			if _, ok := full[f]; !ok {
				if err := fieldKnown(f, fieldSince(), minor(r)); err != nil {
					return nil, err
				}
				unknown = append(unknown, f)
			}
			fields = append(fields, f)
		}
	}
	if len(unknown) > 0 {
		return nil, api.Invalid("Field(s) %q are not valid at this API version", strings.Join(unknown, ","))
	}
	return fields, nil
}

func pick(doc map[string]any, fields []string) map[string]any {
	out := map[string]any{}
	for _, f := range fields {
		if v, ok := doc[f]; ok {
			out[f] = v
		}
	}
	if l, ok := doc["links"]; ok && !has(fields, "links") {
		out["links"] = l
	}
	return out
}

// fieldKnown refuses a field that is newer than the request's version 1.minor.
func fieldKnown(name string, since map[string]int, minor int) error {
	if first := since[name]; minor < first {
		return api.NotAcceptable("Field %s needs API version 1.%d or later", name, first)
	}
	return nil
}

func summaryFields() []string {
	return []string{"instance_uuid", "maintenance", "power_state", "provision_state", "uuid", "name", "resource_class", "links"}
}

// relatives finds the node whose children are asked for, by name or UUID, and
// the chassis: the lists of those that are not there are no empty ones.
func (s *Service) relatives(r *http.Request) (parent, chassis string, err error) {
	ident, chassis := cmp.Or(r.PathValue("node"), r.URL.Query().Get("parent_node")), r.PathValue("chassis")
	if ident == "" && chassis == "" {
		return "", "", nil
	}
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		if ident != "" {
			n, err := nodeByIdent(tx, ident)
			if err != nil {
				return err
			}
			parent = n.UUID
		}
		if chassis == "" {
			return nil
		}
		chassis = strings.ToLower(chassis)
		var id int64
		err := tx.Get([]any{&id}, `SELECT id FROM baremetal_chassis WHERE uuid = ?`, chassis)
		if errors.Is(err, store.ErrNotFound) {
			return api.NotFound("Chassis %s could not be found.", chassis).Wrap(err)
		}
		return err
	})
	return parent, chassis, err
}

func (s *Service) nodeFilter(r *http.Request) (filter, error) {
	q := r.URL.Query()
	var f filter
	parent, chassis, err := s.relatives(r)
	if err != nil {
		return f, err
	}
	for _, k := range []string{"chassis_uuid", "driver", "resource_class", "fault", "conductor_group", "owner", "lessee", "parent_node"} {
		if v := q.Get(k); v != "" {
			if err := fieldKnown(k, fieldSince(), minor(r)); err != nil {
				return f, err
			}
			if k == "parent_node" {
				v = parent
			}
			f.add(k+" = ?", v)
		}
	}
	if v := q.Get("fault"); v != "" && !has([]string{faultPower, faultClean, "rescue abort failure", "none"}, v) {
		return f, api.Invalid("Unrecognized fault %q is specified, valid faults are: power failure, clean failure, rescue abort failure, none", v)
	}
	if chassis != "" {
		f.add("chassis_uuid = ?", chassis)
	}
	if v := q.Get("shard"); v != "" {
		var shards []any
		for s := range strings.SplitSeq(v, ",") {
			shards = append(shards, s)
		}
		f.add("shard IN "+store.In(len(shards)), shards...)
	}
	if err := childFilter(r, parent, &f); err != nil {
		return f, err
	}
	if v := q.Get("instance_uuid"); v != "" {
		f.add("instance_uuid = ?", v)
	}
	if v := q.Get("provision_state"); v != "" {
		known := false
		for _, st := range states.All() {
			known = known || string(st) == v
		}
		if !known {
			return f, api.Invalid("Provision state %q is not valid", v)
		}
		f.add("provision_state = ?", v)
	}
	for k, clause := range map[string]string{"associated": "", "maintenance": "maintenance = ?", "retired": "retired = ?", "sharded": ""} {
		v := q.Get(k)
		if v == "" {
			continue
		}
		b, err := wantBool(k, v)
		if err != nil {
			return f, err
		}
		switch {
		case k == "sharded" && b:
			f.add("shard <> ''")
		case k == "sharded":
			f.add("shard = ''")
		case k != "associated":
			f.add(clause, bit(b))
		case b:
			f.add("instance_uuid IS NOT NULL")
		default:
			f.add("instance_uuid IS NULL")
		}
	}
	if v := q.Get("description_contains"); v != "" {
		f.add("description LIKE ?", "%"+v+"%")
	}
	return f, nil
}

// childFilter hides child nodes, unless they are asked for, from clients that
// know of them (1.83).
func childFilter(r *http.Request, parent string, f *filter) error {
	if minor(r) < 83 {
		return nil
	}
	if r.PathValue("node") != "" { // GET …/children
		f.add("parent_node = ?", parent)
		return nil
	}
	all, err := wantBool("include_children", r.URL.Query().Get("include_children"))
	if err != nil {
		return err
	}
	if !all && r.URL.Query().Get("parent_node") == "" {
		f.add("parent_node = ''")
	}
	return nil
}

func nodeOrder(page api.Page) (string, error) {
	if len(page.SortKeys) == 0 {
		return "", nil
	}
	switch k := page.SortKeys[0]; k {
	case "id", "created_at":
		return "", nil
	case "uuid", "name", "instance_uuid", "driver", "resource_class", "provision_state", "conductor_group", "owner", "lessee", "chassis_uuid", "fault", "shard":
		return k, nil
	default:
		return "", api.Invalid("The sort_key value %q is invalid for sorting", k)
	}
}

func (s *Service) listNodes(w http.ResponseWriter, r *http.Request) error {
	detail, err := wantBool("detail", r.URL.Query().Get("detail"))
	if err != nil {
		return err
	}
	return s.writeNodes(w, r, detail)
}

func (s *Service) listNodesDetail(w http.ResponseWriter, r *http.Request) error {
	return s.writeNodes(w, r, true)
}

func (s *Service) writeNodes(w http.ResponseWriter, r *http.Request, detail bool) error {
	page, err := api.ParsePage(r, maxLimit)
	if err != nil {
		return err
	}
	order, err := nodeOrder(page)
	if err != nil {
		return err
	}
	f, err := s.nodeFilter(r)
	if err != nil {
		return err
	}
	o := s.wireOpts(r)
	fields, err := fieldList(r, (&Node{}).wire(o))
	if err != nil {
		return err
	}
	if len(fields) > 0 && detail {
		return api.Invalid("Can't fetch a subset of fields with 'detail' set")
	}
	list := []any{}
	last := ""
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		return listRows(tx, "baremetal_nodes", f, page, order, func(scan func(...any) error) error {
			n, err := scanNode(scan)
			if err != nil {
				return err
			}
			doc := n.wire(o)
			switch {
			case len(fields) > 0:
				doc = pick(doc, fields)
			case !detail:
				doc = pick(doc, summaryFields())
			}
			list, last = append(list, doc), n.UUID
			return nil
		})
	})
	if err != nil {
		return err
	}
	return s.writePage(w, r, "nodes", list, page.Limit, last)
}

// writePage answers with a page and, when it is full, the address of the next.
func (s *Service) writePage(w http.ResponseWriter, r *http.Request, key string, list []any, limit int, last string) error {
	out := map[string]any{key: list}
	if limit > 0 && len(list) == limit {
		q := r.URL.Query()
		q.Set("marker", last)
		next := s.cfg.BaseURL + r.URL.Path + "?" + q.Encode()
		out["next"] = next
		// Where gophercloud looks for it.
		out[key+"_links"] = []any{map[string]any{"rel": "next", "href": next}}
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

func (s *Service) getNode(w http.ResponseWriter, r *http.Request) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	doc := n.wire(s.wireOpts(r))
	fields, err := fieldList(r, doc)
	if err != nil {
		return err
	}
	if len(fields) > 0 {
		doc = pick(doc, fields)
	}
	return api.WriteJSON(w, http.StatusOK, doc)
}

// newNode makes a node from the document of a POST.
func (s *Service) newNode(r *http.Request, in map[string]any) (*Node, error) {
	now := s.now()
	n := &Node{
		UUID: uuid.NewString(), CreatedAt: now, UpdatedAt: now, ProvisionState: states.Enroll,
		DriverInfo: map[string]any{}, DriverInternalInfo: map[string]any{}, Properties: map[string]any{}, Extra: map[string]any{},
		InstanceInfo: map[string]any{}, Interfaces: map[string]string{}, ResourceClass: s.cfg.DefaultResourceClass,
	}
	if minor(r) < 11 {
		n.ProvisionState = states.Available
	}
	if v, ok := in["uuid"]; ok && v != nil {
		id, err := wantString("uuid", v, 36)
		if err != nil {
			return nil, err
		}
		if _, err := uuid.Parse(id); err != nil {
			return nil, api.Invalid("uuid is %q, expected a UUID", id)
		}
		n.UUID = strings.ToLower(id)
	}
	delete(in, "uuid")
	allowed := writable()
	for k := range in {
		if !allowed[k] {
			return nil, api.Invalid("Unknown or read-only field %q in the new node", k)
		}
		if err := fieldKnown(k, fieldSince(), minor(r)); err != nil {
			return nil, err
		}
	}
	_, err := n.setFields(map[string]any{}, in)
	return n, err
}

func (s *Service) createNode(w http.ResponseWriter, r *http.Request) error {
	var in map[string]any
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	n, err := s.newNode(r, in)
	if err != nil {
		return err
	}
	err = s.change(r.Context(), func(tx *store.Tx) error {
		if err := s.nodeRefs(tx, n); err != nil {
			return err
		}
		if err := insertNode(tx, n); err != nil {
			return err
		}
		s.cfg.Bus.PublishTx(tx, topic(n.UUID))
		return s.tell(tx, n, "NodeCRUDPayload", "baremetal.node.create.end", nil)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", s.cfg.BaseURL+"/v1/nodes/"+n.UUID)
	return api.WriteJSON(w, http.StatusCreated, n.wire(s.wireOpts(r)))
}

// nodeRefs checks what a node refers to: its chassis, its parent and the group
// of conductors that is to work on it.
func (s *Service) nodeRefs(tx *store.Tx, n *Node) error {
	if err := chassisExists(tx, n.ChassisUUID); err != nil {
		return err
	}
	if n.ParentNode != "" {
		parent, err := nodeByIdent(tx, n.ParentNode)
		if isNotFound(err) {
			return api.Invalid("parent_node %s could not be found.", n.ParentNode).Wrap(err)
		}
		if err != nil {
			return err
		}
		if parent.UUID == n.UUID {
			return api.Invalid("parent_node: node %s cannot be its own parent.", n.UUID)
		}
		n.ParentNode = parent.UUID
	}
	served, err := s.groupServed(tx, n.ConductorGroup)
	if err == nil && !served {
		err = api.Invalid("No valid host was found. Reason: No conductor service registered which supports driver %s for conductor group %q.", n.Driver, n.ConductorGroup).Named("NoValidHost")
	}
	return err
}

// faultLocked is the name of the fault of a change to a node that is worked on.
const faultLocked = "NodeLocked"

func (s *Service) lockedError(n *Node) error {
	return api.Conflict("Node %s is locked by host %s, please retry after the current operation is completed.", n.UUID, s.hostOf(n)).Named(faultLocked)
}

func (s *Service) patchNode(w http.ResponseWriter, r *http.Request) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	ops, err := readPatch(data)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if err := fieldKnown(op.root(), fieldSince(), minor(r)); err != nil {
			return err
		}
	}
	if v := r.URL.Query().Get("reset_interfaces"); v != "" {
		reset, err := wantBool("reset_interfaces", v)
		if err != nil {
			return err
		}
		if reset {
			for _, i := range drivers.InterfaceNames() {
				ops = append([]patchOp{{Op: "remove", Path: "/" + i + "_interface"}}, ops...)
			}
		}
	}
	n, err := s.mutate(r.Context(), r.PathValue("node"), func(tx *store.Tx, n *Node) error {
		if n.locked() {
			return s.lockedError(n)
		}
		before := *n
		old, err := n.document()
		if err != nil {
			return err
		}
		changed, err := n.document()
		if err != nil {
			return err
		}
		if err := applyPatch(changed, ops, writable()); err != nil {
			return err
		}
		fields, err := n.setFields(old, changed)
		if err != nil {
			return err
		}
		if err := n.mayUpdate(fields, &before); err != nil {
			return err
		}
		if has(fields, "chassis_uuid") || has(fields, "parent_node") || has(fields, "conductor_group") {
			return s.nodeRefs(tx, n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, n.wire(s.wireOpts(r)))
}

func (s *Service) deleteNode(w http.ResponseWriter, r *http.Request) error {
	err := s.change(r.Context(), func(tx *store.Tx) error {
		n, err := nodeByIdent(tx, r.PathValue("node"))
		if err != nil {
			return err
		}
		if n.locked() {
			return s.lockedError(n)
		}
		if n.InstanceUUID != "" && !n.Maintenance {
			return api.Conflict("Node %s is associated with instance %s.", n.UUID, n.InstanceUUID).Named("NodeAssociated")
		}
		if n.Protected {
			return api.Forbidden("Node %s is protected and cannot be undeployed, rebuilt or deleted.", n.UUID).Named("NodeProtected")
		}
		if !n.Maintenance && !states.DeleteAllowed(n.ProvisionState) {
			return api.Conflict("Can not delete node %q while it is in provision state %q. Valid provision states to perform deletion are: available, manageable, enroll, adopt failed; or set maintenance mode.", n.UUID, n.ProvisionState)
		}
		if _, err := tx.Exec(`DELETE FROM baremetal_nodes WHERE uuid = ?`, n.UUID); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM baremetal_allocations WHERE node_uuid = ?`, n.UUID); err != nil {
			return err
		}
		s.cfg.Bus.PublishTx(tx, topic(n.UUID))
		if err := s.tell(tx, n, "NodeCRUDPayload", "baremetal.node.delete.end", nil); err != nil {
			return err
		}
		return s.cfg.Jobs.Cancel(tx, jobKind(n.ConductorGroup), n.UUID)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// validateNode reports for each interface whether the node has what it needs.
func (s *Service) validateNode(w http.ResponseWriter, r *http.Request) error {
	ident := r.PathValue("node")
	if ident == "" {
		ident = r.URL.Query().Get("node")
	}
	var n *Node
	var ports []*Port
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if n, err = nodeByIdent(tx, ident); err != nil {
			return err
		}
		ports, err = portsOf(tx, n.UUID)
		return err
	})
	if err != nil {
		return err
	}
	out := map[string]any{}
	for _, i := range drivers.InterfaceNames() {
		impl := n.Interfaces[i]
		if strings.HasPrefix(impl, "no-") {
			out[i] = map[string]any{"result": nil, "reason": "not supported"}
			continue
		}
		if err := s.validateInterface(n, ports, i); err != nil {
			out[i] = map[string]any{"result": false, "reason": err.Error()}
		} else {
			out[i] = map[string]any{"result": true}
		}
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

func (s *Service) validateInterface(n *Node, ports []*Port, iface string) error {
	switch iface {
	case "power", "management":
		return drivers.Validate(n.Driver, n.DriverInfo)
	case "boot", "inspect", "network":
		if n.Interfaces[iface] != "fake" && n.Interfaces[iface] != "noop" && len(ports) == 0 {
			return api.Invalid("Node %s does not have any port associated with it.", n.UUID)
		}
		if iface == "network" && n.wires() {
			_, err := n.bootPorts(ports)
			return err
		}
		return nil
	case "deploy":
		switch n.Interfaces["deploy"] {
		case "fake", "custom-agent":
			return nil
		case "ramdisk":
			if infoString(n.InstanceInfo, "kernel") != "" && infoString(n.InstanceInfo, "ramdisk") != "" {
				return nil
			}
		}
		return n.checkDeployable()
	default:
		return nil
	}
}

// checkDeployable says what instance_info lacks for a deployment.
func (n *Node) checkDeployable() error {
	if src, _ := n.InstanceInfo["image_source"].(string); src == "" {
		return api.Invalid("Cannot validate image information for node %s because one or more parameters are missing from its instance_info. Missing are: ['image_source']", n.UUID)
	}
	return nil
}

// caller names who is behind a request, for the history.
func caller(r *http.Request) string {
	if id, ok := auth.FromContext(r.Context()); ok {
		return id.UserID
	}
	return ""
}
