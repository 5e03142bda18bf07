# Every target works on a machine with Go, make and a C compiler (for -race).

GO ?= go
FUZZTIME ?= 60s
BENCH ?=
BENCHTIME ?= 1s
MISSES ?= 2000x
BATCHES ?= 50x
SHORT ?=
KILLS ?= 500
FAULTS ?=
MEMORY ?=
SEEDS ?= 200
SIM ?= -duration 60s

.PHONY: all check fmt tidy vet staticcheck vuln cross imports contract small beds test test-all test-root test-sim test-stores test-integration test-fips sim test-faults smoke fuzz bench bench-cache hit-ratio memory crash rotation

all: check test

## check: everything that a reviewer should not have to look for
check: fmt tidy vet staticcheck vuln cross imports contract small

fmt:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi

tidy:
	$(GO) mod tidy -diff
	$(GO) -C integration mod tidy -diff
	$(GO) -C integration/beds/vault mod tidy -diff
	$(GO) -C integration/beds/kubernetes mod tidy -diff

vet:
	$(GO) vet ./...
	$(GO) vet -tags failpoints ./...
	$(GO) vet -tags simulation ./internal/...
	$(GO) -C integration vet ./...
	$(GO) -C integration vet -tags faults ./...

staticcheck:
	$(GO) tool staticcheck ./...

## vuln: known vulnerabilities in the code that the programs call; skipped, with a message,
## if the database cannot be reached
vuln:
	@found=$$($(GO) tool govulncheck ./... 2>&1); status=$$?; echo "$$found"; \
	case "$$status $$found" in \
	0*) ;; \
	1*"fetching vulnerabilities"*) echo "vuln: SKIPPED: the database of known vulnerabilities cannot be reached from here" ;; \
	*) exit 1 ;; \
	esac

# Vet for the other platforms, tests included.
cross:
	GOOS=darwin $(GO) vet ./...
	GOOS=windows $(GO) vet ./...

# No binary is committed. One that .gitignore names is somebody's build, which an old commit
# still has: it is named, since only a commit can mend it.
small:
	@git ls-tree -r -l HEAD | awk '$$4 > 1048576' | while read -r mode type id size path; do \
		if git check-ignore -q --no-index "$$path"; then echo "small: $$path is tracked, although .gitignore names it: git rm --cached $$path"; \
		else echo "larger than 1 MiB: $$path"; exit 1; fi; done

# The files that are generated from package subjects must be current.
contract:
	$(GO) run ./internal/contract -root . -check

imports:
	$(GO) test -count=1 ./internal/imports

## test: every package under the race detector, and a few simulated minutes of the protocol;
## within ten minutes on two cores, downloads included. All is built with -race, so that
## nothing is compiled twice; the slowest packages come first, and several at once, since
## they wait more than they compute
test:
	$(GO) build -race -o $(CURDIR)/.beds/nats ./internal/testbed/natsbed
	CREDBUS_TEST_BEDS=$(CURDIR)/.beds $(GO) test -race -short -vet=off -p 3 -timeout 15m ./internal/worker ./internal/store/... ./...
	$(GO) test -race -tags simulation -count=1 -run Simulation ./internal/simulation -seeds 1
	@echo "make test: ok. It used no Vault, no Kubernetes and no containers: make test-all does"

## test-all: everything that make test leaves out; the first time it builds the servers that
## stores are tested against. Then the long runs, each for seconds
test-all: test-root test-stores test-sim test-integration test-fips smoke

test-root: beds
	CREDBUS_TEST_BEDS=$(CURDIR)/.beds $(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v -e /internal/store/ -e /internal/worker)
	CREDBUS_TEST_BEDS=$(CURDIR)/.beds $(GO) test -race -timeout 20m ./internal/worker # alone: 10,000 clients at once fill a machine

## test-fips: the suite in FIPS 140-3 mode, which refuses all that is not approved. The bar of
## memory is for the usual mode: in this one the worker takes some MiB more
test-fips:
	$(GO) build -o $(CURDIR)/.beds/nats ./internal/testbed/natsbed
	GODEBUG=fips140=only CREDBUS_TEST_BEDS=$(CURDIR)/.beds $(GO) test -short -vet=off -p 3 -timeout 15m $$($(GO) list ./... | grep -v /internal/footprint)

# The protocol between replicas in synthetic time: a few seeds under the race
# detector, then each mutant until it is caught, without the detector, to be fast.
test-sim:
	$(GO) test -race -tags simulation -count=1 -timeout 20m ./internal/coherence
	$(GO) test -race -tags simulation -count=1 -timeout 20m -v -run Simulation ./internal/simulation
	$(GO) test -tags simulation -count=1 -timeout 20m -v -run Mutants ./internal/simulation

