package iam

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Claims are what a JSON web token (RFC 7519) says, as far as the platform reads
// or writes it. Times are Unix seconds.
type Claims struct {
	Issuer    string   `json:"iss,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	Audience  audience `json:"aud,omitempty"`
	Expires   int64    `json:"exp,omitempty"`
	NotBefore int64    `json:"nbf,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	ID        string   `json:"jti,omitempty"`
	Email     string   `json:"email,omitempty"`
	// EmailVerified and Nonce are of an ID token, Verifier and State of a sign-in
	// that has begun.
	EmailVerified truth  `json:"email_verified,omitempty"`
	Nonce         string `json:"nonce,omitempty"`
	Verifier      string `json:"verifier,omitempty"`
	State         string `json:"state,omitempty"`
}

// truth is a boolean, which some providers write as a text.
type truth bool

// UnmarshalJSON reads true and "true"; everything else is false.
func (b *truth) UnmarshalJSON(text []byte) error {
	*b = truth(string(text) == "true" || string(text) == `"true"`)
	return nil
}

// audience is whom a token is for: one or several texts.
type audience []string

// UnmarshalJSON reads a text or an array of texts.
func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// The algorithms of signatures, by their names in RFC 7518 and RFC 8037.
const (
	algEdDSA = "EdDSA" // of the platform's own tokens
	algRS256 = "RS256" // of those of service accounts
	algES256 = "ES256" // of ID tokens of some providers
)

// jwtHeader is the header of a token.
type jwtHeader struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ,omitempty"`
	KeyID     string `json:"kid,omitempty"`
	// Critical are extensions that must be understood: none is.
	Critical []string `json:"crit,omitempty"`
}

// Sign makes a token of claims. The key is an ed25519.PrivateKey or an
// *rsa.PrivateKey.
func Sign(key crypto.Signer, keyID string, c Claims) (string, error) {
	h := jwtHeader{Algorithm: algEdDSA, Type: "JWT", KeyID: keyID}
	if _, ok := key.(*rsa.PrivateKey); ok {
		h.Algorithm = algRS256
	}
	head, err := json.Marshal(h)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	signed, hash := []byte(text), crypto.Hash(0)
	if h.Algorithm == algRS256 {
		sum := sha256.Sum256(signed)
		signed, hash = sum[:], crypto.SHA256
	}
	signature, err := key.Sign(rand.Reader, signed, hash)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// isToken reports whether a key has the form of a token.
func isToken(key string) bool { return strings.HasPrefix(key, "eyJ") && strings.Count(key, ".") == 2 }

// errToken is a text that is no token.
var errToken = errors.New("the token is malformed")

// token is a token whose signature was not looked at.
type token struct {
	header            jwtHeader
	claims            Claims
	signed, signature []byte
}

// parseToken reads a token.
func parseToken(text string) (*token, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || strings.ContainsAny(text, "\r\n") { // which the decoder would skip
		return nil, errToken
	}
	encoding := base64.RawURLEncoding.Strict() // one text for each signature
	t := &token{signed: []byte(text[:len(parts[0])+1+len(parts[1])])}
	for i, to := range []any{&t.header, &t.claims} {
		b, err := encoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(b, to) != nil {
			return nil, errToken
		}
	}
	var err error
	if t.signature, err = encoding.DecodeString(parts[2]); err != nil || len(t.header.Critical) > 0 {
		return nil, errToken
	}
	return t, nil
}

// signedBy reports whether the token has the signature of the key, by the
// algorithm that is the key's and no other.
func (t *token) signedBy(key crypto.PublicKey) bool {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return t.header.Algorithm == algEdDSA && ed25519.Verify(k, t.signed, t.signature)
	case *rsa.PublicKey:
		sum := sha256.Sum256(t.signed)
		return t.header.Algorithm == algRS256 && rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], t.signature) == nil
	case *ecdsa.PublicKey:
		const half = 32
		if t.header.Algorithm != algES256 || k.Curve != elliptic.P256() || len(t.signature) != 2*half {
			return false
		}
		sum := sha256.Sum256(t.signed)
		r, s := new(big.Int).SetBytes(t.signature[:half]), new(big.Int).SetBytes(t.signature[half:])
		return ecdsa.Verify(k, sum[:], r, s)
	}
	return false
}

const (
	// skew is how much clocks may differ.
	skew = 30 * time.Second
	// maxAssertion is the longest that a token of a service account's own may
	// be good for.
	maxAssertion = time.Hour
)

// holds is why a token does not hold now, nil if it does.
func (c *Claims) holds(now time.Time) error {
	switch {
	case c.Expires == 0:
		return unauthenticated("INVALID_TOKEN", "the token does not say when it expires")
	case !now.Before(time.Unix(c.Expires, 0)):
		return unauthenticated("TOKEN_EXPIRED", "the token expired at "+time.Unix(c.Expires, 0).UTC().Format(time.RFC3339))
	case c.NotBefore != 0 && now.Add(skew).Before(time.Unix(c.NotBefore, 0)), now.Add(skew).Before(time.Unix(c.IssuedAt, 0)):
		return unauthenticated("INVALID_TOKEN", "the token does not hold yet")
	}
	return nil
}

// Verify reads a token that holds now and that a key signed, which is looked up
// by its id. It does not look at whom the token is from and for.
func Verify(text string, key func(id string) (crypto.PublicKey, bool)) (Claims, error) {
	t, err := parseToken(text)
	if err != nil {
		return Claims{}, unauthenticated("MALFORMED_CREDENTIALS", err.Error())
	}
	public, ok := key(t.header.KeyID)
	if !ok || !t.signedBy(public) {
		return Claims{}, unauthenticated("INVALID_TOKEN", "the token is not signed by a key that is known")
	}
	return t.claims, t.claims.holds(time.Now())
}
