# `make help` prints the targets, each with the comment beside it.
#
# On Debian, as root, a target first installs the missing packages of the lists
# below. Otherwise it prints their names and goes on.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -euc
.DEFAULT_GOAL := help

GO ?= go
FUZZTIME ?= 10s

DEMO_NEEDS     := gcc libc6-dev
TEST_NEEDS     := gcc libc6-dev libssl-dev musl-tools python3 python3-grpcio ruby sudo jq curl libcurl3-gnutls wget nodejs default-jdk-headless systemd
TEST_VM_NEEDS  := $(TEST_NEEDS) qemu-system-x86 busybox-static cpio
# The major version of the compiler is fixed (in bpf/bpf.go too): the objects are
# committed, and another compiler generates different ones.
GENERATE_NEEDS := clang-19 llvm-19 libbpf-dev libc6-dev
BENCH_NEEDS    := gcc libc6-dev strace bpftrace

# Packages whose tests load or count BPF programs. They run one at a time, all
# other packages in parallel.
BPF_TESTS := /bpf$$|/pkg/probe$$|/cmd/viv-probe$$

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build every program into bin/
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/ ./cmd/...

.PHONY: demo
demo: ## watch a small demo program and print its tree (root, or sudo)
	@scripts/need "make demo" $(DEMO_NEEDS)
	@$(MAKE) --no-print-directory build
	@scripts/demo

.PHONY: test
test: ## run all tests with the race detector; as root also those that load BPF programs
	@scripts/need "make test" $(TEST_NEEDS)
	@GO="$(GO)" scripts/test '$(BPF_TESTS)'

.PHONY: test-vm
test-vm: ## run the BPF tests on other kernels in QEMU, and print a table of tests and kernels
	@scripts/need "make test-vm" $(TEST_VM_NEEDS)
	@GO="$(GO)" scripts/test-vm

.PHONY: test-jaeger
test-jaeger: ## watch a Ruby program, export it to a real Jaeger, and compare the trees (builds Jaeger once: minutes)
	@scripts/need "make test-jaeger" ruby
	$(GO) test -count=1 -timeout 60m -tags slow -v -run TestJaeger ./cmd/viv-otlp

.PHONY: test-slow
test-slow: ## test an hour of events without a receiver, the pipeline of the systemd unit, and a day of processes (root)
	$(GO) test -count=1 -timeout 30m -tags slow -v -run 'TestHour|TestUnitRuns' ./cmd/viv-otlp
	$(GO) test -count=1 -timeout 30m -tags slow -v -run TestDay ./pkg/probe

.PHONY: bench-otlp
bench-otlp: ## measure the cost of exporting for viv-otlp and real Collectors
	$(GO) test -count=1 -timeout 30m -tags slow -v -run 'Rates|Sizes' ./cmd/viv-otlp

.PHONY: generate
generate: ## compile the BPF programs and write all other generated files
	@scripts/need "make generate" $(GENERATE_NEEDS)
	$(GO) generate ./...

.PHONY: bench
bench: ## measure each package, and viv compared with strace and bpftrace (root)
	@scripts/need "make bench" $(BENCH_NEEDS)
	@$(MAKE) --no-print-directory build
	$(GO) test -run '^$$' -bench . -benchmem $$($(GO) list ./...)
	$(GO) run ./bench

.PHONY: fuzz
fuzz: ## fuzz each decoder for FUZZTIME (default 10s)
	@GO="$(GO)" scripts/fuzz $(FUZZTIME)

.PHONY: lint
lint: ## run gofmt, go vet (also for other systems), and staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
		[[ -z $$unformatted ]] || { echo "not formatted (run gofmt -w):" $$unformatted >&2; exit 1; }
	$(GO) vet ./...
	for os in darwin freebsd; do GOOS=$$os $(GO) vet ./cmd/viv-{spans,filter,tree,otlp}; done
	$(GO) tool staticcheck ./...

.PHONY: clean
clean: ## remove all built files, and the kernels that test-vm fetched
	rm -rf bin build
