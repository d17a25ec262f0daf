# Everything a developer types. `make run`, `make test` and `make demo` need Go,
# git and make on the PATH and nothing else: recipes use the shell's own words.

GOLANGCI := v2.15.0
BENCHSTAT := v0.0.0-20260908200009-22c9c6c9d4da
MODULES := . sdk sdk/sdktest plugins
TOOLS := $(CURDIR)/.tools
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)

# The race detector needs a C compiler; without one the tests run without it.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
FUZZTIME ?= 30s
# V=-v names every test.
V ?=
ROUNDS ?= 50
# How long the crash laboratory may take, and where its seeds begin.
CRASH_TIME ?= 10m
CRASH_SEED ?= random
# How many callbacks make storm sends.
STORM ?= 1000000
# How many calls make soak makes, and how often it switches a plugin.
SOAK ?= 1000000
SWAPS ?= 1000

.DEFAULT_GOAL := help
.PHONY: help setup run build plugins test check lint fmt tidy fuzz timing bench bench-providers bench-sandbox bench-neighbours demo docs-test crash storm soak clean

help: ## list the targets
	@while IFS= read -r line; do case "$$line" in \
	  [a-z]*:*'## '*) t=$${line%%:*}; printf '  %-13s %s\n' "$$t" "$${line#*## }";; esac; done < Makefile

setup: ## check the Go version and install the pinned tools into .tools
	@go version
	@test -x $(TOOLS)/golangci-lint-$(GOLANGCI) || { \
	  GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI) && \
	  mv $(TOOLS)/golangci-lint $(TOOLS)/golangci-lint-$(GOLANGCI); }
	@test -x $(TOOLS)/benchstat || GOBIN=$(TOOLS) go install golang.org/x/perf/cmd/benchstat@$(BENCHSTAT)

run: build plugins ## build everything and serve config/demo.yaml
	./bin/postern serve --config config/demo.yaml

build: ## build bin/postern
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/postern .

plugins: ## build plugins/dist/*.wasm, manifests and goldens packed in
	@cd sdk && for p in ../plugins/*/plugin.json; do set -- "$$@" "$${p%/plugin.json}"; done; \
	  go run ./cmd/pack -o ../plugins/dist "$$@"

# What prints tables, or is slow under the race detector for the modules that it
# compiles or the processes that it starts, or measures memory: run once, without it.
UNRACED := ^Test(Matrix|Module_close$$|Mutations|Padding|LargestBody|Kill|Soak|Spec|Lab_|Zoo|Invariant4_(poison|sevenDays)|Invariant7_memory)

test: plugins ## run every test of every module, and print providers by status and case
	@for m in $(MODULES); do (cd $$m && echo "== $$m" && go test $(V) $(RACE) -shuffle=on -skip '$(UNRACED)' ./...) || exit 1; done
	@echo "== what has the intake in it, its buffers overwritten after each callback"
	@go test $(V) $(RACE) -shuffle=on -tags poison ./server ./server/intake
	@go test $(V) $(RACE) -shuffle=on -tags poison -run '^Test(Crash|FrontDoor)' .
	@go test $(V) -count=1 -run '$(UNRACED)' ./host/wasm ./host/wasm/internal/meter ./host/dispatch ./host/store/bolt/internal/lab ./server
	@go test -count=1 -v -run '$(UNRACED)' .

check: setup lint build test docs-test ## all that CI runs, then a clean tree
	@for m in $(MODULES); do (cd $$m && go mod tidy -diff) || exit 1; done
	@test -z "$$(git status --porcelain)" || { git status --short; echo "the tree is not clean"; exit 1; }

lint: setup ## lint every module
	@for m in $(MODULES); do (cd $$m && echo "== lint $$m" && \
	  $(TOOLS)/golangci-lint-$(GOLANGCI) run --config $(CURDIR)/.golangci.yml ./...) || exit 1; done

fmt: setup ## format every module
	@for m in $(MODULES); do (cd $$m && $(TOOLS)/golangci-lint-$(GOLANGCI) fmt --config $(CURDIR)/.golangci.yml) || exit 1; done

tidy: ## tidy every module
	@for m in $(MODULES); do (cd $$m && go mod tidy) || exit 1; done

fuzz: ## run every fuzz target for FUZZTIME (30s)
	@for m in $(MODULES); do (cd $$m && for p in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' "$$p" | while read -r name _; do case $$name in Fuzz*) echo "$$name";; esac; done); do \
	    echo "== $$p $$f" && go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 50x "$$p" || exit 1; done; done) || exit 1; done

timing: plugins ## measure whether the time of a refusal tells where it failed (7 minutes)
	@cd bench && go test -count=1 -run '^$$' -bench '^BenchmarkTiming$$' -timeout 30m .

bench: build plugins setup bench-providers ## measure and print the tables of bench/
	./bench/run.sh

bench-providers: plugins ## measure what it costs to describe a provider by settings (2 minutes)
	POSTERN_BENCH_PROVIDERS=$(CURDIR)/bench/providers.txt \
	  go test -count=1 -timeout 30m -run '^TestMeasureProviders$$' ./bench
	@cat bench/providers.txt

bench-sandbox: plugins ## measure what the sandbox costs (2 to 6 minutes)
	POSTERN_BENCH_SANDBOX=$(CURDIR)/bench/sandbox.txt go test -count=1 -timeout 30m -run '^TestMeasureSandbox$$' ./host/wasm

bench-neighbours: plugins ## measure what a burning plugin costs its neighbours (3 minutes)
	POSTERN_BENCH_NEIGHBOURS=$(CURDIR)/bench/neighbours.txt go test -count=1 -timeout 30m -run '^TestMeasureNeighbours$$' ./host/wasm

demo: build plugins ## run real callbacks through a real server and show what became of them
	./bin/postern demo

docs-test: build plugins ## run the commands of the README and compare what they print
	go test -count=1 -run '^TestDocs' .

crash: build plugins ## run the crash laboratory for CRASH_TIME (10m), and kill the server ROUNDS times (50)
	POSTERN_LAB_TIME=$(CRASH_TIME) POSTERN_LAB_SEED=$(CRASH_SEED) POSTERN_LAB_REPORT=$(CURDIR)/bench/crash.txt \
	  go test -count=1 -v -timeout 0 ./host/store/bolt/internal/lab
	POSTERN_CRASH_ROUNDS=$(ROUNDS) go test -count=1 -v -timeout 30m -run '^TestCrash' .

storm: build plugins ## send STORM (1,000,000) callbacks of 1,000 payments over 256 connections: each is stored once
	POSTERN_STORM=$(STORM) go test -count=1 -v -timeout 30m -run '^TestStorm' .

soak: plugins ## make SOAK (1,000,000) calls, a third of which trap, and SWAPS (1,000) switches of a plugin under load: the process holds no more at the end
	POSTERN_SOAK=$(SOAK) go test -count=1 -v -timeout 60m -run '^TestSoak$$' ./host/wasm
	POSTERN_SWAPS=$(SWAPS) go test -count=1 -v -timeout 60m -run '^TestSoakSwaps$$' ./server

clean: ## remove what was built
	@rm -rf bin plugins/dist .tools
