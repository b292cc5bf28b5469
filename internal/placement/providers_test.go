package placement

import "testing"

func TestNoProviderIsBelowItself(t *testing.T) {
	w := &world{providers: []*provider{{UUID: "top"}, {UUID: "a", Parent: "top"}, {UUID: "b", Parent: "a"}, {UUID: "c", Parent: "b"}, {UUID: "other"}}}
	for _, c := range []struct {
		self, parent string
		ok           bool
	}{
		{"top", "c", false}, {"a", "c", false}, {"a", "b", false}, {"b", "b", false},
		{"c", "top", true}, {"b", "top", true}, {"a", "other", true}, {"a", "gone", false},
	} {
		err := (&providerBody{Name: c.self, Parent: parent{c.parent, true}}).check(w, c.self)
		if (err == nil) != c.ok {
			t.Errorf("%s below %s: %v, expected it to be taken: %t", c.self, c.parent, err, c.ok)
		}
	}
}
