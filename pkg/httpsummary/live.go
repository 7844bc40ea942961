package httpsummary

import (
	"bytes"
	"hash/maphash"
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// live is the state between the writes of an HTTP/2 connection in a live Decoder.
type live struct {
	unknown  bool   // the header table may have entries from unseen writes
	desynced bool   // the position of the next frame is unknown
	skip     uint64 // remaining bytes of the current frame
	skipped  frame  // that frame
	partial  []byte // beginning of a frame that must be complete to be decoded

	// The last write with headers. If the same data are written again, it is a retry
	// of the program, because the library could not write before.
	last        uint64 // hash; 0: none
	lastLength  uint64
	lastSummary []byte
}

// partialWrite is the state of a connection if only the captured part of its last write
// was written: some libraries write one TLS record, which is as much as is captured, and
// the program then writes the rest again.
type partialWrite struct {
	rest    uint64 // bytes that were not captured; 0: all were
	headers *hpack.Decoder
	blocks  map[uint32][]byte
	live    live
}

// savePartialWrite saves the state for the case that only the captured part was written,
// and not the rest bytes after it.
func (c *conn) savePartialWrite(rest uint64) {
	if rest > 0 {
		c.part = partialWrite{rest, c.headers, c.blocks, c.live}
	}
}

var writeSeed = maphash.MakeSeed()

func (c *conn) forget() {
	c.headers, c.blocks = nil, nil
	c.live = live{unknown: true, desynced: true}
}

// appendLive appends the summary of a write of length bytes to an HTTP/2 connection. A
// frame can span several writes.
func (c *conn) appendLive(b []byte, length uint64, data []byte) []byte {
	hash := maphash.Bytes(writeSeed, data)
	if c.last == hash && c.lastLength == length && c.lastSummary != nil {
		return append(b, c.lastSummary...)
	}
	c.lastSummary = nil
	part := c.part
	c.part = partialWrite{}
	if part.rest == length && (c.desynced || c.skip > 0 || !validFrame(data)) {
		c.headers, c.blocks, c.live = part.headers, part.blocks, part.live
		c.lastSummary = nil
	}
	start, cut := len(b), length-uint64(len(data))
	frames, begins := bytes.CutPrefix(data, []byte(preface))
	if begins {
		c.headers, c.blocks, c.live = nil, nil, live{} // as at its start
	}
	if c.desynced && !validFrame(frames) {
		return appendBinary(b, length)
	}
	c.desynced = false
	b = append(b, "h2 "...)
	if begins {
		b = append(b, "preface "...)
		if len(frames) == 0 {
			return append(b, "only"...)
		}
	}
	first, headers := true, false
	next := func() {
		if !first {
			b = append(b, " | "...)
		}
		first = false
	}
	if c.skip > 0 {
		next()
		n := min(c.skip, uint64(len(frames)))
		b = strconv.AppendUint(append(appendName(b, &c.skipped), " rest="...), n, 10)
		frames, c.skip = frames[n:], c.skip-n
		if len(frames) == 0 {
			c.savePartialWrite(cut)
			if cut > c.skip {
				c.forget()
				return b
			}
			c.skip -= cut
			return b
		}
	}
	if len(c.partial) > 0 {
		frames = append(c.partial, frames...)
		c.partial = nil
	}
	for len(frames) >= 9 {
		f, rest := nextFrame(frames)
		if !plausible(&f) {
			// Not a frame: a write was lost.
			c.forget()
			next()
			return append(b, unknown...)
		}
		switch {
		case len(f.payload) == f.length:
			b = c.appendNext(b, start, first, &f)
			first = false
			headers = headers || f.typ == frameHeaders || f.typ == frameContinuation
			frames = rest
			continue
		case cut == 0 && f.length <= maxBlock && (f.typ == frameHeaders || f.typ == frameContinuation):
			c.partial = bytes.Clone(frames)
			next()
			b = append(appendName(b, &f), " <collecting>"...)
			return b
		}
		missing := uint64(f.length - len(f.payload))
		next()
		b = c.appendFrame(b, &f)
		if f.typ == frameHeaders || f.typ == frameContinuation || f.typ == framePushPromise {
			c.headers, c.blocks, c.unknown = nil, nil, true
		}
		c.skip, c.skipped = missing, frame{typ: f.typ, stream: f.stream}
		c.savePartialWrite(cut)
		if cut > missing {
			c.forget()
			return b
		}
		c.skip -= cut
		return b
	}
	switch {
	case cut > 0:
		c.partial = bytes.Clone(frames)
		c.savePartialWrite(cut)
		c.forget()
	case len(frames) > 0:
		c.partial = bytes.Clone(frames)
		if first {
			next()
			b = append(b, "<collecting>"...)
		}
	}
	if headers {
		c.last, c.lastLength, c.lastSummary = hash, length, bytes.Clone(b[start:])
	}
	return b
}
