package command

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
)

// run runs a command line and returns its exit code and what it wrote.
func run(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestMain_WrongUseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	f := func(want string, args ...string) {
		t.Helper()
		code, out, errOut := run(t, args...)
		require.Equal(t, 2, code, args)
		require.Empty(t, out)
		require.Contains(t, errOut, want)
		require.Equal(t, 1, strings.Count(errOut, "\n"), "one line: %s", errOut)
	}
	f(`unknown command "foo"`, "foo")
	f(`unknown command "foo"`, "devices", "foo")
	f("NAME is missing", "create")
	f("NAME is missing", "get")
	f(`"b" is one argument too many`, "list", "a", "b")
	f("unknown flag: --nope", "list", "devices", "--nope")
	f("table, json or yaml", "list", "devices", "-o", "xml")
	f("--project", "list", "devices", "-p", "Not A Project")
	f("NETWORK/KEY/VALUE", "devices", "alias", "d", "boat-network/esn")
	f(`no context "nowhere"`, "list", "devices", "--context", "nowhere")
	f("--device or --source", "events", "send", "--type", "t")
	f("--data is not JSON", "events", "send", "--type", "t", "--device", "d", "--data", "{")
	f("ID is missing", "events", "trace")
	f("one argument too many", "events", "dead-letters", "1", "2")
	f("their ids, or --trigger", "events", "replay")
	f("their ids, or --trigger", "events", "replay", "1", "--trigger", "a")
	f("--since goes with --trigger", "events", "replay", "1", "--since", "1h")
	f("--file is missing", "apply")
	f("--file is missing", "diff")
}

func TestMain_HelpOfEveryCommand(t *testing.T) {
	t.Parallel()
	a := &app{out: io.Discard, errOut: io.Discard}
	commands := a.root().Commands()
	require.NotEmpty(t, commands)
	for _, c := range commands {
		code, out, _ := run(t, c.Name(), "--help")
		require.Zero(t, code)
		require.Contains(t, out, "Usage:")
		require.NotEmpty(t, c.Short)
	}
}

func TestMain_FailuresNameTheReason(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fault.Write(w, &fault.Error{Kind: fault.Unauthenticated, Reason: "UNAUTHENTICATED"})
	}))
	t.Cleanup(server.Close)
	code, _, errOut := run(t, "list", "devices", "--url", server.URL)
	require.Equal(t, 1, code)
	require.Contains(t, errOut, "UNAUTHENTICATED")

	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	_, _, errOut = run(t, "list", "devices", "--url", gone.URL)
	require.Contains(t, errOut, "is `selvedge up` running there?")
}

func TestSparkline_FromLeastToGreatest(t *testing.T) {
	t.Parallel()
	require.Equal(t, "▁▄█", sparkline([]float64{1, 1.5, 2}))
	require.Equal(t, "▁▁", sparkline([]float64{7, 7}))
	require.Equal(t, "█▁", sparkline([]float64{0, -1e300}))
}

func TestMergePages_JoinsASeriesThatWasCut(t *testing.T) {
	t.Parallel()
	part := func(device string, n int) series {
		return series{Metric: labelled{Type: "m"}, Resource: labelled{Labels: map[string]string{"device_id": device}}, Points: make([]point, n)}
	}
	merged := mergePages([]series{part("a", 1), part("b", 2), part("b", 3)})
	require.Len(t, merged, 2)
	require.Len(t, merged[1].Points, 5)
}
