package objectstore_test

import (
	"testing"

	"github.com/tripleo/tripleo/internal/store/storetest"
)

// TestOnPostgres runs what depends on the database on the other one.
func TestOnPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("tests with servers nobody here wrote run without -short")
	}
	storetest.OnPostgres(t, map[string]func(*testing.T){
		"gophercloud": TestGophercloud, "listings": TestListings, "conditions": TestConditionsAndRanges, "temporary URLs": TestTempURL,
		"access": TestAccess, "bulk": TestBulk, "large objects": TestLargeObjects, "nothing is left": TestNothingIsLeft,
		"versions": TestVersions, "older versioning": TestOlderVersioning, "symlinks": TestSymlinks, "quotas": TestQuotas,
		"static web": TestStaticWeb, "nested manifests": TestNestedManifests, "hostile archives": TestHostileArchives,
	})
}
