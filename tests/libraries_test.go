package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// library says where packages of other modules may be imported. Whoever adds a
// requirement to go.mod adds its row; the longest matching path counts.
type library struct {
	// path is the import path of the packages: itself and all below it.
	path string
	// in are patterns of our packages, as in arrow; "" is none.
	in string
	// tests says that test files may import it wherever they are.
	tests bool
	// why is the reason.
	why string
}

// onlyIn are the libraries and the adapters that they stay in.
var onlyIn = []library{
	{"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go", "sdk/service infra/proto/...", true, "the rules of fields, for the compiler of proto files"},
	{"buf.build/go/protovalidate", "sdk/service", false, "the rules of fields in proto files are checked in one place"},
	{"cloud.google.com/go/logging", "functions/logging", true, "Google's own messages are what its clients send; tests read our answers by them"},
	{"cloud.google.com/go/monitoring", "functions/monitoring", true, "Google's own messages are what its clients send; tests read our answers by them"},
	{"github.com/ClickHouse/clickhouse-go/v2", "logstore/clickhouse tests/bench/...", false, "one adapter knows the protocol of ClickHouse"},
	{"github.com/VictoriaMetrics/VictoriaLogs", "logstore/embedded tests/bench/...", false, "one adapter knows the storage of logs"},
	{"github.com/VictoriaMetrics/VictoriaMetrics", "tsdb/vm tests/bench", false, "one adapter knows the storage engine; the rest of tsdb is standard library only"},
	{"github.com/VictoriaMetrics/VictoriaMetrics/lib/logger", "sdk/victoria", false, "where the storages of VictoriaMetrics log is settled once per process"},
	{"github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding/snappy", "tsdb/ingest/wire", false, "the bounded reader of what remote write is packed with"},
	{"github.com/VictoriaMetrics/VictoriaMetrics/lib/prompb", "tsdb/vm tests/bench", true, "an encoder of remote write that is not ours"},
	{"github.com/aws/aws-sdk-go-v2", "functions/emailer functions/messenger logstore/audit/archive/s3", true, "SES and SNS, behind the provider of each function, and S3 behind the target of an export"},
	{"github.com/aws/smithy-go", "functions/emailer functions/messenger logstore/audit/archive/s3", false, "what the answers of SES, SNS and S3 are called"},
	{"github.com/bufbuild/protocompile", "infra/proto/...", true, "the compiler of proto files"},
	{"github.com/chromedp/chromedp", "", true, "drives a browser, whose fetch our services must answer"},
	{"github.com/cloudevents/sdk-go/v2/event", "sdk/event", true, "everybody else says event.Event"},
	{"github.com/cloudevents/sdk-go/v2/types", "sdk/event triggers/...", true, "the types of attribute values, which filters compare and brokers stamp"},
	{"github.com/cloudevents/sdk-go/v2", "", true, "the official receiver stalls for good under concurrent requests, and a client that is not ours hides retries: sdk/event speaks HTTP"},
	{"github.com/cloudevents/sdk-go/sql/v2", "triggers/filter", false, "CESQL is one dialect of filters"},
	{"github.com/containerd/containerd/api", "local/cluster/serving/containerd", false, "the messages of containerd's API, which one adapter calls"},
	{"connectrpc.com/connect", "sdk/rpc sdk/gateway/rpc functions/logging functions/monitoring local/collector", true, "the two ends of a call; everybody else sees methods and messages"},
	{"connectrpc.com/grpcreflect", "sdk/gateway/rpc", true, "gRPC reflection"},
	{"connectrpc.com/vanguard", "sdk/gateway/rpc", false, "REST by google.api.http"},
	{"github.com/antlr/antlr4/runtime/Go/antlr", "triggers/filter", false, "the CESQL parser's error type"},
	{"github.com/emersion/go-sasl", "", true, "the words by which clients of go-smtp sign in"},
	{"github.com/emersion/go-smtp", "", true, "a server of SMTP that is not ours"},
	{"github.com/go-chi/chi/v5", "functions/... sdk/resource/rest sdk/gateway/... local/...", false, "the routes of HTTP functions; an event function has none"},
	{"github.com/google/uuid", "local/... sdk/service", true, "ids of events that a person posts by hand, of requests, and of resources without a name of their own"},
	{"cuelabs.dev/go/oci/ociregistry", "local/cluster/registry infra/knative/image", false, "the protocol of OCI registries; what is stored, and how, is ours"},
	{"github.com/klauspost/compress/zstd", "edgeruntime/image", true, "layers of images may be compressed with zstd"},
	{"github.com/jackc/pgx/v5", "sdk/store/postgres sdk/store/storetest/pgtest", true, "the driver of the store on PostgreSQL"},
	{"github.com/parquet-go/parquet-go", "tsdb/export", true, "Apache Parquet is one format of exports"},
	{"github.com/shirou/gopsutil/v4", "edgeruntime/...", false, "only the device reads the machine that it runs on"},
	{"github.com/spf13/cobra", "local/...", false, "selvedge is the only command with subcommands"},
	{"github.com/stretchr/testify/require", "sdk/store/storetest/... tsdb/tsdbtest logstore/logstoretest logstore/clickhouse/chtest local/cluster/serving/runnertest tests/eventingtest", true, "conformance suites are tests that other packages run"},
	{"github.com/stretchr/testify", "", false, "require is the only part in use: an assertion that failed makes the ones after it noise"},
	{"github.com/wneessen/go-mail", "functions/emailer", false, "e-mails as SMTP has them"},
	{"go.einride.tech/aip", "", true, "an oracle for filters, masks and names: it lacks half of the operators and is not on the way of a request"},
	{"go.opentelemetry.io/proto/otlp", "functions/logging", true, "OTLP's own messages are what its clients send"},
	{"golang.org/x/sync", "...", true, "errgroup, semaphore and singleflight are what the standard library lacks"},
	{"google.golang.org/genproto/googleapis/api", "sdk/schema sdk/service infra/proto/... functions/logging functions/monitoring", true, "the options that google.aip.dev has words for, and Google's types for the oracle"},
	{"google.golang.org/genproto/googleapis/rpc", "sdk/rpc functions/logging functions/monitoring local/collector", true, "google.rpc.ErrorInfo and RetryInfo, and the status of each point that is not written"},
	{"google.golang.org/grpc", "local/cluster/serving/containerd", true, "the stock client, which our services must answer, and which containerd's API is made for"},
	{"google.golang.org/protobuf", "...", true, "contracts are protobuf"},
	{"modernc.org/sqlite", "sdk/store/sqlite", false, "everybody above uses database/sql"},
	{"pgregory.net/rapid", "tsdb/tsdbtest logstore/logstoretest sdk/store/storetest", true, "property tests"},
	{"sigs.k8s.io/yaml", "triggers/manifests functions/scheduler infra/... local/...", true, "manifests and OpenAPI documents are the only YAML; settings are flags"},

	// These are not in go.mod, and stay out of it.
	{"k8s.io", "", false, "Kubernetes stays out of our go.mod: its packages are oracles, in modules of their own below tests/"},
	{"knative.dev", "", false, "Knative stays out of our go.mod: its packages are oracles, in modules of their own below tests/"},
	{"log", "", false, "a *slog.Logger is passed in"},
	{"math/rand", "", false, "math/rand/v2 is the one that is kept"},
	{"math/rand/v2", "...", true, "jitter and sampling"},
}

