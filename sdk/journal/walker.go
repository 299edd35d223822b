package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// walker steps through the intact frames of a region of a segment, reading
// ahead with one ReadAt for many frames and searching for the next intact
// frame where one is damaged. A caller sees damage as a jump of frame.index.
type walker struct {
	file  File
	codec *codec
	at    int64  // where the next frame is expected
	index uint32 // which it is at least
	end   int64  // of the region
	ahead int    // how much to read at once

	buf  []byte
	base int64 // where buf begins in the file
	err  error // of the file, which ends the walk
}

// next returns the next intact frame and where it begins. ok is false at the
// end of the region or when err is set. Without refill it is also false where
// going on would overwrite the buffer, into which earlier frames point.
func (w *walker) next(refill bool) (f frame, at int64, ok bool) {
	for w.at < w.end && w.err == nil {
		var v verdict
		f, v = w.codec.parse(w.loaded())
		if v == intact && f.index < w.index || v == short && w.at+int64(f.size) > w.end {
			v = damaged
		}
		if v == intact {
			at = w.at
			w.at += int64(f.size)
			w.index = f.index + 1
			return f, at, true
		}
		if !refill {
			return f, 0, false
		}
		if v == short {
			w.load(w.at, f.size)
		} else {
			w.search()
		}
	}
	return f, 0, false
}

// loaded is what the buffer holds from at on.
func (w *walker) loaded() []byte {
	if i := w.at - w.base; i >= 0 && i < int64(len(w.buf)) {
		return w.buf[i:]
	}
	return nil
}

// load fills the buffer from at on, with at least need bytes if the region has
// them. A file that is shorter than the region ends it.
func (w *walker) load(at int64, need int) {
	n := int(min(w.end-at, int64(max(w.ahead, need))))
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	w.base = at
	n, err := w.file.ReadAt(w.buf[:n], at)
	w.buf = w.buf[:n]
	switch {
	case errors.Is(err, io.EOF):
		w.end = at + int64(n)
	case err != nil:
		w.err = err
	}
}

// search moves at to the next intact frame behind at, or to the end.
func (w *walker) search() {
	tag := binary.LittleEndian.AppendUint32(nil, w.codec.epoch)
	at := w.at + 1
	for at+frameHeader <= w.end && w.err == nil {
		w.load(at, frameHeader)
		if len(w.buf) < frameHeader {
			break
		}
		i := bytes.Index(w.buf[frameEpoch:], tag)
		if i < 0 {
			// The tag of a frame that begins in the last bytes may lie behind them.
			at += int64(len(w.buf) - frameHeader + 1)
			continue
		}
		at += int64(i)
		if w.intactAt(at) {
			w.at = at
			return
		}
		at++
	}
	w.at = w.end
}

// intactAt reports whether a frame that may come next begins at at. If so, the
// buffer holds it.
func (w *walker) intactAt(at int64) bool {
	w.load(at, frameHeader)
	f, v := w.codec.parse(w.buf)
	if v == short && f.size > len(w.buf) && at+int64(f.size) <= w.end && f.index >= w.index {
		w.load(at, f.size)
		f, v = w.codec.parse(w.buf)
	}
	return v == intact && f.index >= w.index
}
