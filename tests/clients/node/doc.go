// Package node runs Google's own Node client library for Cloud Monitoring
// against the real program: with another endpoint, and nothing else changed.
//
// The library and what it needs are pinned in package-lock.json and installed
// once into the repository's cache folder. Without Node and npm the test is
// skipped, or fails where SELVEDGE_REQUIRE_NODE says that they are to be there.
package node
