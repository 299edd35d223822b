package iam

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A stored hash says how it was made:
//
//	sha256:HASH                    of a secret that newKey made
//	pbkdf2-sha256:ROUNDS:SALT:HASH of a text that a person chose
//
// HASH and SALT are hexadecimal. A made secret has 256 random bits: no salt and
// no stretching makes guessing it any harder, so one round of SHA-256 is right.
// A chosen text may be guessable, so it is salted and stretched.
const (
	plainHash     = "sha256"
	stretchedHash = "pbkdf2-sha256"

	// stretchRounds is OWASP's advice for PBKDF2 with HMAC-SHA-256. It costs
	// about 0.1 s where the processor has SHA instructions.
	stretchRounds = 600_000
	saltBytes     = 16
)

// digest is the SHA-256 of a secret.
func digest(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// hashMade is the stored hash of a secret that newKey made.
func hashMade(secret string) string {
	return hashOf(digest(secret))
}

// hashOf is the stored hash of a secret with that digest.
func hashOf(sum [sha256.Size]byte) string { return plainHash + ":" + hex.EncodeToString(sum[:]) }

// hashChosen is the stored hash of a text that a person chose, stretched by so
// many rounds.
func hashChosen(text string, rounds int) (string, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails: see crypto/rand
	sum, err := pbkdf2.Key(sha256.New, text, salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("stretch: %w", err)
	}
	return fmt.Sprintf("%s:%d:%x:%x", stretchedHash, rounds, salt, sum), nil
}

// isStretched reports whether comparing with the hash takes long.
func isStretched(hash string) bool { return strings.HasPrefix(hash, stretchedHash+":") }

// errHash is a stored hash that is none.
var errHash = errors.New("the stored hash of the key is damaged")

// matches reports whether secret has that stored hash, in a time that does not
// depend on how much of it is right.
func matches(hash, secret string) (bool, error) {
	parts := strings.Split(hash, ":")
	want, err := hex.DecodeString(parts[len(parts)-1])
	if err != nil || len(want) != sha256.Size {
		return false, errHash
	}
	switch {
	case parts[0] == plainHash && len(parts) == 2:
		sum := digest(secret)
		return subtle.ConstantTimeCompare(sum[:], want) == 1, nil
	case parts[0] == stretchedHash && len(parts) == 4:
		rounds, err := strconv.Atoi(parts[1])
		if err != nil || rounds < 1 {
			return false, errHash
		}
		salt, err := hex.DecodeString(parts[2])
		if err != nil {
			return false, errHash
		}
		sum, err := pbkdf2.Key(sha256.New, secret, salt, rounds, sha256.Size)
		if err != nil {
			return false, fmt.Errorf("stretch: %w", err)
		}
		return subtle.ConstantTimeCompare(sum, want) == 1, nil
	}
	return false, errHash
}
