package query

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"

	"selvedge.dev/tsdb"
)

// A page token is base64url of
//
//	+---------+--------------+---------------------+-----------------+
//	| version | request hash | before (big endian) | key             |
//	| 1 byte  | 16 bytes     | 8 bytes             | the rest        |
//	+---------+--------------+---------------------+-----------------+
//
// It is no secret and no permission: whoever makes one up gets a page of what
// the request reads anyway.

// tokenVersion is the first byte of every token; a change of what orders
// results needs another.
const tokenVersion = 1

// requestHash tells requests apart that would have different answers.
type requestHash [16]byte

// done is the before of a series that has been told completely.
const done = tsdb.Millis(math.MinInt64)

// cursor is where a page begins: with the points of the series key that are
// older than before, and the series behind it. The zero cursor is the
// beginning, since no key is "".
type cursor struct {
	key    string
	before tsdb.Millis
}

// hash hashes what an answer depends on, which is all of a valid request
// but the page. The filter is hashed in its canonical form.
func (p *plan) hash() requestHash {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %d %d %t", p.project, p.filter.String(), p.start, p.end, p.headers)
	for _, st := range p.stages {
		fmt.Fprintf(h, " %s %d %s %q", st.aligner, st.grid.Period, st.reducer, st.groupBy)
	}
	return requestHash(h.Sum(nil)[:len(requestHash{})])
}

// token is the page token for what follows after c.
func (p *plan) token(c cursor) string {
	hash := p.hash()
	b := append([]byte{tokenVersion}, hash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.before))
	return base64.RawURLEncoding.EncodeToString(append(b, c.key...))
}

// parseToken reads a page token; "" is the beginning.
func (p *plan) parseToken(text string) (cursor, error) {
	if text == "" {
		return cursor{}, nil
	}
	const field, keyAt = "pageToken", 1 + len(requestHash{}) + 8
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) <= keyAt || b[0] != tokenVersion {
		return cursor{}, invalid(field, text, "it is no page token of this service")
	}
	if requestHash(b[1:1+len(requestHash{})]) != p.hash() {
		return cursor{}, invalid(field, text, "it belongs to another request; only the page size may change between pages")
	}
	return cursor{key: string(b[keyAt:]), before: tsdb.Millis(binary.BigEndian.Uint64(b[keyAt-8:]))}, nil
}
