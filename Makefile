# What a newcomer needs: make run, make test. Everything else: make help.
.DEFAULT_GOAL := help
BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=auto -ldflags '-s -w'
# The platform has zstd in C where a C compiler for this machine links statically, and
# in Go elsewhere (docs/adr/0026-zstd-in-c.md).
WITHC := CGO_ENABLED=1 go build -trimpath -buildvcs=auto -tags netgo,osusergo -ldflags '-s -w -linkmode external -extldflags -static'
LINKS = printf 'int main(void) { return 0; }' | $(CC) -static -x c - -o /dev/null 2>/dev/null && echo yes
SERVER = $(if $(GOOS)$(GOARCH),$(BUILD),$(if $(shell $(LINKS)),$(WITHC),$(BUILD)))
FUZZTIME ?= 20s
# WRITTEN are the Go files that people write, GENERATED those that programs do.
WRITTEN = git ls-files -co --exclude-standard '*.go' ':!*.pb.go' ':!*_gen.go' | while read -r f; do [ ! -e "$$f" ] || echo "$$f"; done
GENERATED = git ls-files -co --exclude-standard '*.pb.go' '*_gen.go' '*_service.proto' '*/openapi.yaml' | xargs -r sha256sum
GCI := -s standard -s default -s 'prefix(selvedge.dev)'

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## bin/selvedge, the platform and its client, and bin/edged, the device's runtime
	$(SERVER) -o bin/selvedge ./local
	$(BUILD) -o bin/edged ./edgeruntime/cmd/edged

run: build ## run the platform here, with this machine as its first device
	bin/selvedge up --edge

# PLAIN are the packages whose tests run programs or compare answers for minutes:
# the race detector makes them three times as long. make race has them with it.
# What go test would vet again, make check does.
PLAIN = selvedge.dev/tests/e2e selvedge.dev/tests/backends selvedge.dev/tsdb/query selvedge.dev/infra/dist selvedge.dev/logstore/clickhouse

test: ## every test of the module, with the race detector but where it takes minutes
	go test -vet=off -race -timeout 12m $$(go list ./... | grep -v -x -F "$$(printf '%s\n' $(PLAIN))")
	go test -vet=off -timeout 12m -parallel 4 $(PLAIN)

race: ## those with the race detector too, the programs that they run included
	go test -race -timeout 30m $(PLAIN)

check: tools ## format, linters, architecture, generated code, go.mod
	@files=$$({ $(WRITTEN) | xargs bin/gofumpt -l && $(WRITTEN) | xargs bin/gci list $(GCI); } | sort -u) && \
		[ -z "$$files" ] || { printf 'make fmt changes these files:\n%s\n' "$$files"; exit 1; }
	go vet -vettool=$(CURDIR)/bin/lint ./...
	cd tests/lint && go vet -vettool=$(CURDIR)/bin/lint ./... && go test ./...
	go test ./tests
	@old=$$($(GENERATED)); $(MAKE) -s generate && [ "$$old" = "$$($(GENERATED))" ] || { echo 'make generate changes generated code: commit what it writes'; exit 1; }
	bin/buf lint bin/image.binpb --config infra/proto/buf.yaml
	@$(MAKE) -s breaking
	go -C infra/proto/tools test ./...
	go mod tidy -diff
	go -C tests/conformance mod tidy -diff
	@git ls-files '*/go.mod' ':!infra/templates/' ':!*/testdata/' | while read -r m; do \
		go -C "$${m%/go.mod}" list -mod=readonly -deps -test ./... >/dev/null || { echo "$$m is behind the modules that it requires"; exit 1; }; done

generate: tools ## services, Go code and OpenAPI documents from .proto files
	go generate ./...
	go run ./infra/proto -generate selvedge.dev -openapi bin/protoc-gen-openapi -image bin/image.binpb
	go run ./infra/proto -root infra/templates/go/selvedge-service/api -generate selvedge.dev/api

