package objectstore

import (
	"errors"
	"net/http"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

type intent int

const (
	reading intent = iota
	listing        // a container's contents: reading, but .r:* needs .rlistings too
	writing
)

// call is one authorised request.
type call struct {
	target
	owner   bool // of the account: sees keys and ACLs
	tempURL bool
}

type callHandler func(w http.ResponseWriter, r *http.Request, c *call) error

// accountPrefix is the reseller prefix before the project's id.
const accountPrefix = "AUTH_"

// ownerMay says what the caller may do in an account by its roles in the
// account's own project, or by role service in any.
func ownerMay(r *http.Request, account string, want intent) bool {
	id, ok := auth.FromContext(r.Context())
	if !ok {
		return false
	}
	if id.HasRole("service") {
		return true
	}
	if id.ProjectID == "" || accountPrefix+id.ProjectID != account {
		return false
	}
	if want == writing {
		return id.HasRole("admin", "member")
	}
	return id.HasRole("admin", "member", "reader")
}

func denied(r *http.Request) error {
	if _, ok := auth.FromContext(r.Context()); ok {
		return api.Forbidden("Access was denied to this resource.")
	}
	return api.Unauthorized("This server could not verify that you are authorized to access the document you requested.")
}

// account lets in who owns the account.
func (s *Service) account(want intent, h callHandler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, err := targetOf(r)
		if err != nil {
			return err
		}
		if !ownerMay(r, t.account, want) {
			return denied(r)
		}
		return s.serve(w, r, &call{target: t, owner: ownerMay(r, t.account, writing)}, h)
	}
}

// container lets in the owner and whom the container's ACL names.
func (s *Service) container(want intent, h callHandler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, err := targetOf(r)
		if err != nil {
			return err
		}
		c := &call{target: t, owner: ownerMay(r, t.account, writing)}
		if !ownerMay(r, t.account, want) {
			if err := s.byACL(r, t, want); err != nil {
				return err
			}
		}
		return s.serve(w, r, c, h)
	}
}

// object lets in the owner, the bearer of a temporary URL, and whom the
// container's ACL names.
func (s *Service) object(want intent, h callHandler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, err := targetOf(r)
		if err != nil {
			return err
		}
		if hasTempURL(r) {
			if err := s.checkTempURL(r, t); err != nil {
				return err
			}
			return s.serve(w, r, &call{target: t, tempURL: true}, h)
		}
		c := &call{target: t, owner: ownerMay(r, t.account, writing)}
		if !ownerMay(r, t.account, want) {
			if err := s.byACL(r, t, want); err != nil {
				return err
			}
		}
		return s.serve(w, r, c, h)
	}
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request, c *call, h callHandler) error {
	w.Header().Set("X-Trans-Id", api.RequestID(r.Context()))
	return h(w, r, c)
}

// byACL checks the container's ACL. A container that does not exist answers
// like one that the caller may not see.
func (s *Service) byACL(r *http.Request, t target, want intent) error {
	var meta meta
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		c, err := getContainer(tx, t.account, t.container)
		meta = c.meta
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	acl := meta["X-Container-Read"]
	if want == writing {
		acl = meta["X-Container-Write"]
	}
	if err != nil || !aclAllows(acl, r, want) {
		return denied(r)
	}
	return nil
}

// aclAllows reads Swift's ACLs: ".r:*" and ".r:HOST" (by Referer), ".rlistings",
// "PROJECT:USER" with ids or names and "*", and a bare project id.
func aclAllows(acl string, r *http.Request, want intent) bool {
	id, known := auth.FromContext(r.Context())
	referrer, rlistings := false, false
	for entry := range strings.SplitSeq(acl, ",") {
		entry = strings.TrimSpace(entry)
		switch {
		case entry == "":
		case entry == ".rlistings":
			rlistings = true
		case strings.HasPrefix(entry, ".r:"):
			if want != writing {
				referrer = referrerAllowed(referrer, strings.TrimPrefix(entry, ".r:"), r.Referer())
			}
		case strings.HasPrefix(entry, "."):
		case known && aclNames(entry, id):
			return true
		}
	}
	return referrer && (want == reading || rlistings)
}

func aclNames(entry string, id *auth.Identity) bool {
	project, user, both := strings.Cut(entry, ":")
	if !both {
		return project == id.ProjectID && project != ""
	}
	is := func(want, gotID, gotName string) bool {
		return want == "*" || want != "" && (want == gotID || want == gotName)
	}
	// Names are only unambiguous in the default domain, as in Swift.
	projectName, userName := "", ""
	if id.ProjectDomainID == "default" && id.UserDomainID == "default" {
		projectName, userName = id.ProjectName, id.UserName
	}
	return is(project, id.ProjectID, projectName) && is(user, id.UserID, userName)
}

func referrerAllowed(before bool, rule, referer string) bool {
	if rule == "*" {
		return true
	}
	host := ""
	if _, after, ok := strings.Cut(referer, "://"); ok {
		host, _, _ = strings.Cut(after, "/")
		host, _, _ = strings.Cut(host, ":")
	}
	negated := strings.HasPrefix(rule, "-")
	rule = strings.TrimPrefix(rule, "-")
	match := host != "" && (host == rule || strings.HasPrefix(rule, ".") && strings.HasSuffix(host, rule))
	if match {
		return !negated
	}
	return before
}
