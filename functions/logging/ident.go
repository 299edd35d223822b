package logging

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"strings"

	"selvedge.dev/logstore"
)

// ident is the id of an entry with labels by what it says, for protocols that
// have none: what a client sends twice because it heard no answer is there once.
func ident(e *logstore.Entry, labels map[string]string) string {
	h := sha256.New()
	field := func(text []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(text)))
		_, _ = h.Write(n[:]) // a hash takes everything
		_, _ = h.Write(text)
	}
	field(strconv.AppendInt(nil, e.Time.UnixNano(), 10))
	field(strconv.AppendInt(nil, int64(e.Severity), 10))
	field([]byte(e.Trace + "\x00" + e.SpanID + "\x00" + e.ResourceType))
	field(e.Payload.Data)
	for _, all := range []map[string]string{e.ResourceLabels, labels} {
		for _, k := range slices.Sorted(maps.Keys(all)) {
			field([]byte(k))
			field([]byte(all[k]))
		}
		field(nil)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

// idents tells apart the entries of one request that say the same, by their
// order: the same request again has the same ids.
type idents map[string]int

// next is the id of an entry with labels.
func (ids idents) next(e *logstore.Entry, labels map[string]string) string {
	id := ident(e, labels)
	ids[id]++
	if n := ids[id]; n > 1 {
		return id + "." + strconv.Itoa(n)
	}
	return id
}

// levels are words for severities that are not Google's.
var levels = map[string]logstore.Severity{
	"trace": logstore.Debug, "dbg": logstore.Debug, "verbose": logstore.Debug, "fine": logstore.Debug,
	"information": logstore.Info, "informational": logstore.Info, "inf": logstore.Info,
	"warn": logstore.Warning, "wrn": logstore.Warning,
	"err": logstore.Error, "eror": logstore.Error, "severe": logstore.Error,
	"crit": logstore.Critical, "fatal": logstore.Critical, "panic": logstore.Emergency, "emerg": logstore.Emergency,
}

// severityOfLevel is the severity that a word stands for, 0 for none: Google's
// names, those of syslog and those of loggers.
func severityOfLevel(word string) logstore.Severity {
	word = strings.ToLower(strings.TrimSpace(word))
	if s, ok := levels[word]; ok {
		return s
	}
	if word == "" || word[0] >= '0' && word[0] <= '9' {
		return 0
	}
	s, _ := logstore.ParseSeverity(word)
	return s
}
