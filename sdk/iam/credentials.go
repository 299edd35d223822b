package iam

import (
	"net/http"
	"strings"
)

// apiKeyHeader is the header in which Google's client libraries send an API
// key.
const apiKeyHeader = "X-Goog-Api-Key"

// byParameter are the paths where InfluxDB 1 takes a user and a password as the
// parameters u and p; the user counts for nothing. But here and below
// googlePaths no key is taken from a URL, which others on the way may write
// down.
var byParameter = map[string]bool{"/write": true, "/query": true, "/influx/write": true, "/influx/query": true}

// googlePaths is what the paths begin with where Google's APIs take an API key
// as the parameter key.
const googlePaths = "/v3/"

// credentials is what a request proves who calls with, as an Authorization
// header has it: that header, or else what clients send who cannot send one.
func credentials(r *http.Request) string {
	if value := r.Header.Get("Authorization"); value != "" {
		return value
	}
	if key := r.Header.Get(apiKeyHeader); key != "" {
		return "Bearer " + key
	}
	if r.URL.RawQuery == "" {
		return ""
	}
	switch q := r.URL.Query(); {
	case byParameter[r.URL.Path] && q.Has("p"):
		return "Bearer " + q.Get("p")
	case strings.HasPrefix(r.URL.Path, googlePaths) && q.Has("key"):
		return "Bearer " + q.Get("key")
	}
	return ""
}
