package httpsummary

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"vivarium/pkg/event/eventtest"

	"golang.org/x/net/http2/hpack"
)

// rawFrame is an HTTP/2 frame.
func rawFrame(typ, flags byte, stream uint32, payload string) string {
	n := len(payload)
	return string([]byte{byte(n >> 16), byte(n >> 8), byte(n), typ, flags,
		byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream)}) + payload
}

func block(fields ...string) string {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.String()
}

// write is one write to a TLS connection.
type write struct {
	pid  uint32
	conn uint64
	data string
	lost int // bytes that were not captured
	want string
}

func TestSummary(t *testing.T) {
	settings := rawFrame(4, 0, 0, "\x00\x03\x00\x00\x00\x64")
	get := block(":method", "GET", ":path", "/a", ":authority", "x.test", "cookie", "secret")
	for name, writes := range map[string][]write{
		"http1": {
			{data: "GET /x HTTP/1.1\r\nHost: a\r\n", want: "http/1.x request: GET /x HTTP/1.1"},
			{data: "GET /lf HTTP/1.1\nHost: a\n\r\n", want: "http/1.x request: GET /lf HTTP/1.1"},
			{data: "HTTP/1.1 200 OK\r\n\r\n", want: "http/1.x response: HTTP/1.1 200 OK"},
			{data: "HTTP/1.1\r\n\r\n", want: "binary len=12"},
			{data: "GET\r\n", want: "binary len=5"},
			{data: "get / HTTP/1.1\r\n", want: "binary len=16"},
			{data: "GET /\x1b[31m\t\x00 HTTP/1.1\r\n", want: `http/1.x request: GET /\e[31m\t\x00 HTTP/1.1`},
			{data: "GET /caf\u00e9\u202e HTTP/1.1\r\n", want: `http/1.x request: GET /café\u{202E} HTTP/1.1`},
			{data: "GET /\xff HTTP/1.1\r\n", want: "binary len=17"},
			{data: "GET /cut", lost: 92, want: "http/1.x request: GET /cut (captured 8/100B)"},
			{data: "", want: "data_len=0"},
			{data: "", lost: 7, want: "len=7 <no-capture>"},
		},
		"preface": {
			{data: preface + settings, want: "h2 preface SETTINGS stream=0 flags=0x00 len=6"},
			{data: rawFrame(0, 0, 1, "body")[:11], lost: 2, want: "h2 DATA stream=1 flags=0x00 len=2* (captured 11/13B)"},
			{data: "12345678", want: "binary len=8"},
			{data: preface, want: "h2 preface only"},
			{data: preface + "not h2 at all", want: "h2 preface only"},
			{data: rawFrame(0xfe, 0xff, 0xffffffff, "") + "x", want: "binary len=10"},
			{data: rawFrame(0, 0, 1, "b") + rawFrame(0xfe, 0xff, 0xffffffff, ""), want: "h2 DATA stream=1 flags=0x00 len=1 | TYPE0xfe stream=2147483647 flags=0xff len=0"},
		},
		// What merely looks like a frame makes no HTTP/2 connection (Q29).
		"no http2": {
			{data: "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03gzip", want: "binary len=14"},
			{data: "\x82\x85\x01\x02\x03\x04HELLO websocket", want: "binary len=21"},
			{data: rawFrame(0, 0, 1, "cut")[:10], lost: 2, want: "binary len=12 (captured 10/12B)"},
			{data: rawFrame(0, 0, 0, "x"), want: "binary len=10"},                             // DATA on no stream
			{data: rawFrame(4, 0, 1, "123456"), want: "binary len=15"},                        // SETTINGS on a stream
			{data: rawFrame(4, 0, 0, "12345"), want: "binary len=14"},                         // of an odd size
			{data: rawFrame(6, 0, 0, "1234567"), want: "binary len=16"},                       // PING
			{data: rawFrame(8, 0, 0, "123"), want: "binary len=12"},                           // WINDOW_UPDATE
			{data: rawFrame(0, 0, 1<<31|1, "x"), want: "binary len=10"},                       // reserved bit
			{data: rawFrame(0, 8, 1, "\x09x"), want: "binary len=11"},                         // padding longer than the frame
			{data: rawFrame(2, 0, 3, "12345"), want: "h2 PRIORITY stream=3 flags=0x00 len=5"}, // and this is one
			{data: "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", want: "h2 DATA stream=0 flags=0x00 len=1*"},
		},
		"headers": {
			{data: rawFrame(1, 5, 1, get), want: fmt.Sprintf("h2 HEADERS stream=1 flags=0x05 len=%d :method=GET :path=/a :authority=x.test", len(get))},
			{data: rawFrame(1, 5, 3, "\x82\xc0\xbf"), want: "h2 HEADERS stream=3 flags=0x05 len=3 :method=GET :path=/a :authority=x.test"},
			{data: rawFrame(1, 0x0d, 5, "\x02\x82\x84D.."), want: "h2 HEADERS stream=5 flags=0x0d len=6 <error: CompressionError: decoding error: truncated headers>"},
			{data: rawFrame(1, 5, 7, "\xc0"), want: "h2 HEADERS stream=7 flags=0x05 len=1 <error: CompressionError: decoding error: invalid indexed representation index 64>"},
			{data: rawFrame(1, 0x2d, 9, "\x01pppp\x10\x82\x84x"), want: "h2 HEADERS stream=9 flags=0x2d len=9 :method=GET :path=/"},
			{data: rawFrame(1, 0x0c, 9, "\xc8abc"), want: "h2 HEADERS stream=9 flags=0x0c len=4 <error: ProtocolError: padding longer than the frame>"},
			{data: rawFrame(1, 0x0c, 9, ""), want: "h2 HEADERS stream=9 flags=0x0c len=0 <bad_payload>"},
			{data: rawFrame(1, 0x24, 9, "1234"), want: "h2 HEADERS stream=9 flags=0x24 len=4 <bad_payload>"},
			{data: rawFrame(1, 4, 9, ""), want: "h2 HEADERS stream=9 flags=0x04 len=0 <error: ProtocolError: empty header block>"},
			{data: rawFrame(1, 4, 9, block(":status", "200", "te", "trailers")), want: "h2 HEADERS stream=9 flags=0x04 len=12 :status=200"},
			{data: rawFrame(1, 4, 9, block("te", "gzip")), want: "h2 HEADERS stream=9 flags=0x04 len=8 <error: ProtocolError: bad te header>"},
			{data: rawFrame(1, 4, 9, block("Upper", "x")), want: "h2 HEADERS stream=9 flags=0x04 len=8 <error: ProtocolError: bad header name>"},
			{data: rawFrame(1, 4, 9, block("connection", "close")), want: "h2 HEADERS stream=9 flags=0x04 len=14 <error: ProtocolError: connection-specific header>"},
			{data: rawFrame(1, 4, 9, block("x", "y", ":path", "/late")), want: "h2 HEADERS stream=9 flags=0x04 len=11 <error: ProtocolError: pseudo header behind a regular one>"},
			{data: rawFrame(1, 4, 9, block(":path", "/a", ":path", "/b\n")), want: `h2 HEADERS stream=9 flags=0x04 len=9 :path=/b\n`},
		},
		"continuation": {
			{data: rawFrame(1, 1, 5, "\x82"), want: "h2 HEADERS stream=5 flags=0x01 len=1 <collecting>"},
			{data: rawFrame(9, 0, 5, "\x04\x02"), want: "h2 CONTINUATION stream=5 flags=0x00 len=2 <collecting>"},
			{data: rawFrame(9, 4, 5, "/a"), want: "h2 CONTINUATION stream=5 flags=0x04 len=2 :method=GET :path=/a"},
			{data: rawFrame(9, 4, 5, "/a"), want: "h2 CONTINUATION stream=5 flags=0x04 len=2 <orphan>"},
		},
		// Size updates are obeyed (the vivarium fixture has one to 2 MiB).
		"size update": {
			{data: rawFrame(1, 4, 1, "\x3f\xff\xff\x7f\x82"), want: "h2 HEADERS stream=1 flags=0x04 len=5 :method=GET"},
			{data: rawFrame(1, 4, 1, "\x20\x84"), want: "h2 HEADERS stream=1 flags=0x04 len=2 :path=/"},
			{data: rawFrame(1, 4, 1, "\x3f\xff\xff\xff\xff\xff\xff\x7f"), want: "h2 HEADERS stream=1 flags=0x04 len=8 <error: CompressionError: bad table size update>"},
			{data: rawFrame(1, 4, 1, block(":path", "/x")), want: "h2 HEADERS stream=1 flags=0x04 len=4 :path=/x"},
			{data: rawFrame(1, 4, 1, "\x84\x20"), want: "h2 HEADERS stream=1 flags=0x04 len=2 <error: CompressionError: decoding error: dynamic table size update MUST occur at the beginning of a header block>"},
		},
		// Each connection has its own table; those that cannot be told apart share one (Q27).
		"connections": {
			{pid: 1, conn: 1, data: rawFrame(1, 4, 1, block(":path", "/one")), want: "h2 HEADERS stream=1 flags=0x04 len=5 :path=/one"},
			{pid: 1, conn: 2, data: rawFrame(1, 4, 1, block(":path", "/two")), want: "h2 HEADERS stream=1 flags=0x04 len=5 :path=/two"},
			{pid: 1, conn: 1, data: rawFrame(1, 4, 3, "\xbe"), want: "h2 HEADERS stream=3 flags=0x04 len=1 :path=/one"},
			{pid: 2, conn: 1, data: rawFrame(1, 4, 3, "\xbe"), want: "h2 HEADERS stream=3 flags=0x04 len=1 <error: CompressionError: decoding error: invalid indexed representation index 62>"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			for _, w := range writes {
				got := string(d.AppendSummary([]byte("x"), w.pid, w.conn, uint64(len(w.data)+w.lost), []byte(w.data)))
				if got != "x"+w.want {
					t.Errorf("%q:\n got %s\nwant x%s", w.data, got, w.want)
				}
			}
		})
	}
}

