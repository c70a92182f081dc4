# Everything a developer types. `make test` and `make demo` install the Debian packages that are missing.

GO      ?= go
export CGO_ENABLED = 0

# The race detector, but not inside SQLite: what was translated from C has no locks of ours, and watching it takes half of all time.
RACE := -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false

.PHONY: build test faults soak fuzz bench demo packages lint clean

build: ## one static binary
	$(GO) build -o bin/leasehold .

packages: ## the servers and clients that tests and demo run against
	./scripts/packages.sh

test: packages lint ## all tests, race detector on
	CGO_ENABLED=1 $(GO) test $(RACE) -shuffle=on -count=1 -timeout=14m ./...

lint: ## formatting and vet
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	CGO_ENABLED=1 $(GO) vet $(RACE) ./...
	$(GO) vet -tags failpoint ./internal/failpoint ./crash
	$(GO) vet -tags faults ./cluster

faults: packages ## what a cluster is put through, each fault by itself; five minutes
	$(GO) test -tags faults -count=1 -timeout=1h ./cluster

soak: packages ## 10,000 random kills, and of key/values; 10,000 contested writes, 1,000 rotations under load, 100 histories, every recording on PostgreSQL, every fault; hours
	LEASEHOLD_KILLS=10000 $(GO) test -count=1 -timeout=24h -run='TestRandomKills|TestFailpointsOn' ./crash
	LEASEHOLD_KV_KILLS=10000 LEASEHOLD_CAS_ROUNDS=10000 $(GO) test -count=1 -timeout=24h -run='TestKillsOfKeyValues|TestCheckAndSet' ./crash
	LEASEHOLD_ROTATIONS=1000 $(GO) test -count=1 -timeout=24h -run=TestTwoUsersUnderLoad ./database
	LEASEHOLD_HISTORIES=100 $(GO) test -count=1 -timeout=24h ./history
	LEASEHOLD_EVERY_FLOW=1 $(GO) test -count=1 -timeout=24h -run=TestRecordingsOnPostgreSQL ./conformance
	LEASEHOLD_KILLS=200 LEASEHOLD_STOPS=40 LEASEHOLD_FAILOVERS=12 LEASEHOLD_CUTS=50 LEASEHOLD_ROUNDS=60 $(GO) test -tags faults -count=1 -timeout=24h ./cluster
	LEASEHOLD_FAULTS=full $(GO) test -count=1 -timeout=24h ./faults

fuzz: ## each fuzz target for a while: make fuzz FUZZTIME=10m
	./scripts/fuzz.sh $(or $(FUZZTIME),1m)

bench: packages ## the figures of docs/performance.md
	$(GO) test -run='^$$' -bench=. -benchmem -timeout=60m $(or $(BENCH),./bench/...)

demo: build packages ## the main job, step by step, on a throwaway database
	./scripts/demo.sh bin/leasehold

clean:
	rm -rf bin
