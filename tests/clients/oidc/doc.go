// Package oidc signs people in at a real OpenID Connect provider,
// node-oidc-provider, and reads the platform's tokens by a JSON web token library
// that is not ours.
//
// The provider and what it needs are pinned in package-lock.json and installed
// once into the repository's cache folder. Without Node and npm its test is
// skipped, or fails where SELVEDGE_REQUIRE_NODE says that they are to be there.
package oidc
