package peering_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	samplev1 "selvedge.dev/sdk/sample/v1"
)

// A region that comes back with an empty database says of every owner that it
// is gone, and is not believed; nor can anything refer to what is there. Once
// that database is meant to be, its word counts. SPEC 1.F 28
func TestPeers_AnotherStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	require.NoError(t, w.us.save("o", nil))
	require.NoError(t, w.eu.save("r", nil, owner("us", "o")))
	w.pass(10 * time.Minute)
	require.NotNil(t, w.eu.get("r"))

	old := w.us
	w.us = w.open("us")
	w.pass(3 * time.Hour)
	require.NotNil(t, w.eu.get("r"), "nothing is collected on the word of another store")
	require.Len(t, w.eu.get("r").GetMetadata().GetOwnerReferences(), 1)
	err := w.eu.save("s", &samplev1.RobotSpec{Leader: string(nameIn("us", "o"))})
	require.ErrorContains(t, err, "does not exist")

	// It has what it had: restored, as it were.
	empty := w.us.door.next
	w.us.door.set(handler(serverOf("us", old.ctl, old.st.Identity)))
	require.NoError(t, w.eu.save("s", &samplev1.RobotSpec{Leader: string(nameIn("us", "o"))}))
	w.pass(10 * time.Minute)
	require.NotNil(t, w.eu.get("r"))
	require.NoError(t, w.eu.remove("s"))

	// It is another one on purpose.
	w.us.door.set(empty)
	require.NoError(t, w.eu.st.Forget(t.Context(), "us"))
	w.restart("eu")
	w.pass(3 * time.Hour)
	require.Nil(t, w.eu.get("r"))
}
