package httpsummary

import (
	"bytes"
	"encoding/binary"
	"errors"

	"vivarium/pkg/event"

	"golang.org/x/net/http2/hpack"
)

// collect keeps a part of a header block until the block is complete.
func (c *conn) collect(b []byte, stream uint32, block, part []byte) []byte {
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

// fail appends an error after which the header table is unknown, and drops the table.
func (c *conn) fail(b []byte, err error) []byte {
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
func (c *conn) appendHeaders(b, block []byte) []byte {
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
	if err != nil && c.unknown { // it may refer to an entry that is older than fillUnknown's
		c.headers = nil
		return append(append(b, ' '), unknown...)
	}
	if err != nil {
		return c.fail(b, errors.New("CompressionError: "+err.Error()))
	}
	if err := malformed(c.d.fields); err != nil {
		// The table is still valid: only this stream is affected.
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

// resize applies and removes the table size updates at the beginning of block. The size
// is limited to maxTable: the peer's limit is unknown here, and a watched program must
// not control our memory.
func (c *conn) resize(block []byte) ([]byte, error) {
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
		if !c.unknown { // unknown entries must keep their places
			c.headers.SetMaxDynamicTableSize(uint32(min(size, maxTable)))
		}
	}
	return block, nil
}

// malformed returns an error if the names of a request or response are malformed by
// RFC 9113, section 8. It does not check values.
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

// appendTarget appends the value of a pseudo header.
func (d *Decoder) appendTarget(b []byte, name, text string) []byte {
	cut := len(text) > maxShown
	value := []byte(text[:min(len(text), maxShown)])
	if d.Target != nil && (name == ":path" || name == ":authority") {
		value = d.Target(nil, value)
	}
	b = event.AppendSafe(b, value)
	if cut {
		b = append(b, "<cut>"...)
	}
	return b
}

const (
	unknownName = "?" // no header's name
	unknown     = "<unknown>"
)

// fillUnknown fills the header table with unknown entries. References to entries from
// before the first write that was seen then find one of these. Later references are
// right, because entries are counted from the newest.
func (c *conn) fillUnknown() {
	c.headers.SetMaxDynamicTableSize(maxTable)
	c.headers.SetEmitEnabled(false)
	c.headers.Write(unknowns) // cannot fail
	c.headers.Close()
	c.headers.SetEmitEnabled(true)
}

// maxUnknown is twice the number of entries in the usual table of 4096 bytes.
const maxUnknown = 256

// unknowns is a header block of unknown entries.
var unknowns = bytes.Repeat(append(append(append([]byte{
	0x40, byte(len(unknownName))}, // a literal with incremental indexing
	unknownName...), byte(len(unknown))), unknown...), maxUnknown)

// appendUnknown appends the pseudo headers that may be among the unknown entries of a
// header block.
func (c *conn) appendUnknown(b []byte) []byte {
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
