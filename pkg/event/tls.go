package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"unicode/utf8"

	"golang.org/x/net/http2/hpack"
)

// TLSDecoder makes the summaries of what programs write into TLS connections:
// HTTP/1 first lines, HTTP/2 frames with their requests. HTTP/2 compresses
// headers with a table that both ends build as they go, so it must see the
// writes of a connection in order. It keeps the tables of a bounded number of
// connections, those written to last. The zero TLSDecoder is ready for use; it
// is not safe for concurrent use.
type TLSDecoder struct {
	// Live says that all writes of a connection come here, from some point of
	// its life on, each whole or cut at its end. What cannot be known because it
	// was before that point, or was lost, is shown as <unknown>.
	Live bool
	// Target, if not nil, appends the target of a request as it is to be shown.
	Target func(b, target []byte) []byte

	recent, older map[tlsKey]*tlsConn // at most maxConns each
	fields        []hpack.HeaderField // of the header block at hand; at most maxFields
	more          int                 // frames that the summary at hand has no room for
}

type tlsKey struct {
	pid  uint32
	conn uint64
}

// tlsConn is a connection that speaks HTTP/2.
type tlsConn struct {
	d       *TLSDecoder
	headers *hpack.Decoder
	blocks  map[uint32][]byte // header blocks that wait for their end, by stream

	live
	part partWritten
}

// The bounds of what a TLSDecoder keeps.
const (
	maxConns      = 512
	maxTable      = 64 << 10 // bytes of a header table; as much as browsers allow
	firstTable    = 4096     // bytes, before any size update
	maxBlocks     = 64       // of a connection
	maxBlock      = 64 << 10 // bytes of a header block, and of all that a connection keeps
	maxFieldBytes = 64 << 10 // of a name or value
	maxFields     = 1024     // of a header block; pseudo headers are its first
)

