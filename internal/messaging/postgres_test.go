package messaging_test

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
		"queues and messages": TestQueuesAndMessages, "refused": TestRefused, "dead letters": TestDeadLetters,
		"encrypted queues": TestEncryptedQueues, "pre-signed URLs": TestPresignedURLs, "claims": TestClaimsAreExclusive,
	})
}
