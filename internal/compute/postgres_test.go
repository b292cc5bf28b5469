package compute_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github.com/tripleo/tripleo/internal/store/storetest"
)

// TestOnPostgres runs the tests about concurrent writers on PostgreSQL, which,
// unlike SQLite, lets them run at once.
func TestOnPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("tests with servers nobody here wrote run without -short")
	}
	storetest.OnPostgres(t, map[string]func(*testing.T){
		"Changes": noChangeOfAServerGetsLost,
		"Quota":   theLastPlaceOfAQuotaIsTakenOnce,
		"Nodes":   noNodeIsGivenToTwoServers,
	})
}

const writers = 12

func TestNoChangeOfAServerGetsLost(t *testing.T) {
	t.Parallel()
	noChangeOfAServerGetsLost(t)
}

func noChangeOfAServerGetsLost(t *testing.T) {
	t.Helper()
	u := newUndercloud(t)
	member := u.as(u.User("m", "p1", "member"))
	id := member.boot("none")
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			key := fmt.Sprintf("k%d", i)
			if _, err := servers.UpdateMetadata(t.Context(), member.nova, id, servers.MetadataOpts{key: "v"}).Extract(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	have := must[map[string]string](t)(servers.Metadata(t.Context(), member.nova, id).Extract())
	if len(have) != writers {
		t.Errorf("%d of %d keys written at once are there: %v", len(have), writers, have)
	}
}

func TestTheLastPlaceOfAQuotaIsTakenOnce(t *testing.T) {
	t.Parallel()
	theLastPlaceOfAQuotaIsTakenOnce(t)
}

func theLastPlaceOfAQuotaIsTakenOnce(t *testing.T) {
	t.Helper()
	u := newUndercloud(t)
	member := u.as(u.User("m", "p1", "member"))
	bound := 3
	must[*quotasets.QuotaSet](t)(quotasets.Update(t.Context(), u.as(u.Admin()).nova, member.session.ProjectID, quotasets.UpdateOpts{KeyPairs: &bound}).Extract())
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			_, err := keypairs.Create(t.Context(), member.nova, keypairs.CreateOpts{Name: fmt.Sprintf("k%d", i)}).Extract()
			if err == nil {
				made.Add(1)
				return
			}
			status(t, "key beyond the quota", err, 403)
		})
	}
	wg.Wait()
	if n := made.Load(); int(n) != bound {
		t.Errorf("%d keys were made, the quota is %d", n, bound)
	}
}
