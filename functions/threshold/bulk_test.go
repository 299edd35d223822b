package threshold

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// Many events at once make the alerts and errors that they make one by one.
func TestHandleAll_IsHandleOfEach(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		one, all := start(t, climate), start(t, climate)
		var arrived []function.Arrived
		var want []string
		tell := func(reply *event.Event, err error) string {
			if reply == nil {
				return fault.ReasonOf(err)
			}
			return reply.ID() + string(reply.Data())
		}
		for i := range rapid.IntRange(1, 20).Draw(t, "events") {
			e := reading(rapid.SampledFrom([]string{"d", "e"}).Draw(t, "device"), fmt.Sprint(i), rapid.SampledFrom([]string{
				`{"temperature":31}`, `{"temperature":20}`, `{"temperature":-1}`, `{"air":{"humidity":90}}`, `{"air":{"humidity":50}}`, `{`,
			}).Draw(t, "data"))
			if rapid.IntRange(0, 3).Draw(t, "type") == 0 {
				e.SetType("com.example.other")
			}
			record, err := event.AppendRecord(nil, &e)
			require.NoError(t, err)
			head, err := event.ReadHead(record)
			require.NoError(t, err)
			arrived = append(arrived, function.Arrived{Head: &head, Time: noon})
			want = append(want, tell(one.Handle(context.Background(), e)))
		}
		outcomes := make([]function.Outcome, len(arrived))
		all.HandleAll(context.Background(), arrived, outcomes)
		for i, o := range outcomes {
			require.Equal(t, want[i], tell(o.Reply, o.Err), "event %d", i)
		}
	})
}
