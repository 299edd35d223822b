package access_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/iam/access"
)

// fleet is an engine with n bindings: ten to a project, of people, groups,
// programs and devices.
func fleet(b *testing.B, n int) *access.Engine {
	e := engine(b, access.Options{}, roles)
	for i := range n {
		project := fmt.Sprintf("projects/project-%d", i/10)
		members := []string{fmt.Sprintf("serviceAccount:%s/serviceAccounts/s%d", project, i%10)}
		switch i % 10 {
		case 0:
			members = []string{fmt.Sprintf("user:ada-%d@example.com", i/10), "group:organizations/o/groups/support"}
			require.NoError(b, e.SetParent(project, "organizations/o"))
		case 1:
			members = []string{fmt.Sprintf("group:%s/groups/g", project)}
		}
		require.NoError(b, e.SetBinding(access.Binding{Name: fmt.Sprintf("%s/roleBindings/b%d", project, i%10), Scope: project, Role: roles[i%3].Name, Members: members}))
	}
	return e
}

// BenchmarkDecide asks among 100,000 bindings, and reports what they take.
func BenchmarkDecide(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	e := fleet(b, 100_000)
	size := heap() - before
	f := func(name, member, resource string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			q := access.Question{Subject: access.Subject{Member: member}, Permission: "devices.devices.get", Resource: resource}
			for b.Loop() {
				e.Decide(q)
			}
			b.ReportMetric(float64(size)/1e6, "MB")
		})
	}
	f("Allowed", "serviceAccount:projects/project-77/serviceAccounts/s3", "projects/project-77/devices/d")
	f("Denied", "serviceAccount:projects/project-77/serviceAccounts/s3", "projects/project-78/devices/d")
	b.Run("AfterAChange", func(b *testing.B) {
		q := access.Question{Subject: access.Subject{Member: "user:ada-5@example.com"}, Permission: "devices.devices.get", Resource: "projects/project-5/devices/d"}
		for b.Loop() {
			require.NoError(b, e.SetParent("projects/other", "organizations/o"))
			require.True(b, e.Decide(q).Allowed)
		}
	})
}
