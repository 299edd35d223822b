package service_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/watch"
)

var _ watch.Pages = service.Pages{}

func TestPages_OpenWithTheirPartsOnly(t *testing.T) {
	t.Parallel()
	pages, err := service.NewPages([]byte("key"))
	require.NoError(t, err)
	at := &store.Position{Values: [][]byte{{1}, {}}, Name: "projects/p/robots/r"}
	token := pages.Seal(at, true, "a", "bc")
	got, reverse, err := pages.Open(token, "a", "bc")
	require.NoError(t, err)
	require.True(t, reverse)
	require.Equal(t, at.Name, got.Name)
	require.Len(t, got.Values, 2)

	other, err := service.NewPages([]byte("another key"))
	require.NoError(t, err)
	for _, open := range []func() error{
		func() error { _, _, err := pages.Open(token, "ab", "c"); return err },
		func() error { _, _, err := pages.Open(token, "a"); return err },
		func() error { _, _, err := pages.Open(token+"A", "a", "bc"); return err },
		func() error { _, _, err := other.Open(token, "a", "bc"); return err },
	} {
		require.Equal(t, fault.Invalid, fault.KindOf(open()))
	}
	require.Empty(t, pages.Seal(nil, false))
}