func TestDecoderIsBounded(t *testing.T) {
	var d Decoder
	frame := []byte(rawFrame(1, 4, 1, block(":path", "/x")))
	for i := range 5 * maxConns {
		d.AppendSummary(nil, 1, uint64(i), uint64(len(frame)), frame)
		d.AppendSummary(nil, 1, 0, uint64(len(frame)), frame) // in use all the time
		if n := len(d.recent) + len(d.older); n > 2*maxConns {
			t.Fatalf("%d connections are known", n)
		}
	}
	if c := d.get(connKey{1, 0}); c == nil || c.headers == nil {
		t.Error("the connection in use was forgotten")
	}
	// Unfinished header blocks of one connection.
	open := rawFrame(1, 0, 1, strings.Repeat("x", 100))
	for i := range uint32(10 * maxBlocks) {
		f := rawFrame(1, 0, i+1, open)
		d.AppendSummary(nil, 9, 9, uint64(len(f)), []byte(f))
	}
	if n := len(d.get(connKey{9, 9}).blocks); n > maxBlocks {
		t.Errorf("%d header blocks are kept", n)
	}
	more := rawFrame(9, 0, 1, strings.Repeat("x", 1000))
	for range maxBlock / 500 {
		d.AppendSummary(nil, 9, 9, uint64(len(more)), []byte(more))
	}
	for stream, b := range d.get(connKey{9, 9}).blocks {
		if len(b) > maxBlock {
			t.Errorf("stream %d keeps %d bytes", stream, len(b))
		}
	}
}

func FuzzSummary(f *testing.F) {
	f.Add([]byte(preface+rawFrame(1, 5, 1, block(":path", "/\x1b"))), []byte(rawFrame(9, 4, 1, "\xbe")), uint16(0))
	f.Add([]byte("GET /\x1b\u202e\n"), []byte{}, uint16(7))
	f.Fuzz(func(t *testing.T, one, two []byte, lost uint16) {
		var d Decoder
		for _, data := range [][]byte{one, two, one} {
			eventtest.CheckText(t, d.AppendSummary(nil, 1, 0, uint64(len(data))+uint64(lost), data))
		}
	})
}

func BenchmarkSummary(b *testing.B) {
	var d Decoder
	frame := []byte(rawFrame(1, 5, 1, block(":method", "GET", ":path", "/a", ":authority", "x.test")))
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = d.AppendSummary(buf[:0], 1, 1, uint64(len(frame)), frame)
	}
}