// onDevice is what the device's program may link, by its own imports and by
// those of our packages that it reaches: it is small, without cgo, and has no
// gRPC, SQL engine or message broker in it.
var onDevice = []string{
	"github.com/cloudevents/sdk-go",
	"github.com/shirou/gopsutil/v4",
	"golang.org/x/sync",
}

func TestLibraries(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	all := repository(t)
	report(t, libraries(all, requirements(string(mod)), onlyIn))
	report(t, linked(all, "edgeruntime/cmd/edged", onDevice))
}

// libraries finds imports of other modules where they may not be, libraries
// without a row, requirements that no row is for, and rows that name a module
// that is gone. Rows for nobody need no requirement.
func libraries(all []*source, required []string, table []library) []string {
	var problems []string
	for _, s := range all {
		if s.nested != "" || strings.HasSuffix(s.path, ".pb.go") { // which imports what its .proto file does
			continue
		}
		for _, imported := range s.imports() {
			if within(imported, module) {
				continue
			}
			row, ok := rowOf(imported, table)
			switch {
			case !ok && !standard(imported):
				problems = append(problems, fmt.Sprintf("%s: imports %s, which has no row in onlyIn of tests/libraries_test.go: do without it, or add the row with its one adapter and the reason", s.path, imported))
			case ok && !allowed(row.in, s.dir(), s.dir()) && !(s.test() && row.tests):
				problems = append(problems, fmt.Sprintf("%s: imports %s, which may be only in [%s]%s: %s", s.path, imported, row.in, map[bool]string{true: " and test files"}[row.tests], row.why))
			}
		}
	}
	for _, m := range required {
		if !slices.ContainsFunc(table, func(l library) bool { return within(m, l.path) || within(l.path, m) }) {
			problems = append(problems, fmt.Sprintf("go.mod: requires %s, which has no row in onlyIn of tests/libraries_test.go: add the row with its one adapter and the reason", m))
		}
	}
	for _, l := range table {
		if (l.in != "" || l.tests) && !standard(l.path) && !slices.ContainsFunc(required, func(m string) bool { return within(l.path, m) }) {
			problems = append(problems, fmt.Sprintf("tests/libraries_test.go: go.mod does not require %s any more: delete its row", l.path))
		}
	}
	return problems
}

// rowOf is the row with the longest path that imported is or is below. A row
// of the standard library is for that one package.
func rowOf(imported string, table []library) (library, bool) {
	var best library
	for _, l := range table {
		below := within(imported, l.path) && !standard(l.path)
		if (below || imported == l.path) && len(l.path) > len(best.path) {
			best = l
		}
	}
	return best, best.path != ""
}

