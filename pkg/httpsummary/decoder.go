// Package httpsummary summarises the data that programs write to TLS connections.
package httpsummary

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"golang.org/x/net/http2/hpack"
)

// Decoder summarises writes to TLS connections: the first line of HTTP/1, or the frames
// of HTTP/2 with their requests. HTTP/2 compresses headers with a table that depends on
// all earlier headers, so a Decoder must get the writes of a connection in order. It
// keeps the tables of the most recently used connections, up to a bound. The zero
// Decoder is ready for use. It is not safe for concurrent use.
type Decoder struct {
	// Live means that the Decoder gets all writes of a connection from some moment
	// on, each complete or cut at its end. Headers that depend on earlier or lost
	// writes are shown as <unknown>.
	Live bool
	// Target, if not nil, appends the target of a request, for example masked.
	Target func(b, target []byte) []byte

	recent, older map[connKey]*conn   // at most maxConns each
	lines         map[connKey][]byte  // beginnings of HTTP/1 first lines, at most maxConns
	fields        []hpack.HeaderField // of the current header block; at most maxFields
	more          int                 // frames that do not fit into the current summary
}

type connKey struct {
	pid  uint32
	conn uint64
}

// conn is an HTTP/2 connection.
type conn struct {
	d       *Decoder
	headers *hpack.Decoder
	blocks  map[uint32][]byte // incomplete header blocks, by stream

	live
	part partialWrite
}

// The bounds of a Decoder's memory.
const (
	maxConns      = 512
	maxLine       = 8 << 10  // bytes of an HTTP/1 first line that comes in parts; as much as servers take
	maxTable      = 64 << 10 // bytes of a header table, as browsers allow
	firstTable    = 4096     // bytes, before any size update
	maxBlocks     = 64       // of a connection
	maxBlock      = 64 << 10 // bytes of a header block, and of all that a connection keeps
	maxFieldBytes = 64 << 10 // of a name or value
	maxFields     = 1024     // of a header block; pseudo headers come first
)

// The bounds of a summary: a few bytes can refer to a long header many times.
const (
	maxSummary = 64 << 10 // bytes; a frame that begins behind them is only counted
	maxShown   = 8 << 10  // bytes of a pseudo header
)

// AppendSummary appends the summary of one write of length bytes, of which data was
// captured. conn identifies a connection of the process; 0 if it is unknown. The summary
// has no control characters.
func (d *Decoder) AppendSummary(b []byte, pid uint32, conn, length uint64, data []byte) []byte {
	if length == 0 {
		return append(b, "data_len=0"...)
	}
	if len(data) == 0 {
		delete(d.lines, connKey{pid, conn})
		if c := d.get(connKey{pid, conn}); c != nil && d.Live {
			c.forget()
		}
		b = strconv.AppendUint(append(b, "len="...), length, 10)
		return append(b, " <no-capture>"...)
	}
	d.more = 0
	b = d.appendData(b, connKey{pid, conn}, length, data)
	if d.more > 0 {
		b = strconv.AppendInt(append(b, " | <"...), int64(d.more), 10)
		b = append(b, " more>"...)
	}
	if n := uint64(len(data)); n < length {
		b = strconv.AppendUint(append(b, " (captured "...), n, 10)
		b = strconv.AppendUint(append(b, '/'), length, 10)
		b = append(b, "B)"...)
	}
	return b
}

func (d *Decoder) appendData(b []byte, key connKey, length uint64, data []byte) []byte {
	c := d.get(key)
	if c != nil && d.Live {
		return c.appendLive(b, length, data)
	}
	if d.Live && c == nil {
		var open bool
		if data, open = d.collect(key, length, data); open {
			return append(b, "http/1.x <collecting>"...)
		}
	}
	line := data
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		line = bytes.TrimSuffix(data[:i], []byte{'\r'})
	}
	if what := http1(line); what != "" && utf8.Valid(line) {
		return d.appendLine(append(b, what...), line)
	}
	frames, begins := bytes.CutPrefix(data, []byte(preface))
	if d.Live {
		if !begins && !validFrame(frames) {
			return appendBinary(b, length)
		}
		c = d.add(key)
		c.unknown = !begins
		return c.appendLive(b, length, data)
	}
	if c == nil && (begins || validFrame(frames)) {
		c = d.add(key)
	}
	if c == nil || !begins && (len(frames) < 9 || frames[3] > frameContinuation) {
		return appendBinary(b, length)
	}
	b = append(b, "h2 "...)
	if begins {
		b = append(b, "preface "...)
		if len(frames) < 9 || frames[3] > frameContinuation {
			return append(b, "only"...)
		}
	}
	start := len(b)
	for first := true; len(frames) >= 9; first = false {
		var f frame
		f, frames = nextFrame(frames)
		b = c.appendNext(b, start, first, &f)
	}
	return b
}

func appendBinary(b []byte, length uint64) []byte {
	return strconv.AppendUint(append(b, "binary len="...), length, 10)
}

func (d *Decoder) get(key connKey) *conn {
	if c := d.recent[key]; c != nil {
		return c
	}
	c := d.older[key]
	if c != nil {
		delete(d.older, key)
		d.put(key, c)
	}
	return c
}

func (d *Decoder) add(key connKey) *conn {
	c := &conn{d: d}
	d.put(key, c)
	return c
}

// put adds c to the recent connections. If these are too many they replace the older
// ones.
func (d *Decoder) put(key connKey, c *conn) {
	if len(d.recent) >= maxConns || d.recent == nil {
		d.older, d.recent = d.recent, make(map[connKey]*conn)
	}
	d.recent[key] = c
}

// Lost tells the Decoder that writes may have been lost: it resets the state of all
// connections.
func (d *Decoder) Lost() {
	clear(d.lines)
	for _, conns := range []map[connKey]*conn{d.recent, d.older} {
		for _, c := range conns {
			c.forget()
		}
	}
}
