package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding/snappy"

	"selvedge.dev/sdk/fault"
)

// Encoding is how a body is packed.
type Encoding uint8

// The encodings. The numbers are kept in logs: they do not change.
const (
	Plain Encoding = iota
	Gzip
	// Snappy is one block, as remote write has it.
	Snappy
)

// EncodingOf is the encoding of that name in the header Content-Encoding.
func EncodingOf(name string) (Encoding, bool) {
	switch name {
	case "", "identity":
		return Plain, true
	case "gzip":
		return Gzip, true
	case "snappy":
		return Snappy, true
	}
	return 0, false
}

// Unpack returns the unpacked body: of a plain one itself, of others in dst or
// a larger buffer. More than most bytes are TooLarge, and a body that is not
// of its encoding is Invalid with the reason Malformed.
func Unpack(dst, body []byte, e Encoding, most int) ([]byte, error) {
	switch e {
	case Plain:
		return body, nil
	case Gzip:
		return gunzip(dst, body, most)
	case Snappy:
		return unsnap(dst, body, most)
	}
	return nil, malformed(fmt.Errorf("there is no encoding %d", e))
}

// tooLarge is the error of a body that unpacks to more than most bytes.
func tooLarge(most int) error {
	return &fault.Error{Op: "tsdb/ingest/wire.Unpack", Kind: fault.TooLarge, Field: "body", Err: fmt.Errorf("the body unpacks to over %d bytes", most)}
}

// gunzip unpacks gzip.
func gunzip(dst, body []byte, most int) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, malformed(fmt.Errorf("gzip: %w", err))
	}
	b := bytes.NewBuffer(dst[:0])
	n, err := b.ReadFrom(io.LimitReader(z, int64(most)+1))
	switch {
	case err != nil:
		return nil, malformed(fmt.Errorf("gzip: %w", err))
	case n > int64(most):
		return nil, tooLarge(most)
	}
	return b.Bytes(), nil
}

// unsnap unpacks a snappy block. The length that it begins with decides how
// much memory is taken, so it must be in proportion to what there is: the
// format packs 64 bytes into three at best.
func unsnap(dst, body []byte, most int) ([]byte, error) {
	size, n := binary.Uvarint(body)
	switch {
	case n <= 0:
		return nil, malformed(errors.New("snappy: no length"))
	case size > uint64(most):
		return nil, tooLarge(most)
	case size > 64*uint64(len(body)):
		return nil, malformed(errors.New("snappy: the length cannot be true"))
	}
	out, err := snappy.Decode(dst, body, most)
	if err != nil {
		return nil, malformed(fmt.Errorf("snappy: %w", err))
	}
	return out, nil
}
