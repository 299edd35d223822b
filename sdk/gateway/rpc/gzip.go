package rpc

import (
	"compress/gzip"

	"connectrpc.com/connect"
)

// gzipName is the compression that everybody knows.
const gzipName = "gzip"

// minCompressed is from how many bytes on an answer is compressed for who takes
// it so. Compressing one object costs more than reading it does, and saves less
// than a packet.
const minCompressed = 4 << 10

// newWriter makes a compressor: a fast one, since a list of objects, whose
// fields and names repeat, gets as small by it, and an answer over REST is
// compressed twice, once before it is translated.
func newWriter() connect.Compressor {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic("BUG: rpc: " + err.Error())
	}
	return w
}

// newReader makes a decompressor.
func newReader() connect.Decompressor { return new(gzip.Reader) }