## test-stores: every driver against a real server of its kind, with a report of
## the cases of each and where it differs
test-stores: beds
	GO='$(GO)' CREDBUS_TEST_BEDS=$(CURDIR)/.beds $(GO) run ./internal/storereport -race -count=1 -timeout 30m ./internal/store/...

# Servers of other projects, built from their Go modules: minutes the first time,
# a second once they are in the build cache.
beds:
	CGO_ENABLED=0 $(GO) build -ldflags='-s -w' -o $(CURDIR)/.beds/nats ./internal/testbed/natsbed
	for bed in vault kubernetes; do \
		CGO_ENABLED=0 $(GO) build -C integration/beds/$$bed -ldflags='-s -w' -o $(CURDIR)/.beds/$$bed . || exit 1; \
	done

# Containers; without a Docker engine these skip, with CREDBUS_REQUIRE_DOCKER=1
# they fail. Results are not cached, since the cache does not see the worker.
test-integration:
	$(GO) -C integration test -race -v -count=1 -timeout 20m ./...

## sim: SEEDS seeds of 60 simulated seconds for each class of faults and mode, and
## every mutant; about half an hour
sim:
	$(GO) test -tags simulation -count=1 -timeout 3h -v ./internal/simulation -seeds $(SEEDS) $(SIM)

## test-faults: cuts, pauses, kills and restarts of containers, judged from the results
## that clients got; FAULTS="-bed cluster -mode strict -fault cut,pause -seconds 60"; and
## batch jobs in the same, judged from the store's log; FAULTS="-run JobFaults -seed 7"
test-faults:
	$(GO) -C integration test -race -tags faults -v -count=1 -run Faults -timeout 60m . $(FAULTS)

## smoke: each long run for seconds, so that none rots; it times nothing
smoke: beds
	$(MAKE) bench BENCH='-rounds 1 -round 200ms' MISSES=2x BATCHES=1x SHORT=-short
	$(MAKE) bench-cache BENCHTIME=1x SHORT=-short
	$(MAKE) hit-ratio
	$(MAKE) memory MEMORY='-entries 2000 -rounds 2 -requests 8'
	$(MAKE) crash KILLS=5
	$(MAKE) rotation SHORT=-short
	$(MAKE) fuzz FUZZTIME=1x
	$(MAKE) sim SEEDS=1 SIM='-duration 5s -run Simulation'
	$(MAKE) test-faults FAULTS='-run TestFaults -bed one -mode bounded -fault kill -seconds 3'

## fuzz: every fuzz target for FUZZTIME each
fuzz:
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "== $$package $$target"; \
			$(GO) test $$package -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) || exit 1; \
		done; \
	done

## bench: cache hits against a bare NATS responder, and against hits without the
## protocol between replicas, with the ratios as the last lines; then, for each
## store, misses against the SDK's own call, and batches against one by one; then jobs
## against batch requests, and how long requests wait while jobs run
bench: beds
	$(GO) run ./internal/bench $(BENCH)
	CREDBUS_TEST_BEDS=$(CURDIR)/.beds $(GO) test ./internal/worker -run '^$$' -bench 'Miss$$' -benchtime $(MISSES)
	CREDBUS_TEST_BEDS=$(CURDIR)/.beds $(GO) test ./internal/worker -run '^$$' -bench 'Batch$$' -benchtime $(BATCHES)
	$(GO) test ./internal/worker -run '^$$' -bench 'Jobs$$' -benchtime 1x $(SHORT)
	$(GO) test ./internal/worker -run '^$$' -bench 'Neighbour$$' -benchtime 1x $(SHORT)

## bench-cache: the benchmarks of single packages
bench-cache:
	$(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) -benchmem $(SHORT) ./subjects ./internal/cache ./internal/manager ./internal/seal ./internal/store/...

## hit-ratio: the cache against exact LRU; TRACE names an xz file of big-endian int32
hit-ratio:
	$(GO) test ./internal/cache -count=1 -run HitRatio -v $(if $(TRACE),-requests $(abspath $(TRACE)))

## memory: the resident size of a worker: 100,000 cached entries, the worst requests
## of each kind at once, and reads under a limit
memory:
	$(GO) run ./internal/footprint $(MEMORY)

## crash: kill -9 during writes, KILLS times
crash:
	$(GO) test ./internal/store/file -count=1 -run TestKillDuringWrites -v -timeout 20m -kills=$(KILLS)

## rotation: rotate the key of 10,000 credentials that are read meanwhile
rotation:
	@out=$$($(GO) test ./internal/worker -count=1 -run TestRotationOnline -v -timeout 20m $(SHORT)); status=$$?; \
	echo "$$out" | grep -E '^(rotation:|---|ok|FAIL|panic:| +[a-z_]+\.go:)'; exit $$status