// The bounds of a summary: a few bytes can refer to a long header many times.
const (
	maxSummary = 64 << 10 // bytes; a frame that begins behind them is only counted
	maxShown   = 8 << 10  // bytes of a pseudo header
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// HTTP/2 frame types and flags (RFC 9113, section 6).
const (
	frameData = iota
	frameHeaders
	framePriority
	frameRstStream
	frameSettings
	framePushPromise
	framePing
	frameGoAway
	frameWindowUpdate
	frameContinuation

	flagAck        = 0x01
	flagEndHeaders = 0x04
	flagPadded     = 0x08
	flagPriority   = 0x20
)

var frameNames = [...]string{"DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING",
	"GOAWAY", "WINDOW_UPDATE", "CONTINUATION"}

// AppendSummary appends the summary of one write: length bytes, of which data
// was captured. conn tells the connections of a process apart; 0 stands for all
// those that cannot be told. The summary is harmless on a terminal.
func (d *TLSDecoder) AppendSummary(b []byte, pid uint32, conn, length uint64, data []byte) []byte {
	if length == 0 {
		return append(b, "data_len=0"...)
	}
	if len(data) == 0 {
		if c := d.get(tlsKey{pid, conn}); c != nil && d.Live {
			c.lose()
		}
		b = strconv.AppendUint(append(b, "len="...), length, 10)
		return append(b, " <no-capture>"...)
	}
	d.more = 0
	b = d.appendData(b, tlsKey{pid, conn}, length, data)
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

func (d *TLSDecoder) appendData(b []byte, key tlsKey, length uint64, data []byte) []byte {
	c := d.get(key)
	if c != nil && d.Live {
		return c.appendLive(b, length, data)
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

// http1 returns how the summary of an HTTP/1 first line begins, or "".
func http1(line []byte) string {
	method, _, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return ""
	}
	switch string(method) {
	case "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT":
		return "http/1.x request: "
	case "HTTP/1.1", "HTTP/1.0":
		return "http/1.x response: "
	}
	return ""
}

// frame is an HTTP/2 frame as far as it was captured.
type frame struct {
	typ, flags byte
	stream     uint32
	length     int    // as the frame says
	payload    []byte // at most length
}

// nextFrame cuts the first frame, of 9 bytes at least, off data.
func nextFrame(data []byte) (f frame, rest []byte) {
	f = frame{
		typ:    data[3],
		flags:  data[4],
		stream: binary.BigEndian.Uint32(data[5:]) &^ (1 << 31),
		length: int(data[0])<<16 | int(data[1])<<8 | int(data[2]),
	}
	n := min(f.length, len(data)-9)
	f.payload = data[9 : 9+n]
	return f, data[9+n:]
}

// validFrame reports whether data begins with a whole frame as RFC 9113 allows
// it, so that bytes that merely look like one do not make a connection HTTP/2.
func validFrame(data []byte) bool {
	if len(data) < 9 || data[5]&0x80 != 0 {
		return false
	}
	f, _ := nextFrame(data)
	if len(f.payload) < f.length {
		return false
	}
	onStream := f.stream != 0
	switch f.typ {
	case frameData:
		return onStream && (f.flags&flagPadded == 0 || f.length > 0 && int(f.payload[0]) < f.length)
	case frameHeaders:
		_, err := f.headerBlock()
		return onStream && err == nil
	case framePriority:
		return onStream && f.length == 5
	case frameRstStream:
		return onStream && f.length == 4
	case frameSettings:
		return !onStream && f.length%6 == 0 && (f.flags&flagAck == 0 || f.length == 0)
	case framePushPromise:
		return onStream && f.length >= 4
	case framePing:
		return !onStream && f.length == 8
	case frameGoAway:
		return !onStream && f.length >= 8
	case frameWindowUpdate:
		return f.length == 4
	case frameContinuation:
		return onStream
	}
	return false
}

var (
	errPayload = errors.New("payload too short")
	errPadding = errors.New("ProtocolError: padding longer than the frame")
)

// headerBlock returns the header block of a HEADERS frame, without priority
// and padding.
func (f *frame) headerBlock() ([]byte, error) {
	p, pad := f.payload, 0
	if f.flags&flagPadded != 0 {
		if len(p) < 1 {
			return nil, errPayload
		}
		pad, p = int(p[0]), p[1:]
	}
	if f.flags&flagPriority != 0 {
		if len(p) < 5 {
			return nil, errPayload
		}
		p = p[5:]
	}
	pad -= f.length - len(f.payload) // that much of it was not captured
	if pad > len(p) {
		return nil, errPadding
	}
	if pad > 0 {
		p = p[:len(p)-pad]
	}
	return p, nil
}

// appendNext appends a frame to those that b has from start on, if there is
// room for it.
func (c *tlsConn) appendNext(b []byte, start int, first bool, f *frame) []byte {
	end := len(b)
	if end-start > maxSummary {
		c.d.more++
	}
	if !first {
		b = append(b, " | "...)
	}
	b = c.appendFrame(b, f)
	if c.d.more > 0 {
		return b[:end]
	}
	return b
}

func (c *tlsConn) appendFrame(b []byte, f *frame) []byte {
	if int(f.typ) < len(frameNames) {
		b = append(b, frameNames[f.typ]...)
	} else {
		b = append(b, "TYPE0x"...)
		b = append(b, hexLower[f.typ>>4], hexLower[f.typ&15])
	}
	b = strconv.AppendUint(append(b, " stream="...), uint64(f.stream), 10)
	b = append(b, " flags=0x"...)
	b = append(b, hexLower[f.flags>>4], hexLower[f.flags&15])
	b = strconv.AppendInt(append(b, " len="...), int64(len(f.payload)), 10)
	if len(f.payload) < f.length {
		b = append(b, '*')
	}
	switch f.typ {
	case frameHeaders:
		block, err := f.headerBlock()
		delete(c.blocks, f.stream)
		switch {
		case err == errPayload:
			return append(b, " <bad_payload>"...)
		case err != nil:
			return c.fail(b, err)
		case f.flags&flagEndHeaders == 0:
			return c.collect(b, f.stream, nil, block)
		}
		return c.appendHeaders(b, block)
	case frameContinuation:
		block, ok := c.blocks[f.stream]
		switch {
		case !ok:
			return append(b, " <orphan>"...)
		case f.flags&flagEndHeaders == 0:
			return c.collect(b, f.stream, block, f.payload)
		}
		delete(c.blocks, f.stream)
		return c.appendHeaders(b, append(block, f.payload...))
	}
	return b
}

// collect keeps a part of a header block until its end comes.
func (c *tlsConn) collect(b []byte, stream uint32, block, part []byte) []byte {
	size := len(part)
	for _, kept := range c.blocks {
		size += len(kept)
	}
	if size > maxBlock || len(c.blocks) >= maxBlocks && block == nil {
		delete(c.blocks, stream)
		return c.fail(b, errors.New("ProtocolError: too many unfinished headers"))
	}
	if c.blocks == nil {
		c.blocks = make(map[uint32][]byte)
	}
	c.blocks[stream] = append(append(make([]byte, 0, len(block)+len(part)), block...), part...)
	return append(b, " <collecting>"...)
}

// fail appends an error that leaves the header table unknown, and drops it.
func (c *tlsConn) fail(b []byte, err error) []byte {
	c.headers = nil
	c.unknown = c.d.Live
	return appendError(b, err)
}

func appendError(b []byte, err error) []byte {
	b = append(b, " <error: "...)
	b = append(b, err.Error()...)
	return append(b, '>')
}

// appendHeaders decodes a whole header block.
func (c *tlsConn) appendHeaders(b, block []byte) []byte {
	if len(block) == 0 {
		return c.fail(b, errors.New("ProtocolError: empty header block"))
	}
	if c.headers == nil {
		c.headers = hpack.NewDecoder(firstTable, func(f hpack.HeaderField) {
			if len(c.d.fields) < maxFields {
				c.d.fields = append(c.d.fields, f)
			}
		})
		c.headers.SetMaxStringLength(maxFieldBytes)
		if c.unknown {
			c.fillUnknown()
		}
	}
	c.d.fields = c.d.fields[:0]
	block, err := c.resize(block)
	if err == nil {
		_, err = c.headers.Write(block)
	}
	if e := c.headers.Close(); err == nil {
		err = e
	}
	if err != nil && c.unknown { // perhaps an entry older than those that we make room for
		c.headers = nil
		return append(append(b, ' '), unknown...)
	}
	if err != nil {
		return c.fail(b, errors.New("CompressionError: "+err.Error()))
	}
	if err := malformed(c.d.fields); err != nil {
		// The table is as good as before: such a request concerns its stream only.
		return appendError(b, err)
	}
	if c.d.more > 0 {
		return b // it is not shown
	}
	for _, name := range [...]string{":method", ":path", ":authority", ":status"} {
		for i := len(c.d.fields) - 1; i >= 0; i-- {
			if c.d.fields[i].Name == name {
				b = append(append(append(b, ' '), name...), '=')
				b = c.d.appendTarget(b, name, c.d.fields[i].Value)
				break
			}
		}
	}
	if c.unknown {
		b = c.appendUnknown(b)
	}
	return b
}

// resize obeys the table size updates that block begins with, as far as
// maxTable, and cuts them off: the peer's limit is not known here, and the
// program must not decide how much memory we use.
func (c *tlsConn) resize(block []byte) ([]byte, error) {
	for len(block) > 0 && block[0]&0xe0 == 0x20 {
		size := uint64(block[0] & 0x1f)
		block = block[1:]
		if size == 0x1f {
			n, used := binary.Uvarint(block)
			if used <= 0 || used > 5 {
				return nil, errors.New("bad table size update")
			}
			size, block = size+n, block[used:]
		}
		if !c.unknown { // what is unknown stays so, and takes its place
			c.headers.SetMaxDynamicTableSize(uint32(min(size, maxTable)))
		}
	}
	return block, nil
}

// malformed returns what makes a request or response malformed by RFC 9113,
// section 8, in its names; the values are shown as they are.
func malformed(fields []hpack.HeaderField) error {
	regular := false
	for _, f := range fields {
		if f.Name == unknownName {
			continue
		}
		if len(f.Name) > 0 && f.Name[0] == ':' {
			if regular {
				return errors.New("ProtocolError: pseudo header behind a regular one")
			}
			continue
		}
		regular = true
		for i := range len(f.Name) {
			if c := f.Name[i]; c <= ' ' || 'A' <= c && c <= 'Z' || c >= 0x7f || c == ':' {
				return errors.New("ProtocolError: bad header name")
			}
		}
		switch f.Name {
		case "":
			return errors.New("ProtocolError: bad header name")
		case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
			return errors.New("ProtocolError: connection-specific header")
		case "te":
			if f.Value != "trailers" {
				return errors.New("ProtocolError: bad te header")
			}
		}
	}
	return nil
}

func (d *TLSDecoder) get(key tlsKey) *tlsConn {
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

func (d *TLSDecoder) add(key tlsKey) *tlsConn {
	c := &tlsConn{d: d}
	d.put(key, c)
	return c
}

// put keeps c among the recent ones. When these are too many they become the
// older ones, and what was older is forgotten.
func (d *TLSDecoder) put(key tlsKey, c *tlsConn) {
	if len(d.recent) >= maxConns || d.recent == nil {
		d.older, d.recent = d.recent, make(map[tlsKey]*tlsConn)
	}
	d.recent[key] = c
}
