//go:build !race

package journal_test

// slowdown divides the work of long tests under the race detector.
const slowdown = 1
