//go:build race

package e2e

// raceFlags are what the programs under test are built with.
var raceFlags = []string{"-race"}
