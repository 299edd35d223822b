package collector

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStatements(t *testing.T) {
	t.Parallel()
	f := func(q string, want ...string) {
		t.Helper()
		require.Equal(t, want, statements(q))
	}
	f("")
	f(" ; ;")
	f("SHOW DATABASES", "SHOW DATABASES")
	f(`CREATE DATABASE "a;b" ; show databases;`, `CREATE DATABASE "a;b"`, "show databases")
	f(`CREATE DATABASE "a\";b";x`, `CREATE DATABASE "a\";b"`, "x")
	f(`'a;"`, `'a;"`)
	f(strings.Repeat("x", maxQuery+1))
}

// FuzzStatements splits anything: nothing is lost but separators and spaces.
func FuzzStatements(f *testing.F) {
	f.Add(`CREATE DATABASE "a\";b"; SHOW DATABASES`)
	f.Add(`'\`)
	f.Fuzz(func(t *testing.T, q string) {
		at := 0
		for _, s := range statements(q) {
			i := strings.Index(q[at:], s)
			require.GreaterOrEqual(t, i, 0)
			require.NotEmpty(t, s)
			at += i + len(s)
		}
	})
}
