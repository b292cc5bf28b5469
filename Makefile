# `make help` lists the targets.
SHELL      := /bin/bash
export CGO_ENABLED := 0
BIN        := bin
GO         ?= go
LDFLAGS    := -s -w
LINT       := $(CURDIR)/.cache/bin/golangci-lint
LINT_VER   := v2.12.0
# The linter remembers findings by the absolute path of their file; a cache shared between checkouts reports those of another, whose nolint comments it cannot read.
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint
# Packages whose tests need no lab, no client and no root.
FAST       := $(shell $(GO) list ./... 2>/dev/null | grep -v /test/e2e)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: deps
deps: ## install the Debian packages that builds, the lab and the tests need (only what is missing)
	@scripts/install-deps.sh

.PHONY: build
build: ## build bin/tripleo and bin/tripleo-agent
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/tripleo ./cmd/tripleo
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/tripleo-agent ./cmd/tripleo-agent
	@ls -l --block-size=K $(BIN) | awk 'NR > 1 { print $$9 ": " $$5 }'

.PHONY: demo
demo: deps build ## from nothing to an OpenStack on virtual machines and a guest on it that answers
	@scripts/demo.sh up

.PHONY: demo-day2
demo-day2: build ## after demo: a second compute node, a changed setting, a node less, and the overcloud deleted
	@scripts/demo.sh day2

.PHONY: demo-ha
demo-ha: deps build ## a demo of its own (after make demo-down): three controllers, of which one loses its power and comes back
	@scripts/demo.sh ha

.PHONY: demo-down
demo-down: ## remove everything the demo made
	@scripts/demo.sh down

.PHONY: test
test: deps build lint unit clients e2e ## everything that CI runs

.PHONY: unit
unit: ## the tests without lab and clients
	@$(GO) test -short $(FAST)

.PHONY: clients
clients: ## the tests with clients nobody here wrote: Debian's openstack, swift, ipmitool and more
	@$(GO) test $(FAST)

.PHONY: e2e
e2e: build ## the built programs from end to end, on simulated and container-backed machines (needs root)
	$(GO) test -count=1 -timeout 40m -v ./test/e2e/...

.PHONY: tempest
tempest: build ## OpenStack's own API tests: make tempest SUITE=identity [RUN=regex]
	@scripts/tempest.sh "$(or $(SUITE),identity)" "$(RUN)"

.PHONY: tempest-overcloud
tempest-overcloud: ## OpenStack's smoke tests against the demo's overcloud (make demo first)
	@scripts/tempest-overcloud.sh "$(RUN)"

.PHONY: race
race: ## the tests without lab and clients, under the race detector
	CGO_ENABLED=1 $(GO) test -race -short -shuffle=on $(FAST)

.PHONY: bench
bench: ## benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem $(FAST) | grep -vE '^(PASS|ok|\?)'

.PHONY: bench-sim
bench-sim: build ## many machines: make bench-sim NODES=500 PLAN=default (or small) takes simulated ones from enrolled to active, with times and memory
	@scripts/bench-sim.sh $(or $(NODES),1000) $(or $(PLAN),small)

.PHONY: lint
lint: $(LINT) ## gofmt, go vet, golangci-lint (staticcheck, errcheck, gosec and more)
	@test -z "$$(gofmt -l cmd internal jinja plan test yaql)" || { echo "gofmt wants to change:"; gofmt -l cmd internal jinja plan test yaql; exit 1; }
	$(GO) vet ./...
	$(LINT) run ./...

$(LINT):
	@mkdir -p $(dir $@)
	GOBIN=$(dir $@) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VER)

.PHONY: fuzz
fuzz: ## each fuzz target for a short while
	@scripts/fuzz.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN)
