package identity

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// domainConfigDefaults are the options a domain may have of its own: those that
// Keystone lets a domain set, with its defaults. They are kept for clients that
// manage them; users of every domain live in the store.
func domainConfigDefaults() map[string]document {
	return map[string]document{
		"identity": {"driver": "sql", "list_limit": nil},
		"ldap": {
			"url": "ldap://localhost", "user": nil, "password": nil, "suffix": "cn=example,cn=com", "query_scope": "one", "page_size": 0,
			"user_tree_dn": nil, "user_filter": nil, "user_objectclass": "inetOrgPerson", "user_id_attribute": "cn", "user_name_attribute": "sn",
			"user_mail_attribute": "mail", "user_pass_attribute": "userPassword", "user_enabled_attribute": "enabled", "user_enabled_default": "True",
			"group_tree_dn": nil, "group_filter": nil, "group_objectclass": "groupOfNames", "group_id_attribute": "cn", "group_name_attribute": "ou",
			"group_member_attribute": "member", "group_desc_attribute": "description", "use_tls": false, "tls_req_cert": "demand", "tls_cacertfile": nil,
			"use_pool": true, "pool_size": 10,
		},
	}
}

// hiddenOption is not told to anybody once it is set.
func hiddenOption(group, option string) bool { return group == "ldap" && option == "password" }

// checkDomainConfig refuses groups and options that do not exist.
func checkDomainConfig(config map[string]document) error {
	if len(config) == 0 {
		return api.Invalid("config is empty, expected at least one group")
	}
	known := domainConfigDefaults()
	for group, options := range config {
		if known[group] == nil {
			return api.Forbidden("Group %s is not supported for domain specific configurations.", group)
		}
		for option := range options {
			if _, ok := known[group][option]; !ok {
				return api.Forbidden("Option %s in group %s is not supported for domain specific configurations.", option, group)
			}
		}
	}
	return nil
}

// readDomainConfig reads the body's config, which may name no more than the
// path does.
func readDomainConfig(r *http.Request) (map[string]document, error) {
	group, option := r.PathValue("group"), r.PathValue("option")
	if option != "" {
		var in struct {
			Config document `json:"config"`
		}
		if err := api.ReadJSON(r, &in); err != nil {
			return nil, err
		}
		v, ok := in.Config[option]
		if !ok || len(in.Config) != 1 {
			return nil, api.Invalid("config has to hold option %s and nothing else", option)
		}
		config := map[string]document{group: {option: v}}
		return config, checkDomainConfig(config)
	}
	var in struct {
		Config map[string]document `json:"config"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return nil, err
	}
	if group != "" && (len(in.Config) != 1 || in.Config[group] == nil) {
		return nil, api.Invalid("config has to hold group %s and nothing else", group)
	}
	return in.Config, checkDomainConfig(in.Config)
}

// domainConfig answers all methods of /v3/domains/{id}/config, of a group in it
// and of an option in that.
func (s *Service) domainConfig(w http.ResponseWriter, r *http.Request) error {
	id, group, option := r.PathValue("id"), r.PathValue("group"), r.PathValue("option")
	var in map[string]document
	if r.Method == http.MethodPut || r.Method == http.MethodPatch {
		var err error
		if in, err = readDomainConfig(r); err != nil {
			return err
		}
	}
	config, existed := map[string]document{}, false
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := s.entities.domains.get(tx, id); err != nil {
			return err
		}
		err := tx.Get([]any{store.JSON(&config)}, `SELECT config FROM identity_domain_config WHERE domain_id = ?`, id)
		existed = err == nil
		if err != nil && !isNotFound(err) {
			return err
		}
		_, has := config[group][option]
		missing := !existed || group != "" && config[group] == nil || option != "" && !has
		switch r.Method {
		case http.MethodPut:
			config = in
		case http.MethodPatch:
			if missing {
				return noDomainConfig(id, group, option)
			}
			for g, options := range in {
				if config[g] == nil {
					config[g] = document{}
				}
				for o, v := range options {
					config[g][o] = v
				}
			}
		case http.MethodDelete:
			return s.deleteDomainConfig(tx, id, group, option, config, missing)
		default:
			if missing {
				return noDomainConfig(id, group, option)
			}
			return nil
		}
		_, err = tx.Exec(`INSERT INTO identity_domain_config (domain_id, config) VALUES (?, ?) ON CONFLICT (domain_id) DO UPDATE SET config = excluded.config`, id, store.JSON(config))
		return err
	})
	if err != nil {
		return err
	}
	status := http.StatusOK
	switch {
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
		return nil
	case r.Method == http.MethodPut && !existed:
		status = http.StatusCreated
	}
	return replyDomainConfig(w, status, config, group, option, r.Method)
}

func (s *Service) deleteDomainConfig(tx *store.Tx, id, group, option string, config map[string]document, missing bool) error {
	if missing && group != "" {
		return noDomainConfig(id, group, option)
	}
	switch {
	case option != "":
		delete(config[group], option)
	case group != "":
		delete(config, group)
	default:
		clear(config)
	}
	if len(config) == 0 {
		_, err := tx.Exec(`DELETE FROM identity_domain_config WHERE domain_id = ?`, id)
		return err
	}
	_, err := tx.Exec(`UPDATE identity_domain_config SET config = ? WHERE domain_id = ?`, store.JSON(config), id)
	return err
}

func noDomainConfig(id, group, option string) error {
	what := "any options"
	switch {
	case option != "":
		what = "option " + option + " in group " + group
	case group != "":
		what = "group " + group
	}
	return api.NotFound("Could not find %s in domain configuration for domain %s.", what, id)
}

func replyDomainConfig(w http.ResponseWriter, status int, config map[string]document, group, option, method string) error {
	for g, options := range config {
		for o := range options {
			if hiddenOption(g, o) {
				delete(options, o)
			}
		}
	}
	switch {
	case method == http.MethodPatch || method == http.MethodPut:
		return api.WriteJSON(w, status, document{"config": config})
	case option != "":
		return api.WriteJSON(w, status, document{"config": document{option: config[group][option]}})
	case group != "":
		return api.WriteJSON(w, status, document{"config": document{group: config[group]}})
	}
	return api.WriteJSON(w, status, document{"config": config})
}

// domainConfigDefault answers GET /v3/domains/config/default, of a group and of
// an option in it.
func (s *Service) domainConfigDefault(group string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		config, option := domainConfigDefaults(), r.PathValue("option")
		if _, ok := config[group][option]; option != "" && !ok {
			return api.Forbidden("Option %s in group %s is not supported for domain specific configurations.", option, group)
		}
		return replyDomainConfig(w, http.StatusOK, config, group, option, r.Method)
	}
}

// securityCompliance answers GET /v3/domains/{id}/config/security_compliance:
// what users have to know about passwords.
func (s *Service) securityCompliance(w http.ResponseWriter, r *http.Request) error {
	text := func(v string) any {
		if v == "" {
			return nil
		}
		return v
	}
	all := document{
		"password_regex": text(s.cfg.Passwords.Regex), "password_regex_description": text(s.cfg.Passwords.RegexDescription),
	}
	if r.PathValue("id") != defaultDomain {
		if _, err := s.viewDoc(r, s.entities.domains, r.PathValue("id")); err != nil {
			return err
		}
	}
	if option := r.PathValue("option"); option != "" {
		v, ok := all[option]
		if !ok {
			return api.Forbidden("Option %s of group security_compliance is not shown.", option)
		}
		return api.WriteJSON(w, http.StatusOK, document{"config": document{option: v}})
	}
	return api.WriteJSON(w, http.StatusOK, document{"config": document{"security_compliance": all}})
}
