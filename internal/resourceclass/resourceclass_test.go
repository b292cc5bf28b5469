package resourceclass_test

import (
	"testing"

	"github.com/tripleo/tripleo/internal/resourceclass"
)

func TestCustom(t *testing.T) {
	for class, want := range map[string]string{"baremetal": "CUSTOM_BAREMETAL", "gold-1.x": "CUSTOM_GOLD_1_X", "A_b": "CUSTOM_A_B"} {
		if got := resourceclass.Custom(class); got != want {
			t.Errorf("%s is %s, expected %s", class, got, want)
		}
	}
}
