package sqlstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/logstore/eventstore"
)

func TestToken_ContinuesItsOwnSelection(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := place{rapid.Int64().Draw(t, "time"), rapid.Int64().Draw(t, "seq")}
		q := eventstore.Query{
			Project: rapid.String().Draw(t, "project"), Type: rapid.String().Draw(t, "type"), Source: rapid.String().Draw(t, "source"),
			From: time.UnixMicro(rapid.Int64().Draw(t, "from")),
		}
		q.PageToken = p.token(q)
		got, err := parseToken(q)
		require.NoError(t, err)
		require.Equal(t, p, got)
		other := q
		other.Type, other.Source = q.Type+q.Source+"x", ""
		_, err = parseToken(other)
		require.Error(t, err)
	})
}

func FuzzParseToken(f *testing.F) {
	q := eventstore.Query{Project: "p"}
	f.Add(place{1, 2}.token(q))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		q.PageToken = token
		p, err := parseToken(q)
		if err != nil || token == "" {
			return
		}
		// What is taken names a place; base64 may spell it in one way only.
		again, err := parseToken(eventstore.Query{Project: "p", PageToken: p.token(q)})
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}
