// Package registry shows sdk/registry with the registry of functions/meta on a
// real store and over the door of the gateway: processes that start in any order,
// race, fail and come back. It has no code but tests.
package registry
