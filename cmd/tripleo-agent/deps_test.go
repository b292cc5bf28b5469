package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies keeps the agent small: it is loaded over the network by every machine at every boot, and runs
// on every node.
func TestDependencies(t *testing.T) {
	const module = "github.com/tripleo/tripleo/"
	bans := []struct{ prefix, reason string }{
		{"modernc.org/", "the agent keeps its state in files; SQLite alone is larger than the agent"},
		{"github.com/jackc/pgx", "the agent talks to no PostgreSQL"},
		{"github.com/prometheus/", "nobody scrapes the agent"},
		{"github.com/bougou/go-ipmi", "BMCs are the undercloud's business"},
		{"github.com/stmcginnis/gofish", "BMCs are the undercloud's business"},
		{"github.com/minio/", "images come over plain HTTP"},
		{"github.com/coder/websocket", "metadata comes by long polling"},
		{"github.com/pin/tftp", "the firmware has done that when the agent starts"},
		{"github.com/jedib0t/go-pretty", "the agent prints no tables"},
		{"github.com/sirupsen/logrus", "slog is the house's logger"},
		{module + "internal/store", "the agent has no database"},
		{module + "internal/cli", "the operator's command line stays with the operator"},
		{module + "internal/undercloud", "a node is not an undercloud"},
		{module + "internal/lab", "the agent must not know that there is a lab"},
		{module + "internal/baremetal", "law 1: Ironic is reached by its API"},
		{module + "internal/introspection", "law 1: the inspector is reached by its API"},
		{module + "internal/imagebuild", "the image holds the agent, not the other way round"},
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 100 {
		t.Fatalf("go list named only %d packages: the test would pass without looking", len(deps))
	}
	for _, d := range deps {
		if d == "github.com/bougou/go-ipmi/pkg/open" {
			continue // /dev/ipmi0 alone: what the machine's own controller has as its address
		}
		for _, b := range bans {
			if strings.HasPrefix(d, b.prefix) {
				t.Errorf("%s is linked: %s", d, b.reason)
			}
		}
	}
}
