package logging_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// sets are promoted sets of labels.
func sets(of ...[]string) []*loggingv1.PromotedLabels {
	var out []*loggingv1.PromotedLabels
	for _, keys := range of {
		out = append(out, &loggingv1.PromotedLabels{Keys: keys})
	}
	return out
}

// labelsOf are labels by their keys.
func labelsOf(keys ...string) []*loggingv1.LogLabel {
	var out []*loggingv1.LogLabel
	for _, k := range keys {
		out = append(out, &loggingv1.LogLabel{Key: k})
	}
	return out
}

// Stores are told what descriptors promote, soon after they say so: those of the
// project before those of services.
// SPEC A5
func TestRegistry_Promoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.reg.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	f := func(project, log string, want ...string) {
		t.Helper()
		require.Eventually(t, func() bool {
			return slices.Equal(want, w.reg.Promoted(&logstore.Entry{Project: project, Log: log}))
		}, 30*time.Second, time.Millisecond, "%s in %s", log, project)
	}
	create := func(parent, id string, d *loggingv1.LogDescriptor) {
		t.Helper()
		require.NoError(t, w.call("CreateLogDescriptor", &loggingv1.CreateLogDescriptorRequest{Parent: parent, LogDescriptorId: id, LogDescriptor: d}))
	}
	f("p", "faults")
	create("services/s.example.com", "all", &loggingv1.LogDescriptor{LogId: "faults", Labels: labelsOf("a", "b"), PromotedLabelSets: sets([]string{"b"}, []string{"b", "a"})})
	f("p", "faults", "a", "b")
	f("other", "faults", "a", "b")
	create(project, "own", &loggingv1.LogDescriptor{LogId: "faults", Labels: labelsOf("line", "shift"), PromotedLabelSets: sets([]string{"shift"})})
	f("p", "faults", "shift")
	f("other", "faults", "a", "b")
	f("p", "syslog")
	require.NoError(t, w.call("UpdateLogDescriptor", &loggingv1.UpdateLogDescriptorRequest{LogDescriptor: &loggingv1.LogDescriptor{
		Name: project + "/logDescriptors/own", LogId: "faults", Labels: labelsOf("line"), PromotedLabelSets: sets([]string{"line"}),
	}}))
	f("p", "faults", "line")
	require.NoError(t, w.call("DeleteLogDescriptor", &loggingv1.DeleteLogDescriptorRequest{Name: project + "/logDescriptors/own"}))
	f("p", "faults", "a", "b")
	create("organizations/o", "all", &loggingv1.LogDescriptor{LogId: "syslog", Labels: labelsOf("a"), PromotedLabelSets: sets([]string{"a"})})
	create("services/s.example.com", "last", &loggingv1.LogDescriptor{LogId: "last", Labels: labelsOf("a"), PromotedLabelSets: sets([]string{"a"})})
	f("p", "last", "a")
	f("p", "syslog")
}

// What is wrong with promoted sets is said.
// SPEC A5
func TestLogDescriptor_PromotedBounds(t *testing.T) {
	t.Parallel()
	require.Equal(t, logstore.MaxPromoted, loggingv1.MaxPromoted)
	w := newWorld(t)
	f := func(want string, of ...[]string) {
		t.Helper()
		var keys []string
		for i := range 20 {
			keys = append(keys, fmt.Sprint("k", i))
		}
		err := w.call("CreateLogDescriptor", &loggingv1.CreateLogDescriptorRequest{Parent: project, LogDescriptorId: "d", LogDescriptor: &loggingv1.LogDescriptor{
			LogId: "l", Labels: labelsOf(keys...), PromotedLabelSets: sets(of...),
		}})
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.ErrorContains(t, err, want)
	}
	many := func(from, to int) (keys []string) {
		for i := from; i < to; i++ {
			keys = append(keys, fmt.Sprint("k", i))
		}
		return keys
	}
	f("no more than 8", many(0, 9))
	f("at least 1", []string{})
	f(`"k1" is there twice`, []string{"k1", "k0", "k1"})
	f(`"x" is not among the labels`, []string{"x"})
	f("17 labels in all sets together, the most are 16", many(0, 8), many(8, 16), many(12, 17))
	f("no more than 16", slices.Repeat([][]string{{"k0"}}, 17)...)
}
