package watch

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store"
)

// token is where a stateless watch goes on. Its text is
//
//	base64url( form 1 byte | key 8 bytes | seq uvarint | size varint )
//
// where key is a hash of what is watched. It grants nothing: whoever has it
// sees what he may see when he uses it, and a wrong size harms himself alone.
type token struct {
	// seq is the last change that the receiver has, wholly.
	seq store.Seq
	// size is how many objects he has, -1 if that is not known.
	size int64
}

// The bounds of a token's text.
const (
	tokenForm = 1
	maxToken  = 64
)

// format is the token's text for a watch of what key says.
func (t token) format(key string) string {
	b := append(make([]byte, 0, 32), tokenForm)
	b = binary.BigEndian.AppendUint64(b, hash(key))
	b = binary.AppendUvarint(b, uint64(t.seq))
	return base64.RawURLEncoding.EncodeToString(binary.AppendVarint(b, t.size))
}

// parseToken reads a token's text. One that was not made for a watch of what
// key says is an Invalid fault.
func parseToken(text, key string) (token, error) {
	t, err := decodeToken(text, key)
	if err != nil {
		return token{}, &fault.Error{Op: "watch.Serve", Kind: fault.Invalid, Reason: "INVALID_RESUME_TOKEN", Field: "resume_token", Err: err}
	}
	return t, nil
}

// decodeToken is parseToken without the fault.
func decodeToken(text, key string) (token, error) {
	errForm := errors.New("this is no resume token")
	if len(text) > maxToken {
		return token{}, errForm
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 11 || b[0] != tokenForm {
		return token{}, errForm
	}
	if binary.BigEndian.Uint64(b[1:]) != hash(key) {
		return token{}, errors.New("the resume token is of a watch with another parent, filter or read mask")
	}
	seq, n := binary.Uvarint(b[9:])
	size, _ := binary.Varint(b[9+max(n, 0):])
	t := token{seq: store.Seq(seq), size: size}
	if t.seq < 0 || t.size < -1 || t.format(key) != text {
		return token{}, errForm
	}
	return t, nil
}

// hash is the 64-bit FNV-1a hash of a text.
func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // never fails
	return h.Sum64()
}
