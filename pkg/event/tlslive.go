package event

import (
	"bytes"
	"hash/maphash"
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// live is what is known beyond single writes of an HTTP/2 connection all of
// whose writes are seen from some point on.
type live struct {
	unknown bool   // the header table holds entries that were not seen
	astray  bool   // it is not known where the next frame begins
	skip    uint64 // bytes of a frame that are still to come
	skipped frame  // that frame
	partial []byte // the beginning of a frame that must be whole

	// The last write that had headers: the same once more is its repetition,
	// which a library that could not write at once asks for.
	last        uint64 // hash; 0: none
	lastLength  uint64
	lastSummary []byte
}

// partWritten is what a connection is like if only what was captured of its
// last write was written: some libraries write one TLS record, as much as is
// captured, and let the program write the rest again.
type partWritten struct {
	rest    uint64 // bytes that were not captured; 0: all were
	headers *hpack.Decoder
	blocks  map[uint32][]byte
	live    live
}

// partly notes that only what was captured may have been written, and not the
// rest bytes behind it.
func (c *tlsConn) partly(rest uint64) {
	if rest > 0 {
		c.part = partWritten{rest, c.headers, c.blocks, c.live}
	}
}

const (
	unknownName = "?" // no header's name
	unknown     = "<unknown>"
)

var writeSeed = maphash.MakeSeed()

// fillUnknown fills the header table with entries of which nothing is known. A
// reference to what was put there before we looked finds one of them, one to
// what came after finds what it should: entries are counted from the newest.
func (c *tlsConn) fillUnknown() {
	c.headers.SetMaxDynamicTableSize(maxTable)
	c.headers.SetEmitEnabled(false)
	c.headers.Write(unknowns) // cannot fail
	c.headers.Close()
	c.headers.SetEmitEnabled(true)
}

// maxUnknown is twice as many entries as the usual table of 4096 bytes holds.
const maxUnknown = 256

// unknowns is a header block of unknown entries.
var unknowns = bytes.Repeat(append(append(append([]byte{
	0x40, byte(len(unknownName))}, // a literal, to be kept
	unknownName...), byte(len(unknown))), unknown...), maxUnknown)

// appendUnknown appends what is missing from a header block in which there
// were unknown entries.
func (c *tlsConn) appendUnknown(b []byte) []byte {
	missing, request := false, false
	has := map[string]bool{}
	for _, f := range c.d.fields {
		has[f.Name] = true
		if f.Name == unknownName {
			missing = true
		}
	}
	if !missing || has[":status"] {
		return b
	}
	for _, name := range [...]string{":method", ":path", ":authority", ":scheme"} {
		request = request || has[name]
	}
	if !request {
		return append(append(b, ' '), unknown...)
	}
	for _, name := range [...]string{":method", ":path", ":authority"} {
		if !has[name] {
			b = append(append(append(append(b, ' '), name...), '='), unknown...)
		}
	}
	return b
}

// Lost says that writes may have been lost: of all connections nothing is
// known but what comes now.
func (d *TLSDecoder) Lost() {
	for _, conns := range []map[tlsKey]*tlsConn{d.recent, d.older} {
		for _, c := range conns {
			c.lose()
		}
	}
}

func (c *tlsConn) lose() {
	c.headers, c.blocks = nil, nil
	c.live = live{unknown: true, astray: true}
}

// appendLive appends the summary of a write of length bytes into an HTTP/2
// connection; frames may go on from write to write.
func (c *tlsConn) appendLive(b []byte, length uint64, data []byte) []byte {
	hash := maphash.Bytes(writeSeed, data)
	if c.last == hash && c.lastLength == length && c.lastSummary != nil {
		return append(b, c.lastSummary...)
	}
	c.lastSummary = nil
	part := c.part
	c.part = partWritten{}
	if part.rest == length && (c.astray || c.skip > 0 || !validFrame(data)) {
		c.headers, c.blocks, c.live = part.headers, part.blocks, part.live
		c.lastSummary = nil
	}
	start, cut := len(b), length-uint64(len(data))
	frames, begins := bytes.CutPrefix(data, []byte(preface))
	if begins {
		c.headers, c.blocks, c.live = nil, nil, live{} // as at its start
	}
	if c.astray && !validFrame(frames) {
		return appendBinary(b, length)
	}
	c.astray = false
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
			c.partly(cut)
			if cut > c.skip {
				c.lose()
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
			c.lose()
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
		c.partly(cut)
		if cut > missing {
			c.lose()
			return b
		}
		c.skip -= cut
		return b
	}
	switch {
	case cut > 0:
		c.partial = bytes.Clone(frames)
		c.partly(cut)
		c.lose()
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

func appendName(b []byte, f *frame) []byte {
	if int(f.typ) < len(frameNames) {
		b = append(b, frameNames[f.typ]...)
	}
	return strconv.AppendUint(append(b, " stream="...), uint64(f.stream), 10)
}

// plausible reports whether a frame's header is one that RFC 9113 or an
// extension to it allows.
func plausible(f *frame) bool {
	switch f.typ {
	case frameData, frameHeaders, framePriority, frameRstStream, framePushPromise, frameContinuation:
		return f.stream != 0
	case frameSettings, framePing, frameGoAway:
		return f.stream == 0
	case frameWindowUpdate:
		return f.length == 4
	case 0x0a, 0x0c, 0x10: // ALTSVC, ORIGIN, PRIORITY_UPDATE
		return true
	}
	return false
}

// appendLine appends an HTTP/1 first line.
func (d *TLSDecoder) appendLine(b, line []byte) []byte {
	method, rest, ok := bytes.Cut(line, []byte{' '})
	if d.Target == nil || !ok || bytes.HasPrefix(method, []byte("HTTP/")) {
		return AppendSafe(b, line)
	}
	target, version := rest, []byte(nil)
	if i := bytes.LastIndex(rest, []byte(" HTTP/")); i >= 0 {
		target, version = rest[:i], rest[i:]
	}
	b = append(AppendSafe(b, method), ' ')
	b = AppendSafe(b, d.Target(nil, target))
	return AppendSafe(b, version)
}

// appendTarget appends the value of a pseudo header.
func (d *TLSDecoder) appendTarget(b []byte, name, text string) []byte {
	cut := len(text) > maxShown
	value := []byte(text[:min(len(text), maxShown)])
	if d.Target != nil && (name == ":path" || name == ":authority") {
		value = d.Target(nil, value)
	}
	b = AppendSafe(b, value)
	if cut {
		b = append(b, "<cut>"...)
	}
	return b
}
