package iam

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"strings"
)

// A key is "svk_ID_SECRET". The id finds the record and is no secret; 12
// characters of base 32 are 60 bits, so that no two keys meet. The secret is 32
// random bytes, which are 52 characters. Both are lower case.
//
// An administrator's bootstrap key may be any other text; see
// [Keyring.Bootstrap].
const (
	keyPrefix = "svk_"
	// refreshPrefix begins a refresh token, which is built like a key but opens
	// nothing: it is exchanged for a token.
	refreshPrefix = "svr_"

	idLen     = 12
	secretLen = 52
	keyLen    = len(keyPrefix) + idLen + 1 + secretLen

	// secretBytes is how much randomness a secret has.
	secretBytes = 32
)

// base32Lower is the alphabet of RFC 4648 in lower case.
const base32Lower = "abcdefghijklmnopqrstuvwxyz234567"

// encoding spells random bytes.
var encoding = base32.NewEncoding(base32Lower).WithPadding(base32.NoPadding)

// newKey makes a key.
func newKey() (id, secret string) {
	var b [secretBytes]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	id = encoding.EncodeToString(b[:])[:idLen]
	_, _ = rand.Read(b[:])
	return id, encoding.EncodeToString(b[:])
}

// formatKey is the inverse of splitKey.
func formatKey(id, secret string) string { return keyPrefix + id + "_" + secret }

// splitKey splits a key that newKey could have made; ok is false for any other
// text.
func splitKey(key string) (id, secret string, ok bool) { return split(keyPrefix, key) }

// split is splitKey of what begins with another prefix of the same length.
func split(prefix, key string) (id, secret string, ok bool) {
	if len(key) != keyLen || key[:len(keyPrefix)] != prefix || key[len(keyPrefix)+idLen] != '_' {
		return "", "", false
	}
	id, secret = key[len(keyPrefix):len(keyPrefix)+idLen], key[keyLen-secretLen:]
	if !isBase32(id) || !isBase32(secret) {
		return "", "", false
	}
	return id, secret, true
}

// ValidKeyID reports whether id can be that of a key.
func ValidKeyID(id string) bool {
	return id == bootstrapID || len(id) == idLen && isBase32(id)
}

// isBase32 reports whether s is of the alphabet.
func isBase32(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// maxHeader bounds the credentials that are looked at: a token that a key of
// 4096 bits signed is about 1 KiB.
const maxHeader = 4096

// Bearer is the key of an Authorization header: of the scheme Bearer (RFC 6750)
// or, for clients that know no other way, the password of the scheme Basic (RFC
// 7617), whose user counts for nothing, or of Token, as InfluxDB's clients have
// it.
func Bearer(authorization string) (key string, ok bool) {
	scheme, key, ok := strings.Cut(authorization, " ")
	if !ok || len(key) > maxHeader {
		return "", false
	}
	key = strings.Trim(key, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"), strings.EqualFold(scheme, "Token"):
	case strings.EqualFold(scheme, "Basic"):
		pair, err := base64.StdEncoding.DecodeString(key)
		if err != nil {
			return "", false
		}
		_, key, _ = strings.Cut(string(pair), ":")
	default:
		return "", false
	}
	return key, key != ""
}
