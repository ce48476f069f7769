# Quorate. `make help` lists what there is.
SHELL      := /bin/bash
GO         ?= go
BIN        := bin
PKGS       := ./...
SEED       ?=
RUN        ?= all
ARCH       ?= $(shell $(GO) env GOARCH)
FUZZTIME   ?= 10s
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS    := -s -w -X main.version=$(VERSION)

.PHONY: help build test race lint check sim fuzz bench bench-dns soak demo run integration image clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

build: ## static binaries in bin/
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

test: ## all tests that need no root and no network
	$(GO) test $(PKGS)

race: ## the same under the race detector
	$(GO) test -race $(PKGS)

check: lint ## vet, staticcheck, gofumpt, import rules
	$(GO) vet $(PKGS)
	$(GO) vet -tags integration $(PKGS)
	$(GO) tool staticcheck $(PKGS)
	$(GO) test ./test/house

lint: ## formatting
	@out=$$($(GO) tool gofumpt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not gofumpt-formatted:"; echo "$$out"; exit 1; fi

sim: ## seeded simulation; SEED=n replays one schedule bit for bit
	$(GO) build -o $(BIN)/simulate ./witness/sim/simulate
	$(BIN)/simulate $(if $(SEED),-seed $(SEED) -schedules 1 -trace,-schedules 20000 -steps 500 -workers 2)

fuzz: ## every fuzzer for FUZZTIME
	@set -e; for t in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' $$t/*_test.go | sed 's/func //' | sort -u); do \
	    echo "== $$t $$f"; $(GO) test $$t -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME); done; done

demo: build ## three witnesses, a database cluster and BMCs on loopback; kills the primary
	$(BIN)/witnessd demo

run: build ## the same trio, left running, with commands to play with
	$(BIN)/witnessd demo --stay

integration: build ## real peers in network namespaces; RUN=patroni|etcd|pacemaker|fencing|dns|all (root)
	test/integration.sh $(RUN)

bench: build ## us and the peer in one run; results in out/bench.jsonl (root)
	test/bench.sh

bench-dns: ## our DNS server beside NSD, Knot and gdnsd on one core (root)
	test/bench-dns.sh

soak: build ## the long campaigns (root)
	test/soak.sh

image: ## OCI image from scratch for ARCH, reproducible
	@mkdir -p out/bin-$(ARCH)
	CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o out/bin-$(ARCH)/ ./cmd/witnessd ./cmd/witnessctl
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(GO) run ./cmd/mkimage -arch $(ARCH) -bin out/bin-$(ARCH) -version $(VERSION)

clean: ## remove what was built
	rm -rf $(BIN) out
