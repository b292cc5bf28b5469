package objectstore

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
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
	owning // of the account: its metadata, its containers' ACLs
)

// call is one authorised request.
type call struct {
	target
	owner   bool   // of the account: sees keys and ACLs
	tempURL string // "", or what the key of the temporary URL belongs to: "account" or "container"
	con     *container
}

type callHandler func(w http.ResponseWriter, r *http.Request, c *call) error

// accountPrefix is the reseller prefix before the project's id.
const accountPrefix = "AUTH_"

// reseller says whether the caller may do everything in every account.
func reseller(r *http.Request) bool {
	id, ok := auth.FromContext(r.Context())
	return ok && id.HasRole("service", "ResellerAdmin")
}

// ownerMay says what the caller may do in an account by its roles in the
// account's own project, or by a reseller's role in any.
func ownerMay(r *http.Request, account string, want intent) bool {
	if reseller(r) {
		return true
	}
	id, ok := auth.FromContext(r.Context())
	if !ok || !ownProject(id, account) {
		return false
	}
	if want == writing || want == owning {
		return id.HasRole("admin", "member")
	}
	return id.HasRole("admin", "member", "reader")
}

func ownProject(id *auth.Identity, account string) bool {
	return id.ProjectID != "" && accountPrefix+id.ProjectID == account
}

func denied(r *http.Request) error {
	if _, ok := auth.FromContext(r.Context()); ok {
		return api.Forbidden("Access was denied to this resource.")
	}
	return api.Unauthorized("This server could not verify that you are authorized to access the document you requested.")
}

// account lets in who owns the account or is named in its ACL.
func (s *Service) account(want intent, h callHandler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, err := targetOf(r)
		if err != nil {
			return err
		}
		c := &call{target: t, owner: ownerMay(r, t.account, owning)}
		if !ownerMay(r, t.account, want) {
			if err := s.byACL(r, c, t.account, nil, want); err != nil {
				return err
			}
		}
		return h(w, r, c)
	}
}

// container lets in the owner and whom the container's ACL names.
func (s *Service) container(want intent, h callHandler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, err := targetOf(r)
		if err != nil {
			return err
		}
		if formPost(r) {
			return s.formPost(w, r, t)
		}
		c := &call{target: t, owner: ownerMay(r, t.account, owning)}
		if err := s.load(r, c); err != nil {
			return err
		}
		if done, err := s.staticWeb(w, r, c); done || err != nil {
			return err
		}
		if err := s.authorizeHere(r, c, want); err != nil {
			return err
		}
		return h(w, r, c)
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
			scope, err := s.checkTempURL(r, t)
			if err != nil {
				return err
			}
			c := &call{target: t, tempURL: scope}
			if err := s.load(r, c); err != nil {
				return err
			}
			return h(w, r, c)
		}
		if formPost(r) {
			return s.formPost(w, r, t)
		}
		c := &call{target: t, owner: ownerMay(r, t.account, owning)}
		if err := s.load(r, c); err != nil {
			return err
		}
		if done, err := s.staticWeb(w, r, c); done || err != nil {
			return err
		}
		if err := s.authorizeHere(r, c, want); err != nil {
			return err
		}
		return h(w, r, c)
	}
}

// load reads the container of a call, if it exists.
func (s *Service) load(r *http.Request, c *call) error {
	return s.db.View(r.Context(), func(tx *store.Tx) error {
		con, err := getContainer(tx, c.account, c.container)
		if isNotFound(err) {
			return nil
		}
		c.con = &con
		return err
	})
}

func (s *Service) authorizeHere(r *http.Request, c *call, want intent) error {
	if ownerMay(r, c.account, want) {
		return nil
	}
	return s.byACL(r, c, c.account, c.con, want)
}

// authorize says whether the bearer of a call may also do something elsewhere:
// read a segment, follow a symlink, copy. A temporary URL reaches as far as
// what its key belongs to.
func (s *Service) authorize(r *http.Request, c *call, t target, want intent) error {
	switch {
	case c.tempURL == "account" && want == reading && t.account == c.account:
		return nil
	case c.tempURL == "container" && want == reading && t.account == c.account && t.container == c.container:
		return nil
	case c.tempURL != "":
		return denied(r)
	case ownerMay(r, t.account, want):
		return nil
	case t.account == c.account && t.container == c.container && c.con != nil:
		return s.byACL(r, c, t.account, c.con, want)
	}
	other := &call{target: t}
	if err := s.load(r, other); err != nil {
		return err
	}
	return s.byACL(r, other, t.account, other.con, want)
}

// byACL checks the container's and the account's ACL. A container that does
// not exist answers like one that the caller may not see.
func (s *Service) byACL(r *http.Request, c *call, name string, con *container, want intent) error {
	var account meta
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		account, err = getAccountMeta(tx, name)
		return err
	})
	if err != nil {
		return err
	}
	if con != nil && want != owning {
		acl := con.meta["X-Container-Read"]
		if want == writing {
			acl = con.meta["X-Container-Write"]
		}
		if aclAllows(acl, r, aclScope{name, account.foreignDomain()}, want) {
			return nil
		}
	}
	granted := account.grant(r, name)
	if granted < needs(want) {
		return denied(r)
	}
	c.owner = c.owner || granted == owning
	return nil
}

// metaAccountACL is the account's own ACL, JSON of three lists.
const metaAccountACL = "X-Account-Access-Control"

// metaProjectDomain is where an account keeps the domain of its project, which
// its own users' tokens tell: names in ACLs are those of the default domain, so
// they count only where the account is in it as well.
const metaProjectDomain = "X-Account-Project-Domain-Id"

