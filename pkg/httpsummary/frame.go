package httpsummary

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
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

// frame is an HTTP/2 frame, or the captured part of it.
type frame struct {
	typ, flags byte
	stream     uint32
	length     int    // of the payload, from the frame header
	payload    []byte // at most length
}

// nextFrame returns the first frame of data, which has at least 9 bytes, and the rest.
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

// validFrame reports whether data begins with a complete frame that is valid by RFC 9113.
// It is strict, so that other protocols are not taken for HTTP/2.
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
	pad -= f.length - len(f.payload) // that part of the padding was not captured
	if pad > len(p) {
		return nil, errPadding
	}
	if pad > 0 {
		p = p[:len(p)-pad]
	}
	return p, nil
}

// appendNext appends a frame to the summary that begins at start, if it fits.
func (c *conn) appendNext(b []byte, start int, first bool, f *frame) []byte {
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

func (c *conn) appendFrame(b []byte, f *frame) []byte {
	if int(f.typ) < len(frameNames) {
		b = append(b, frameNames[f.typ]...)
	} else {
		b = append(b, "TYPE0x"...)
		b = hex.AppendEncode(b, []byte{f.typ})
	}
	b = strconv.AppendUint(append(b, " stream="...), uint64(f.stream), 10)
	b = append(b, " flags=0x"...)
	b = hex.AppendEncode(b, []byte{f.flags})
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

func appendName(b []byte, f *frame) []byte {
	if int(f.typ) < len(frameNames) {
		b = append(b, frameNames[f.typ]...)
	}
	return strconv.AppendUint(append(b, " stream="...), uint64(f.stream), 10)
}
