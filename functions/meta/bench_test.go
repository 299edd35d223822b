package meta_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	metav1 "selvedge.dev/functions/meta/v1"
)

// BenchmarkVisibility is the time from the creation of a service until the core
// services know of it, when as many others do.
func BenchmarkVisibility(b *testing.B) {
	for _, others := range []int{10, 1000} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			w := open(b, "iam.example.com", "meta.example.com", "devices.example.com")
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- w.Run(ctx) }()
			defer func() { cancel(); <-done }()
			_, err := call[*metav1.Region](b.Context(), w, w.self, "CreateRegion", &metav1.CreateRegionRequest{RegionId: "eu", Region: &metav1.Region{}})
			require.NoError(b, err)
			for _, core := range []string{"iam", "meta", "devices"} {
				require.NoError(b, w.create(b.Context(), w.account, core+".example.com", in([]string{"eu"})))
				require.NoError(b, w.deploy(b.Context(), w.account, core+".example.com", "eu", &metav1.Deployment{}))
				for i := range 10 {
					_, err := call[*metav1.Resource](b.Context(), w, w.account, "CreateResource", &metav1.CreateResourceRequest{
						Parent: "services/" + core + ".example.com", ResourceId: fmt.Sprint("r", i), Resource: &metav1.Resource{Type: core + ".example.com/R" + fmt.Sprint(i)},
					})
					require.NoError(b, err)
				}
			}
			n := 0
			add := func() string {
				n++
				domain := fmt.Sprintf("s%d.example.com", n)
				require.NoError(b, w.create(b.Context(), w.account, domain, in([]string{"eu"})))
				return domain
			}
			known := func(domain string) {
				for _, core := range []string{"iam", "meta", "devices"} {
					for !slices.Contains(w.service(b, core+".example.com").GetMetadata().GetServices().GetAllowedServices(), domain) {
						<-time.After(time.Millisecond)
					}
				}
			}
			for range others {
				add()
			}
			known(add())
			for b.Loop() {
				known(add())
			}
		})
	}
}
