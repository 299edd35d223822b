// Package e2e tests the real programs as processes, over HTTP, the way their
// users meet them: the journeys of the README as they are written there, known
// samples read back aligned, and what was acknowledged counted after kills.
package e2e
