# One line a target behind "##" is what `make help` shows.
.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# The race detector needs cgo and a C compiler. The binary is built without.
CC_FOUND := $(shell command -v "$$($(GO) env CC)" 2>/dev/null)
ifneq ($(CC_FOUND),)
RACE := -race
CGO  := CGO_ENABLED=1
else
RACE :=
CGO  := CGO_ENABLED=0
endif
# What is written in JavaScript is tested where there is a node to run it.
NODE_FOUND := $(and $(shell command -v node 2>/dev/null),$(shell command -v npm 2>/dev/null))
TEST := $(CGO) $(GO) test $(RACE) -timeout 8m
# Linters and the like have a module of their own, build/go.mod, and are built when
# they are first needed.
TOOL := $(GO) tool -modfile=build/go.mod

.PHONY: help demo test all-tests build lint layers crash mutants tidy fuzz cover bench bench-quick

help: ## show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

demo: build ## play a session against a simulated API: no key, no network, no set-up
	bin/worker demo

test: lint all-tests ## everything that must hold: lint, and all tests in full under the race detector

# The long tests do all of their work, not the sample that `go test ./...` does.
all-tests: export TOOLHAND_TEST := full
all-tests: ## all tests in full under the race detector
ifeq ($(RACE),)
	@printf '%s\n' '' '!!! no C compiler: the tests run WITHOUT the race detector' '!!! install gcc or clang and run make test again' '' >&2
endif
	$(TEST) ./...
	cd bench && $(TEST) ./...
ifneq ($(RACE),)
	$(GO) -C bench test ./guard # counts what the race detector would change
endif
ifeq ($(NODE_FOUND),)
	@printf '%s\n' '' '!!! NOT TESTED, since node and npm are missing: what is written in JavaScript' '' >&2
endif
ifeq ($(RACE),)
	@printf '%s\n' '' '!!! the tests ran WITHOUT the race detector: no C compiler' '' >&2
endif

build: ## build bin/worker, static
	@[ -e bin/worker ] || echo 'compiling bin/worker: the first time takes a minute or two, NATS and the SDK are in it'
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/worker ./cmd/worker

lint: ## check the form of the code; the first run builds the linters and takes some minutes
	$(TOOL) golangci-lint run
	cd bench && $(GO) tool -modfile=../build/go.mod golangci-lint run
	@dead="$$(GOOS=linux $(TOOL) deadcode ./cmd/worker)" || exit 1; \
	if [ -n "$$dead" ]; then echo "nothing in the binary calls:"; echo "$$dead"; exit 1; fi

layers: ## check who may know whom, and the sizes and words of style
	$(TEST) ./internal/layers

tidy: ## check that go.mod and go.sum say what the code needs
	$(GO) mod tidy -diff
	$(GO) mod verify
	$(GO) -C build mod tidy -diff
	$(GO) -C bench mod tidy -diff

CRASHES ?= 400
crash: ## kill a real worker, and what it works with, CRASHES (400) times at random moments, and look at what ran
	CRASHES=$(CRASHES) $(GO) test -v -count 1 -timeout 60m -run 'TestKilledAtRandomMoments|HandlersKilled' ./cmd/worker

# MUTANTS: the packages that gremlins changes; empty: none.
MUTANTS ?= loop journal upstream admin
mutants: export TOOLHAND_TEST := full
mutants: ## put faults into the code, known ones and those of gremlins, and list what no test notices
	$(GO) run ./internal/mutants
	@for pkg in $(MUTANTS); do \
	  $(TOOL) gremlins unleash --workers 1 --timeout-coefficient 3 --output-statuses lt ./internal/$$pkg || exit 1; \
	done

FUZZTIME ?= 10s
fuzz: ## run each fuzz test for FUZZTIME (10s)
	@for pkg in $$($(GO) list ./...); do \
	  for name in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$name"; \
	    $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

cover: ## run the tests with coverage and print it by function
	$(GO) test -timeout 8m -coverprofile coverage.out -coverpkg ./... ./...
	$(GO) tool cover -func coverage.out

# BENCH passes flags on: BENCH='-only loop -rounds 3'.
bench: build ## measure the worker beside the SDK's runner and the practical limit
	$(GO) -C bench build -o ../bin/bench-program .
	bin/bench-program $(BENCH)

bench-quick: build ## the same in two minutes, with less of everything
	$(GO) -C bench build -o ../bin/bench-program .
	bin/bench-program -quick $(BENCH)
