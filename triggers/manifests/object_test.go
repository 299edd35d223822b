package manifests_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/filter"
	"selvedge.dev/triggers/manifests"
)

func TestTriggerOf(t *testing.T) {
	t.Parallel()
	m := manifests.Meta{Name: "a", Namespace: "p"}
	tr, err := manifests.TriggerOf(m, []byte(`{"broker":"mine","filters":[{"exact":{"type":"t"}}],"subscriber":{"uri":"http://a.example"},
		"delivery":{"retry":3,"backoffPolicy":"linear","backoffDelay":"PT0.5S"}}`))
	require.NoError(t, err)
	require.Equal(t, "mine", tr.Broker)
	require.Equal(t, "p", tr.Namespace)
	e := event.New()
	e.SetType("t")
	require.Equal(t, filter.Pass, tr.Filter.Filter(&e))
	require.Equal(t, delivery.Policy{Retry: 3, Backoff: delivery.Linear, Delay: 500 * time.Millisecond}, tr.Delivery.Policy())
	require.Equal(t, delivery.Policy{}, (*manifests.Delivery)(nil).Policy())

	f := func(field, spec string) {
		t.Helper()
		_, err := manifests.TriggerOf(m, []byte(spec))
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		var x *fault.Error
		require.ErrorAs(t, err, &x)
		require.Equal(t, field, x.Field)
	}
	f("spec.broker", ``)
	f("spec", `{`)
	f("spec.filters[0].cesql", `{"broker":"b","subscriber":{"uri":"http://a.example"},"filters":[{"cesql":"type ="}]}`)
	f("spec.delivery.backoffDelay", `{"broker":"b","subscriber":{"uri":"http://a.example"},"delivery":{"backoffDelay":"5s"}}`)

	b, err := manifests.BrokerOf(m, []byte(`{"delivery":{"retry":1}}`))
	require.NoError(t, err)
	require.Equal(t, 1, b.Delivery.Retry)
	_, err = manifests.BrokerOf(m, []byte(`{"delivery":{"retry":-1}}`))
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}