func (s *Service) rememberDomain(tx *store.Tx, r *http.Request, account string) error {
	id, ok := auth.FromContext(r.Context())
	if !ok || !ownProject(id, account) || id.ProjectDomainID == defaultDomain {
		return nil
	}
	m, err := getAccountMeta(tx, account)
	if err != nil || m[metaProjectDomain] == id.ProjectDomainID {
		return err
	}
	m[metaProjectDomain] = id.ProjectDomainID
	_, err = tx.Exec(`UPDATE objectstore_accounts SET meta = ? WHERE name = ?`, store.JSON(m), account)
	return err
}

const defaultDomain = "default"

// nothing is less than any intent that an account's ACL grants.
const nothing intent = -1

// needs maps an intent to what must be granted for it.
func needs(want intent) intent {
	if want == listing {
		return reading
	}
	return want
}

// grant returns the most that the account's ACL grants the caller.
func (m meta) grant(r *http.Request, account string) intent {
	id, known := auth.FromContext(r.Context())
	if !known || m[metaAccountACL] == "" {
		return nothing
	}
	acl, err := parseAccountACL(m[metaAccountACL])
	if err != nil { // it was checked when it was set
		return nothing
	}
	scope := aclScope{account, m.foreignDomain()}
	has := func(entries []string) bool {
		return slices.ContainsFunc(entries, func(e string) bool { return aclNames(e, id, scope) || e == id.UserID })
	}
	switch {
	case has(acl.Admin):
		return owning
	case has(acl.ReadWrite):
		return writing
	case has(acl.ReadOnly):
		return reading
	}
	return nothing
}

type accountACL struct {
	Admin     []string `json:"admin,omitempty"`
	ReadWrite []string `json:"read-write,omitempty"`
	ReadOnly  []string `json:"read-only,omitempty"`
}

// parseAccountACL reads {"admin": [...], "read-write": [...], "read-only": [...]}.
func parseAccountACL(v string) (accountACL, error) {
	var acl accountACL
	d := json.NewDecoder(strings.NewReader(v))
	d.DisallowUnknownFields()
	if err := d.Decode(&acl); err != nil || d.More() {
		return acl, api.Invalid("X-Account-Access-Control invalid: expected JSON with lists under admin, read-write, read-only")
	}
	return acl, nil
}

// cleanACL normalises a container's ACL and refuses what makes no sense.
// Source: https://docs.openstack.org/swift/latest/overview_acl.html.
func cleanACL(header, acl string) (string, error) {
	var out []string
	for entry := range strings.SplitSeq(acl, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		word, rest, colon := strings.Cut(entry, ":")
		word, rest = strings.TrimSpace(word), strings.TrimSpace(rest)
		if !strings.HasPrefix(word, ".") || word == ".rlistings" && !colon {
			out = append(out, entry)
			continue
		}
		if !slices.Contains([]string{".r", ".ref", ".referer", ".referrer"}, word) || !colon {
			return "", api.Invalid("%s: Unknown designator %q in ACL: %q", header, word, entry)
		}
		if header == "X-Container-Write" {
			return "", api.Invalid("%s: Referrers not allowed in write ACL: %q", header, entry)
		}
		negate := strings.HasPrefix(rest, "-")
		host := strings.TrimSpace(strings.TrimPrefix(rest, "-"))
		if host != "*" {
			host = strings.TrimPrefix(host, "*")
		}
		if host == "" || host == "." {
			return "", api.Invalid("%s: No host/domain value after referrer designation in ACL: %q", header, entry)
		}
		if negate {
			host = "-" + host
		}
		out = append(out, ".r:"+host)
	}
	return strings.Join(out, ","), nil
}

// aclAllows reads Swift's ACLs: ".r:*" and ".r:HOST" (by Referer), ".rlistings",
// "PROJECT:USER" with ids or names and "*", a bare project id, and the name of
// a role in the account's own project.
func aclAllows(acl string, r *http.Request, scope aclScope, want intent) bool {
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
		case known && aclNames(entry, id, scope):
			return true
		}
	}
	return referrer && (want == reading || rlistings)
}

// aclScope is the account an ACL is about, and whether names mean nothing there.
type aclScope struct {
	account       string
	foreignDomain bool
}

func (m meta) foreignDomain() bool {
	return m[metaProjectDomain] != "" && m[metaProjectDomain] != defaultDomain
}

func aclNames(entry string, id *auth.Identity, scope aclScope) bool {
	project, user, both := strings.Cut(entry, ":")
	if !both {
		if project == "" {
			return false
		}
		role := func(name string) bool { return strings.EqualFold(name, entry) }
		return project == id.ProjectID || ownProject(id, scope.account) && slices.ContainsFunc(id.Roles, role)
	}
	is := func(want, gotID, gotName string) bool {
		return want == "*" || want != "" && (want == gotID || want == gotName)
	}
	// Names are only unambiguous in the default domain, as in Swift.
	projectName, userName := "", ""
	if id.ProjectDomainID == defaultDomain && id.UserDomainID == defaultDomain && !scope.foreignDomain {
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
		if _, h, ok := strings.Cut(host, "@"); ok {
			host = h
		}
		host, _, _ = strings.Cut(host, ":")
	}
	negated := strings.HasPrefix(rule, "-")
	rule = strings.TrimPrefix(rule, "-")
	match := host != "" && (host == rule || strings.HasPrefix(rule, ".") && strings.HasSuffix(host, rule)) || negated && rule == "*"
	if match {
		return !negated
	}
	return before
}

// status returns the HTTP status of an error that a handler may return.
func status(err error) int {
	var e *api.Error
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &e):
		return e.Status()
	case isNotFound(err):
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}