// standard reports whether the import path is of the standard library: its
// first element has no dot.
func standard(imported string) bool { return !strings.Contains(room(imported), ".") }

// requirements are the modules that the text of a go.mod requires directly.
func requirements(mod string) []string {
	var modules []string
	for line := range strings.Lines(mod) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) == 2 && strings.HasPrefix(fields[1], "v") && strings.Contains(fields[0], ".") {
			modules = append(modules, fields[0])
		}
	}
	return modules
}

// linked finds what the program in folder main imports of other modules, by
// itself or through our packages, that is not in the list.
func linked(all []*source, main string, list []string) []string {
	imports := map[string][]string{}
	for _, s := range all {
		if s.nested == "" && !s.test() {
			imports[s.dir()] = append(imports[s.dir()], s.imports()...)
		}
	}
	var problems []string
	chains := map[string]string{main: main}
	for queue := []string{main}; len(queue) > 0; queue = queue[1:] {
		for _, imported := range imports[queue[0]] {
			if chains[imported] != "" {
				continue
			}
			chain := chains[queue[0]] + " > " + imported
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
				if chains[ours] == "" {
					chains[ours] = chain
					queue = append(queue, ours)
				}
				continue
			}
			chains[imported] = chain
			if !standard(imported) && !slices.ContainsFunc(list, func(l string) bool { return within(imported, l) }) {
				problems = append(problems, fmt.Sprintf("the device would link %s: %s: keep it off the device, or add it to onDevice in tests/libraries_test.go with the size that it costs", imported, chain))
			}
		}
	}
	return problems
}

func TestLibraries_Violations(t *testing.T) {
	t.Parallel()
	table := []library{
		{"example.org/db", "sdk/store/db", false, "one adapter"},
		{"example.org/sdk", "", true, "tests only"},
		{"example.org/sdk/event", "sdk/event", true, "one place"},
		{"k8s.io", "", false, "not here"},
		{"log", "", false, "slog"},
	}
	required := []string{"example.org/db", "example.org/sdk"}
	f := func(path, text string, want ...string) {
		t.Helper()
		got := libraries(sources(t, map[string]string{path: text}), required, table)
		require.Len(t, got, len(want), "%q", got)
		for i := range want {
			require.Contains(t, got[i], want[i])
		}
	}
	f("sdk/store/db/db.go", `package db; import (_ "example.org/db/driver"; _ "net/http")`)
	f("tests/n/go.mod", ``)
	f("sdk/a/a.go", `package a; import _ "example.org/db"`, "sdk/a/a.go: imports example.org/db, which may be only in [sdk/store/db]: one adapter")
	f("sdk/a/a.go", `package a; import _ "example.org/dbx"`, "imports example.org/dbx, which has no row")
	f("sdk/a/a_test.go", `package a; import _ "example.org/sdk/client"`)
	f("sdk/a/a.go", `package a; import _ "example.org/sdk/client"`, "may be only in [] and test files")
	f("sdk/event/a.go", `package event; import _ "example.org/sdk/event"`)
	f("sdk/a/a.go", `package a; import _ "example.org/sdk/event"`, "may be only in [sdk/event]")
	f("tests/a/a_test.go", `package a; import _ "k8s.io/api"`, "imports k8s.io/api")
	f("sdk/a/a.go", `package a; import _ "log"`, "imports log")
	f("sdk/a/a.go", `package a; import _ "log/slog"`)

	got := libraries(nil, []string{"example.org/db", "example.org/new"}, table)
	require.Len(t, got, 3)
	require.Contains(t, got[0], "go.mod: requires example.org/new, which has no row")
	require.Contains(t, got[1], "go.mod does not require example.org/sdk any more")
	require.Contains(t, got[2], "go.mod does not require example.org/sdk/event any more")
}

func TestLinked_NamesTheChain(t *testing.T) {
	t.Parallel()
	tree := sources(t, map[string]string{
		"edge/cmd/main.go":     `package main; import (_ "selvedge.dev/edge"; _ "fmt"; _ "example.org/small/x")`,
		"edge/edge.go":         `package edge; import _ "selvedge.dev/sdk/a"`,
		"edge/edge_test.go":    `package edge; import _ "example.org/mock"`,
		"sdk/a/a.go":           `package a; import _ "example.org/sql"`,
		"sdk/b/unreachable.go": `package b; import _ "example.org/grpc"`,
	})
	got := linked(tree, "edge/cmd", []string{"example.org/small"})
	require.Len(t, got, 1)
	require.Contains(t, got[0], "edge/cmd > selvedge.dev/edge > selvedge.dev/sdk/a > example.org/sql")
}

func TestRequirements_AreTheDirectOnes(t *testing.T) {
	t.Parallel()
	const mod = "module selvedge.dev\n\ngo 1.26\n\nrequire example.org/one v1.0.0\n\nrequire (\n\texample.org/two/v2 v2.0.0\n\texample.org/three v0.1.0 // indirect\n)\n"
	require.Equal(t, []string{"example.org/one", "example.org/two/v2"}, requirements(mod))
}