breaking: # .proto files against those of main, and on main against the commit before
	@base=$$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main 2>/dev/null || echo HEAD); \
		[ "$$(git rev-parse $$base)" != "$$(git rev-parse HEAD)" ] || base=$$(git rev-parse -q --verify HEAD~1 || echo HEAD); \
		git ls-tree -r --name-only $$base | grep -q '\.proto$$' || exit 0; \
		rm -rf bin/base && mkdir -p bin/base && git archive $$base ':(glob)**/*.proto' ':!infra/templates' | tar -x -C bin/base && \
		go run ./infra/proto -root bin/base -image bin/base.binpb && bin/buf breaking bin/image.binpb --exclude-imports --against bin/base.binpb --config infra/proto/buf.yaml

fmt: tools ## format the code as check wants it
	@$(WRITTEN) | xargs bin/gofumpt -w && $(WRITTEN) | xargs bin/gci write $(GCI)

tools: # linter and formatters at the versions of tests/lint/go.mod, generators at those of infra/proto/tools/go.mod
	@go -C tests/lint build -o $(CURDIR)/bin/ . mvdan.cc/gofumpt github.com/daixiang0/gci
	@go -C infra/proto/tools build -o $(CURDIR)/bin/ tool

conformance: ## our filters and delivery against Knative's own packages
	go -C tests/conformance test -timeout 15m ./...

clients: ## clients that are not ours, unmodified, against the program; ONLY=NAME for one of them
	@for m in tests/clients/$(or $(ONLY),*)/go.mod; do d=$$(dirname "$$m"); [ "$$d" = tests/clients/func ] || go -C "$$d" test -timeout 10m ./... || exit 1; done

func: ## the stock func and kubectl against the program
	go -C tests/clients/func test -timeout 15m ./...

e2e-knative: ## the platform on a real cluster with Knative: KUBECONFIG=FILE REGISTRY=HOST, see tests/knative/doc.go
	@[ -n "$(KUBECONFIG)" ] && [ -n "$(REGISTRY)" ] || { echo 'say where: make e2e-knative KUBECONFIG=FILE REGISTRY=HOST [GATEWAY=HOST:PORT] [HOST=ADDRESS] [VOLUME=FOLDER]'; exit 2; }
	KUBECONFIG='$(abspath $(KUBECONFIG))' REGISTRY='$(REGISTRY)' GATEWAY='$(GATEWAY)' HOST='$(HOST)' VOLUME='$(VOLUME)' go -C tests/knative test -v -count 1 -timeout 40m ./...

image: ## the platform's image, into a registry: TO=HOST/REPOSITORY:TAG
	@go run ./infra/knative/image -to '$(TO)'

clickhouse: ## the ClickHouse server that tests and benchmarks run, into the user's cache
	@tests/clickhouse/install

crash: ## the journal's crash model, 200,000 power cuts
	SELVEDGE_CRASH_CUTS=200000 go test -timeout 2h -run Crash ./sdk/journal

fuzz: ## every fuzz target for FUZZTIME (20s)
	@git grep -l --untracked '^func Fuzz' -- '*_test.go' ':!tests/*/' | while read -r f; do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$f"); do \
			go test -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$f")" || exit 1; done; done

bench: build ## throughput, latency, memory and start of the platform here; DATABASE='host=… dbname=…' adds PostgreSQL
	go run ./tests/bench -program bin/selvedge
	go run ./tests/bench/resources -program bin/selvedge -database '$(DATABASE)'
	go run ./tests/bench/series -program bin/selvedge
	go run ./tests/bench/access -program bin/selvedge
	go run ./tests/bench/functions -program bin/selvedge
	tests/clickhouse/install && go run ./tests/bench/logs

dist: ## dist/functions/FN, or all functions, as projects for Knative's func
	go run ./infra/dist $(FN)

templates: ## dist/templates, from which func creates services
	go run ./infra/dist -templates

edge: ## the device's runtime for arm64 and armv7, with sizes
	GOOS=linux GOARCH=arm64 $(BUILD) -o bin/edged-arm64 ./edgeruntime/cmd/edged
	GOOS=linux GOARCH=arm GOARM=7 $(BUILD) -o bin/edged-armv7 ./edgeruntime/cmd/edged
	@du -h --apparent-size bin/edged-*

.PHONY: help build run test race check generate breaking fmt tools conformance clients func e2e-knative image clickhouse crash fuzz bench dist templates edge
