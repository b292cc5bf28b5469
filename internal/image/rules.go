package image

import (
	"net/http"
	"strings"

	"github.com/tripleo/tripleo/internal/auth/policy"
	"github.com/tripleo/tripleo/internal/store"
)

// rules are Glance's policies by their names there. Whose an image is, and
// whether it is visible at all, is decided with the image (visible, changeable)
// and cannot be loosened here: no policy file opens a project to another.
func rules() map[string]string {
	const (
		admin  = "role:admin"
		member = "role:admin or role:member or role:service"
		reader = member + " or role:reader"
	)
	out := map[string]string{"default": "", "context_is_admin": admin}
	for _, a := range strings.Fields("add_image modify_image delete_image upload_image download_image add_member modify_member delete_member " +
		"deactivate reactivate communitize_image stage_image import_image") {
		out[a] = member
	}
	for _, a := range strings.Fields("get_image get_images get_member get_members get_task get_tasks get_schema get_import_info get_stores_info " +
		"get_metadef_namespace get_metadef_namespaces get_metadef_object get_metadef_objects list_metadef_resource_types " +
		"get_metadef_resource_type get_metadef_property get_metadef_properties get_metadef_tag get_metadef_tags") {
		out[a] = reader
	}
	for _, a := range strings.Fields("publicize_image tasks_api_access add_metadef_namespace modify_metadef_namespace delete_metadef_namespace " +
		"add_metadef_object modify_metadef_object delete_metadef_object add_metadef_resource_type_association remove_metadef_resource_type_association " +
		"add_metadef_property modify_metadef_property remove_metadef_property add_metadef_tag add_metadef_tags modify_metadef_tag delete_metadef_tag delete_metadef_tags") {
		out[a] = admin
	}
	return out
}

func newRules(file string, data []byte) (*policy.Enforcer, error) {
	e, err := policy.New(rules())
	if err != nil || strings.TrimSpace(string(data)) == "" {
		return e, err
	}
	return e.Override(file, data)
}

// about describes the image of a path to the rules. What the caller may not see
// is not there, whatever it wants.
func (s *Service) about(r *http.Request) (policy.Target, error) {
	t := policy.Target{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		m, err := visible(tx, caller(r), r.PathValue("id"))
		if err == nil {
			t["project_id"], t["owner"], t["visibility"], t["status"], t["image_id"] = m.owner, m.owner, m.visibility, m.status, m.id
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// aboutNamespace describes the metadata namespace of a path likewise.
func (s *Service) aboutNamespace(r *http.Request) (policy.Target, error) {
	t := policy.Target{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		n, err := s.namespace(tx, r)
		if err == nil {
			t["project_id"], t["owner"], t["visibility"] = n.owner, n.owner, n.visibility
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}
