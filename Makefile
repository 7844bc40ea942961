# viv's build. `make help` prints the targets, each with the comment beside it.
#
# As root on Debian a target first installs the packages that it needs and
# that are missing; the lists below hold one line per purpose. Otherwise it
# names them and goes on.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -euc
.DEFAULT_GOAL := help

GO ?= go
FUZZTIME ?= 10s

DEMO_NEEDS     := gcc libc6-dev
TEST_NEEDS     := gcc libc6-dev libssl-dev musl-tools python3 python3-grpcio ruby sudo jq curl libcurl3-gnutls wget nodejs default-jdk-headless systemd
TEST_VM_NEEDS  := $(TEST_NEEDS) qemu-system-x86 busybox-static cpio
# The compiler's major version is pinned (in bpf/bpf.go too): the objects are
# committed, and another compiler makes others.
GENERATE_NEEDS := clang-19 llvm-19 libbpf-dev libc6-dev
BENCH_NEEDS    := gcc libc6-dev strace bpftrace

# Packages whose tests load BPF programs or count them, which only one at a
# time can do. The others run beside each other.
BPF_TESTS := /bpf$$|/pkg/probe$$|/cmd/viv-probe$$

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build every program into bin/
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/ ./cmd/...

.PHONY: demo
demo: ## watch a small program of ours and print its tree (root, or sudo)
	@scripts/need "make demo" $(DEMO_NEEDS)
	@$(MAKE) --no-print-directory build
	@scripts/demo

.PHONY: test
test: ## run every test with the race detector; as root also those that load BPF
	@scripts/need "make test" $(TEST_NEEDS)
	@GO="$(GO)" scripts/test '$(BPF_TESTS)'

.PHONY: test-vm
test-vm: ## run the BPF tests on other kernels, in QEMU, and print test by kernel
	@scripts/need "make test-vm" $(TEST_VM_NEEDS)
	@GO="$(GO)" scripts/test-vm

.PHONY: test-jaeger
test-jaeger: ## watch a Ruby program, send it to a real Jaeger, compare the trees (builds Jaeger once: minutes)
	@scripts/need "make test-jaeger" ruby
	$(GO) test -count=1 -timeout 60m -tags slow -v -run TestJaeger ./cmd/viv-otlp

.PHONY: test-slow
test-slow: ## an hour of events without a receiver; the systemd unit's pipeline with its capabilities; a day of processes (root)
	$(GO) test -count=1 -timeout 30m -tags slow -v -run 'TestHour|TestUnitRuns' ./cmd/viv-otlp
	$(GO) test -count=1 -timeout 30m -tags slow -v -run TestDay ./pkg/probe

.PHONY: bench-otlp
bench-otlp: ## what exporting costs viv-otlp and real Collectors
	$(GO) test -count=1 -timeout 30m -tags slow -v -run 'Rates|Sizes' ./cmd/viv-otlp

.PHONY: generate
generate: ## compile the BPF programs and write all other generated files
	@scripts/need "make generate" $(GENERATE_NEEDS)
	$(GO) generate ./...

.PHONY: bench
bench: ## measure: each package, and viv beside strace and bpftrace (root)
	@scripts/need "make bench" $(BENCH_NEEDS)
	@$(MAKE) --no-print-directory build
	$(GO) test -run '^$$' -bench . -benchmem $$($(GO) list ./...)
	$(GO) run ./bench

.PHONY: fuzz
fuzz: ## fuzz each decoder for FUZZTIME (default 10s)
	@GO="$(GO)" scripts/fuzz $(FUZZTIME)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
		[[ -z $$unformatted ]] || { echo "not formatted (run gofmt -w):" $$unformatted >&2; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

.PHONY: clean
clean: ## remove what was built, and the kernels that test-vm fetched
	rm -rf bin build
