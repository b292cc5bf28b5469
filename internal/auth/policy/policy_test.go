package policy

import (
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/auth"
)

func callers() map[string]*auth.Identity {
	return map[string]*auth.Identity{
		"system":  {UserID: "root", System: true, Roles: []string{"admin", "member", "reader"}},
		"domain":  {UserID: "d", DomainID: "dom", Roles: []string{"Admin", "reader"}},
		"project": {UserID: "p", ProjectID: "proj", ProjectDomainID: "dom", Roles: []string{"member", "reader"}},
	}
}

func TestRules(t *testing.T) {
	target := Target{"target.user.id": "p", "target.user.domain_id": "dom", "visibility": "public", "x": "None", "a": "pro", "b": "j"}
	for _, tc := range []struct{ reason, rule, allowed string }{
		{"the empty rule is for everybody", "", "system domain project"},
		{"@ too", "@", "system domain project"},
		{"! for nobody", "!", ""},
		{"role, whatever its case", "role:admin", "system domain"},
		{"another rule", "rule:owner", "project"},
		{"attribute of the target", "domain_id:%(target.user.domain_id)s", "domain"},
		{"two places", "project_id:%(a)s%(b)s", "project"},
		{"places around text", "project_id:%(a)so%(b)s", ""},
		{"places that make the value", "'proj':%(a)s%(b)s", "system domain project"},
		{"an attribute that the target lacks equals nothing", "user_id:%(missing)s", ""},
		{"an attribute that nobody has", "shoe_size:42", ""},
		{"a constant", "system_scope:all", "system"},
		{"an unset attribute is None", "project_id:None", "system domain"},
		{"literal", "'public':%(visibility)s", "system domain project"},
		{"literal in double quotes that differs", `"private":%(visibility)s`, ""},
		{"not binds tightest", "not role:admin and role:reader", "project"},
		{"and binds tighter than or", "role:admin and system_scope:all or role:member", "system project"},
		{"parentheses", "role:reader and (system_scope:all or rule:owner)", "system project"},
		{"words in capitals", "ROLE:x OR NOT role:admin", "project"},
		{"kind of scope", "token_scope:project", "project"},
		{"roles as an attribute", "roles:member", "system project"},
	} {
		e, err := New(map[string]string{"owner": "user_id:%(target.user.id)s", "do": tc.rule})
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
			continue
		}
		for name, id := range callers() {
			if want := strings.Contains(tc.allowed, name); e.Allows("do", id, target) != want {
				t.Errorf("%s: rule %q for %s is %v, expected %v", tc.reason, tc.rule, name, !want, want)
			}
		}
	}
}

func TestUnknownActionIsForNobody(t *testing.T) {
	e, err := New(map[string]string{"do": "@"})
	if err != nil {
		t.Fatal(err)
	}
	if e.Allows("undo", callers()["system"], nil) || e.Allows("do", nil, nil) {
		t.Error("an action without a rule, or a caller without a token, was allowed")
	}
}

func TestMalformedRules(t *testing.T) {
	for _, tc := range []struct{ reason, rule, want string }{
		{"no check", "role:a and", "expected"},
		{"two operators", "role:a and or role:b", "unexpected"},
		{"open parenthesis", "(role:a", "not closed"},
		{"closing parenthesis", "role:a)", "unexpected"},
		{"two checks", "role:a role:b", "unexpected"},
		{"no colon", "admin", "KIND:MATCH"},
		{"asks another server", "http://example.org/", "not allowed"},
		{"open place", "user_id:%(x", "closing"},
		{"open quote", "'x:y", "quote"},
		{"rule that does not exist", "rule:nothing", "does not exist"},
		{"rule in a circle", "rule:do", "back to it"},
		{"too deep", strings.Repeat("(", 100) + "@" + strings.Repeat(")", 100), "deeper"},
	} {
		_, err := New(map[string]string{"do": tc.rule})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error is %v, expected it to say %q", tc.reason, err, tc.want)
		}
	}
}

func TestOverride(t *testing.T) {
	base, err := New(map[string]string{"admin": "role:admin", "svc:do": "rule:admin", "svc:see": ""})
	if err != nil {
		t.Fatal(err)
	}
	id := callers()["project"]
	e, err := base.Override("policy.yaml", []byte("# for members\nadmin: role:admin or role:member\nsvc:see: [[\"role:admin\", \"role:reader\"], \"role:nobody\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !e.Allows("svc:do", id, nil) || base.Allows("svc:do", id, nil) {
		t.Error("an overridden rule counts where others refer to it, and the defaults stay what they are")
	}
	if e.Allows("svc:see", id, nil) || !e.Allows("svc:see", callers()["system"], nil) {
		t.Error("the list form is any of the lists, all of each")
	}
	for _, tc := range []struct{ reason, file, want string }{
		{"mistyped action", "svc:dn: role:admin", "policy.yaml:1"},
		{"malformed rule", "\nsvc:do: role", "policy.yaml:2"},
		{"not a mapping", "- a", "NAME: RULE"},
		{"not a string", "svc:do: 4", "integer"},
		{"not YAML", "a: [", "policy file"},
	} {
		if _, err := base.Override("policy.yaml", []byte(tc.file)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error is %v, expected it to say %q", tc.reason, err, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "@", "role:a and not (rule:b or 'x':%(y)s)", "%(", "'", "((", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, s string) {
		if c, err := parse(s); err == nil {
			c.holds(&Enforcer{}, &auth.Identity{}, Target{}, 0)
		}
	})
}
