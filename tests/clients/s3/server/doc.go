// Package server names the S3 server that the tests run, VersityGW, and its
// version: a module of its own, so that what it needs stays out of all others.
package server
