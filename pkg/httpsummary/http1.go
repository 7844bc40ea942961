package httpsummary

import (
	"bytes"

	"vivarium/pkg/event"
)

// http1 returns the beginning of the summary of an HTTP/1 first line; "": it is none.
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
