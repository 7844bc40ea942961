package httpsummary

import (
	"bytes"
	"hash/maphash"
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// live is what is known beyond single writes of an HTTP/2 connection all of
// whose writes are seen from some point on.
type live struct {
	unknown  bool   // the header table holds entries that were not seen
	desynced bool   // it is not known where the next frame begins
	skip     uint64 // bytes of a frame that are still to come
	skipped  frame  // that frame
	partial  []byte // the beginning of a frame that must be whole

	// The last write that had headers: the same once more is its repetition,
	// which a library that could not write at once asks for.
	last        uint64 // hash; 0: none
	lastLength  uint64
	lastSummary []byte
}

// partialWrite is what a connection is like if only what was captured of its
// last write was written: some libraries write one TLS record, as much as is
// captured, and let the program write the rest again.
type partialWrite struct {
	rest    uint64 // bytes that were not captured; 0: all were
	headers *hpack.Decoder
	blocks  map[uint32][]byte
	live    live
}

// savePartialWrite notes that only what was captured may have been written, and not the
// rest bytes behind it.
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

// appendLive appends the summary of a write of length bytes into an HTTP/2
// connection; frames may go on from write to write.
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
			// No frame: something was not seen.
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
