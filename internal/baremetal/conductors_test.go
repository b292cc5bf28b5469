package baremetal_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/store"
)

// TestConductorsOfSeveralProcesses: lists are in the order asked for, and a
// node names the conductor of its group.
func TestConductorsOfSeveralProcesses(t *testing.T) {
	h := newHarness(t, nil)
	now := time.Now()
	err := h.db.Tx(t.Context(), func(tx *store.Tx) error {
		for _, c := range []struct {
			host, group  string
			created, age time.Duration
		}{{"a-rack", "rack2", time.Hour, 0}, {"z-rack", "rack1", -time.Minute, time.Second}, {"dead", "rack2", -2 * time.Minute, time.Hour}} {
			if _, err := tx.Exec(`INSERT INTO baremetal_conductors (hostname, conductor_group, created_at, updated_at) VALUES (?, ?, ?, ?)`,
				c.host, c.group, store.At(now.Add(c.created)), store.At(now.Add(-c.age))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"":                                  "dead z-rack undercloud a-rack",
		"?sort_dir=desc":                    "a-rack undercloud z-rack dead",
		"?sort_key=hostname":                "a-rack dead undercloud z-rack",
		"?sort_key=conductor_group":         "undercloud z-rack a-rack dead",
		"?sort_key=alive":                   "dead a-rack undercloud z-rack",
		"?sort_key=conductor_group&limit=2": "undercloud z-rack",
		"?sort_key=conductor_group&marker=z-rack":  "a-rack dead",
		"?sort_key=created_at&marker=dead&limit=2": "z-rack undercloud",
	} {
		list, _ := h.must("GET", "/v1/conductors"+query, "", 200)["conductors"].([]any)
		var names []string
		for _, c := range list {
			m, _ := c.(map[string]any)
			names = append(names, fmt.Sprint(m["hostname"]))
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// TestNodeNamesItsConductor: the one of its conductor group that lives, whoever is asked.
func TestNodeNamesItsConductor(t *testing.T) {
	h := newHarness(t, nil)
	err := h.db.Tx(t.Context(), func(tx *store.Tx) error {
		at := store.At(time.Now())
		_, err := tx.Exec(`INSERT INTO baremetal_conductors (hostname, conductor_group, created_at, updated_at) VALUES (?, ?, ?, ?)`, "rack-host", "rack1", at, at)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.stop() // a process learns of others when it registers
	h.start()
	h.must("POST", "/v1/nodes", `{"name": "here", "driver": "fake-hardware"}`, 201)
	h.must("POST", "/v1/nodes", `{"name": "there", "driver": "fake-hardware", "conductor_group": "rack1"}`, 201)
	for node, want := range map[string]string{"here": "undercloud", "there": "rack-host"} {
		deadline := time.Now().Add(20 * time.Second)
		for got := any(nil); got != want; {
			if got = h.must("GET", "/v1/nodes/"+node, "", 200)["conductor"]; got != want && time.Now().After(deadline) {
				t.Fatalf("the conductor of %s is %v, want %s", node, got, want)
			}
		}
	}
}
