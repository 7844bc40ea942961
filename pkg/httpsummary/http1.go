package httpsummary

import (
	"bytes"
	"strings"

	"vivarium/pkg/event"
)

// begins are what an HTTP/1 first line can begin with.
var begins = []string{
	"GET ", "POST ", "PUT ", "PATCH ", "DELETE ", "HEAD ", "OPTIONS ", "TRACE ", "CONNECT ", "HTTP/1.1 ", "HTTP/1.0 ",
}

// collect puts a write behind what a connection has of an HTTP/1 first line that was
// written in parts. open: the line has no end yet, and is not to be shown.
func (d *Decoder) collect(key connKey, length uint64, data []byte) (line []byte, open bool) {
	whole := func(line []byte) bool { return length > uint64(len(data)) || bytes.IndexByte(line, '\n') >= 0 }
	line = data
	if had := d.lines[key]; had != nil && http1(data) == "" { // else it is written once more
		line = append(had, data...)
	}
	delete(d.lines, key)
	if whole(line) || len(line) >= maxLine || !mayBegin(line) {
		return line, false
	}
	if len(d.lines) >= maxConns || d.lines == nil {
		d.lines = map[connKey][]byte{}
	}
	d.lines[key] = bytes.Clone(line)
	return nil, true
}

// mayBegin reports whether a line can be the beginning of an HTTP/1 first line.
func mayBegin(line []byte) bool {
	for _, b := range begins {
		if n := min(len(b), len(line)); string(line[:n]) == b[:n] {
			return true
		}
	}
	return false
}

// http1 returns the beginning of the summary of an HTTP/1 first line; "": it is none.
func http1(line []byte) string {
	for _, b := range begins {
		switch {
		case !bytes.HasPrefix(line, []byte(b)):
		case strings.HasPrefix(b, "HTTP/"):
			return "http/1.x response: "
		default:
			return "http/1.x request: "
		}
	}
	return ""
}

// appendLine appends an HTTP/1 first line.
func (d *Decoder) appendLine(b, line []byte) []byte {
	method, rest, ok := bytes.Cut(line, []byte{' '})
	if d.Target == nil || !ok || bytes.HasPrefix(method, []byte("HTTP/")) {
		return event.AppendSafe(b, line)
	}
	target, version := rest, []byte(nil)
	if i := bytes.LastIndex(rest, []byte(" HTTP/")); i >= 0 {
		target, version = rest[:i], rest[i:]
	}
	b = append(event.AppendSafe(b, method), ' ')
	b = event.AppendSafe(b, d.Target(nil, target))
	return event.AppendSafe(b, version)
}
