package sqlstore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"selvedge.dev/logstore/eventstore"
)

// place is where an event stands in the order of lists.
type place struct{ time, seq int64 }

// start is before the newest event.
var start = place{math.MaxInt64, math.MaxInt64}

// statement is the query for up to limit events that q selects after the
// place.
func statement(q eventstore.Query, after place, limit int) (string, []any) {
	var where strings.Builder
	where.WriteString(`SELECT seq, time, body FROM logstore_events WHERE project = ? AND (time, seq) < (?, ?)`)
	args := []any{q.Project, after.time, after.seq}
	and := func(condition string, arg any) {
		where.WriteString(" AND " + condition)
		args = append(args, arg)
	}
	if q.Type != "" {
		and("type = ?", q.Type)
	}
	if q.Source != "" {
		and("source = ?", q.Source)
	}
	if q.Subject != "" {
		and("subject = ?", q.Subject)
	}
	if !q.From.IsZero() {
		and("time >= ?", q.From.UnixMicro())
	}
	if !q.To.IsZero() {
		and("time < ?", q.To.UnixMicro())
	}
	where.WriteString(" ORDER BY time DESC, seq DESC LIMIT ?")
	return where.String(), append(args, limit)
}

// A token is the place of the last event of a page and a fingerprint of the
// selection, in base64:
//
//	+-----------+-----------+-------------+
//	| time (8B) | seq  (8B) | print (8B)  |   big endian
//	+-----------+-----------+-------------+

// tokenSize is the size of a token before base64.
const tokenSize = 24

// token is the page token that continues q after p.
func (p place) token(q eventstore.Query) string {
	b := make([]byte, 0, tokenSize)
	b = binary.BigEndian.AppendUint64(b, uint64(p.time))
	b = binary.BigEndian.AppendUint64(b, uint64(p.seq))
	return base64.RawURLEncoding.EncodeToString(append(b, fingerprint(q)...))
}

// parseToken is the place after which q goes on.
func parseToken(q eventstore.Query) (place, error) {
	if q.PageToken == "" {
		return start, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(q.PageToken)
	if err != nil || len(b) != tokenSize {
		return place{}, errors.New("that is not a page token")
	}
	if string(b[16:]) != string(fingerprint(q)) {
		return place{}, errors.New("the page token is of another selection")
	}
	return place{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

// fingerprint tells selections apart; a page may have another size.
func fingerprint(q eventstore.Query) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %d %d", q.Project, q.Type, q.Source, q.Subject, q.From.UnixMicro(), q.To.UnixMicro()))
	return sum[:8]
}
