package iam

// NewRefresh makes a refresh token of a new session: the id of the session, the
// hash to be stored, and the token, which nothing can tell again.
func NewRefresh() (id, hash, token string) {
	id, secret := newKey()
	return id, hashMade(secret), refreshPrefix + id + "_" + secret
}

// NextRefresh makes the next refresh token of a session.
func NextRefresh(id string) (hash, token string) {
	_, secret := newKey()
	return hashMade(secret), refreshPrefix + id + "_" + secret
}

// RefreshID is the id of the session that a text is a refresh token of, whether
// or not it is a good one.
func RefreshID(token string) (id string, ok bool) {
	id, _, ok = split(refreshPrefix, token)
	return id, ok
}

// IsRefresh reports whether a refresh token has that hash, in a time that does
// not depend on how much of it is right. A damaged hash is no token's.
func IsRefresh(token, hash string) bool {
	_, secret, ok := split(refreshPrefix, token)
	if !ok || isStretched(hash) {
		return false
	}
	same, err := matches(hash, secret)
	return same && err == nil
}
