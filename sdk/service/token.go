package service

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// tokens makes and reads page tokens: a place in a list and a direction, sealed
// together with what the list is of. A token says where a page begins and
// nothing about who may see it, so that one in the wrong hands opens nothing.
//
//	token    = base64url( nonce 12 | sealed | tag 16 )
//	sealed   = direction 1 | values uvarint { length uvarint | value } name
type tokens struct{ aead cipher.AEAD }

// The directions of a token.
const (
	forward  = 'n'
	backward = 'p'
)

// The bounds of a token, which comes from callers. An order has a handful of
// keys; a value of an index is at most some kilobytes.
const (
	maxToken  = 16 << 10
	maxValues = 32
)

// newTokens makes tokens that a key seals, of which any length will do.
func newTokens(key []byte) (tokens, error) {
	sum := sha256.Sum256(append([]byte("selvedge page token\x00"), key...))
	block, err := aes.NewCipher(sum[:16])
	if err != nil {
		return tokens{}, fmt.Errorf("page tokens: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return tokens{aead}, err
}

// binding is what a token is for: the parts that a request must repeat.
func binding(parts ...string) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.AppendUvarint(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// seal is the token of a position, "" for none.
func (t tokens) seal(p *store.Position, reverse bool, binding []byte) string {
	if p == nil {
		return ""
	}
	b := []byte{forward}
	if reverse {
		b[0] = backward
	}
	b = binary.AppendUvarint(b, uint64(len(p.Values)))
	for _, v := range p.Values {
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	b = append(b, p.Name...)
	return base64.RawURLEncoding.EncodeToString(t.aead.Seal(nil, nil, b, binding))
}

// open is the position of a token, nil for "".
func (t tokens) open(token string, binding []byte) (p *store.Position, reverse bool, err error) {
	if token == "" {
		return nil, false, nil
	}
	if len(token) > maxToken {
		return nil, false, badToken(fmt.Errorf("a page token has at most %d bytes", maxToken))
	}
	sealed, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return nil, false, badToken(errNotOurs)
	}
	b, err := t.aead.Open(nil, nil, sealed, binding)
	if err != nil {
		return nil, false, badToken(errors.New("the page token is not one of this list: method, parent, filter, order and phrase must be those of the page that it came with"))
	}
	if p, ok := position(b); ok && (b[0] == forward || b[0] == backward) {
		return p, b[0] == backward, nil
	}
	return nil, false, badToken(errNotOurs)
}

// errNotOurs is a token that no page ever had.
var errNotOurs = errors.New("that is no page token")

// position reads what seal wrote.
func position(b []byte) (*store.Position, bool) {
	if len(b) == 0 {
		return nil, false
	}
	b = b[1:]
	count, n := binary.Uvarint(b)
	if n <= 0 || count > maxValues {
		return nil, false
	}
	b = b[n:]
	p := &store.Position{}
	for range count {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return nil, false
		}
		p.Values = append(p.Values, b[n:n+int(length):n+int(length)])
		b = b[n+int(length):]
	}
	p.Name = resource.Name(b)
	return p, true
}

// badToken is the fault of a page token.
func badToken(err error) error {
	return &fault.Error{Op: "service.List", Kind: fault.Invalid, Reason: "INVALID_PAGE_TOKEN", Field: "page_token", Err: err}
}
