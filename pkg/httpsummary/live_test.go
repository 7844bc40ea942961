package httpsummary

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// peer is one end of an HTTP/2 connection.
type peer struct {
	buf bytes.Buffer
	enc *hpack.Encoder
}

func newPeer() *peer {
	p := &peer{}
	p.enc = hpack.NewEncoder(&p.buf)
	return p
}

// headers is a HEADERS frame, with the table as it is by now.
func (p *peer) headers(stream uint32, fields ...string) string {
	p.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return rawFrame(1, 5, stream, p.buf.String())
}

func (p *peer) get(stream uint32, path string) string {
	return p.headers(stream, ":method", "GET", ":scheme", "https", ":authority", "x.test", ":path", path, "x-same", "of all")
}

func TestLive(t *testing.T) {
	settings := rawFrame(4, 0, 0, "")
	for name, run := range map[string]func(write func(data string, lost int, want string), d *Decoder){
		"from the start": func(write func(string, int, string), _ *Decoder) {
			p := newPeer()
			write(preface+settings, 0, "h2 preface SETTINGS stream=0 flags=0x00 len=0")
			write(p.get(1, "/a"), 0, ":method=GET :path=/a :authority=x.test")
			write(p.get(3, "/b"), 0, ":method=GET :path=/b :authority=x.test")
			write(p.get(5, "/a"), 0, ":method=GET :path=/a :authority=x.test")
		},
		"from the middle": func(write func(string, int, string), _ *Decoder) {
			p := newPeer()
			p.get(1, "/a")
			write(p.get(3, "/a"), 0, ":method=GET :path=<unknown> :authority=<unknown>")
			write(p.get(5, "/b"), 0, ":method=GET :path=/b :authority=<unknown>")
			write(p.get(7, "/b"), 0, ":method=GET :path=/b :authority=<unknown>")
			write(p.headers(9, "x-new", "1"), 0, "len=")
			write(p.headers(11, "x-same", "of all"), 0, " <unknown>")
		},
		"written in parts": func(write func(string, int, string), _ *Decoder) {
			p := newPeer()
			write(preface+settings, 0, "SETTINGS")
			write(p.get(1, "/a"), 0, ":path=/a")
			// The rest comes in a write of its own, or what was not captured was written.
			data := rawFrame(0, 0, 1, strings.Repeat("x", 16384))
			write(data[:16384], 9, "DATA stream=1 flags=0x00 len=16375*")
			write(data[16384:], 0, "DATA stream=1 rest=9")
			write(p.get(3, "/b"), 0, ":method=GET :path=/b :authority=x.test")
			write(data[:16384], 9, "DATA stream=1 flags=0x00 len=16375*")
			write(rawFrame(4, 1, 0, ""), 0, "SETTINGS stream=0 flags=0x01 len=0")
			write(p.get(5, "/c"), 0, ":method=GET :path=/c :authority=x.test")
			// Much more, in which requests begin.
			data += data + p.get(7, "/d") + data
			write(data[:16384], len(data)-16384, "DATA stream=1 flags=0x00 len=16375*")
			data = data[16384:]
			write(data[:16384], len(data)-16384, "DATA stream=1 rest=9 | DATA stream=1 flags=0x00 len=16366*")
			data = data[16384:]
			write(data[:16384], len(data)-16384, ":method=GET :path=/d :authority=x.test")
			write(data[16384:], 0, "DATA stream=1 rest=")
			write(p.get(9, "/d"), 0, ":method=GET :path=/d :authority=x.test")
		},
		"responses from the middle": func(write func(string, int, string), _ *Decoder) {
			p := newPeer()
			p.headers(1, ":status", "200", "server", "s")
			write(p.headers(3, ":status", "200", "server", "s"), 0, ":status=200$")
			write(p.headers(5, ":status", "299", "server", "s"), 0, ":status=299$")
		},
		"an entry of which only the name is known": func(write func(string, int, string), _ *Decoder) {
			p := newPeer()
			p.headers(1, "x-token", "a")
			write(p.headers(3, ":method", "GET", "x-token", "b"), 0, ":method=GET :path=<unknown> :authority=<unknown>$")
		},
		"a write once more": func(write func(string, int, string), _ *Decoder) {
			p := newPeer()
			write(preface+settings, 0, "preface")
			first := p.get(1, "/a")
			write(first, 0, ":path=/a :authority=x.test")
			write(first, 0, ":path=/a :authority=x.test")
			write(p.get(3, "/a"), 0, ":path=/a :authority=x.test")
		},
		"frames over several writes": func(write func(string, int, string), _ *Decoder) {
			p := newPeer()
			data := rawFrame(0, 0, 1, strings.Repeat("d", 1000))
			first, next := p.get(1, "/a"), p.get(3, "/b")
			write(preface+settings+first+data[:500], 0, "DATA stream=1 flags=0x00 len=491*$")
			write(data[500:900], 0, "h2 DATA stream=1 rest=400$")
			write(data[900:]+next[:4], 0, "h2 DATA stream=1 rest=109$")
			write(next[4:15], 0, "h2 HEADERS stream=3 <collecting>$")
			write(next[15:], 0, ":path=/b :authority=x.test$")
			write(p.get(5, "/a"), 0, ":path=/a :authority=x.test$")
		},
		"the end of a write was not captured": func(write func(string, int, string), _ *Decoder) {
			p := newPeer()
			data := rawFrame(0, 0, 1, strings.Repeat("d", 1000))
			write(preface+settings+p.get(1, "/a")+data[:500], 509, "DATA stream=1 flags=0x00 len=491*")
			write(p.get(3, "/b"), 0, ":path=/b :authority=x.test$")
			write(data[:500], 509+100, "DATA")
			write("no frame", 0, "binary len=8$")
			write(p.get(5, "/b"), 0, ":path=<unknown> :authority=<unknown>$")
			write(p.get(7, "/c"), 0, ":path=/c :authority=<unknown>$")
		},
		"headers that were not captured": func(write func(string, int, string), _ *Decoder) {
			p := newPeer()
			write(preface+settings, 0, "preface")
			a := p.get(1, "/a")
			write(a[:len(a)-3], 3, "HEADERS")
			write(p.get(3, "/b"), 0, ":path=/b :authority=<unknown>$")
			write(p.get(5, "/a"), 0, ":path=<unknown> :authority=<unknown>$")
		},
		"something was lost": func(write func(string, int, string), d *Decoder) {
			p := newPeer()
			write(preface+settings+p.get(1, "/a"), 0, ":path=/a :authority=x.test$")
			d.Lost()
			p.get(3, "/b")
			write("d of a frame", 0, "binary")
			write(p.get(5, "/a"), 0, ":path=<unknown> :authority=<unknown>$")
			write(p.get(7, "/b"), 0, ":path=<unknown> :authority=<unknown>$")
		},
		"no frame where one should be": func(write func(string, int, string), _ *Decoder) {
			write(preface+settings, 0, "preface")
			write("GET / HTTP/1.1\r\n\r\n", 0, "<unknown>")
			write(newPeer().get(1, "/a"), 0, ":path=/a")
		},
		"a new connection with the id of another": func(write func(string, int, string), _ *Decoder) {
			write(preface+settings+newPeer().get(1, "/a"), 0, ":path=/a")
			write(preface+settings+newPeer().get(1, "/b"), 0, ":path=/b :authority=x.test$")
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := &Decoder{Live: true}
			run(func(data string, lost int, want string) {
				t.Helper()
				got := string(d.AppendSummary(nil, 1, 1, uint64(len(data)+lost), []byte(data)))
				got, _, _ = strings.Cut(got, " (captured")
				want, end := strings.CutSuffix(want, "$")
				if !strings.Contains(got, want) || end && !strings.HasSuffix(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			}, d)
		})
	}
}

// FuzzLive: no write makes it crash, and it keeps no more than it says.
func FuzzLive(f *testing.F) {
	p := newPeer()
	f.Add([]byte(preface+p.get(1, "/a")), []byte(p.get(3, "/a")), uint16(0))
	f.Add([]byte(p.get(5, "/a")), []byte("GET /?token=x HTTP/1.1\r\n"), uint16(9))
	f.Fuzz(func(t *testing.T, one, two []byte, lost uint16) {
		d := &Decoder{Live: true}
		var b []byte
		for range 3 {
			for _, data := range [][]byte{one, two} {
				b = d.AppendSummary(b[:0], 1, 1, uint64(len(data))+uint64(lost), data)
			}
		}
		if c := d.get(connKey{1, 1}); c != nil {
			if len(c.partial) > maxBlock+9 || len(c.blocks) > maxBlocks {
				t.Errorf("%d bytes and %d blocks are kept", len(c.partial), len(c.blocks))
			}
		}
	})
}

func BenchmarkLive(b *testing.B) {
	p := newPeer()
	p.get(1, "/a")
	unseen := p.get(3, "/a")
	b.Run("begins in the middle", func(b *testing.B) {
		b.ReportAllocs()
		var out []byte
		for range b.N {
			d := &Decoder{Live: true}
			out = d.AppendSummary(out[:0], 1, 1, uint64(len(unseen)), []byte(unseen))
		}
	})
	b.Run("goes on", func(b *testing.B) {
		d := &Decoder{Live: true}
		var out []byte
		data := []byte(rawFrame(0, 0, 1, strings.Repeat("d", 4000)))
		d.AppendSummary(nil, 1, 1, uint64(len(unseen)), []byte(unseen))
		b.ReportAllocs()
		for range b.N {
			out = d.AppendSummary(out[:0], 1, 1, uint64(len(data)), data)
		}
	})
}

// TestBounds: what a hostile program writes makes neither summaries nor what
// is kept of its connection large, and what follows is decoded all the same.
func TestBounds(t *testing.T) {
	d := &Decoder{Live: true}
	write := func(data string) string {
		return string(d.AppendSummary(nil, 1, 1, uint64(len(data)), []byte(data)))
	}
	conn := func() *conn { return d.get(connKey{1, 1}) }
	write(preface + rawFrame(4, 0, 0, ""))

	// A table of 64 KiB, a path of 30,000 bytes in it, and many requests for it.
	p := newPeer()
	p.enc.SetMaxDynamicTableSizeLimit(maxTable)
	p.enc.SetMaxDynamicTableSize(maxTable)
	long := "/" + strings.Repeat("p", 30_000)
	if got := write(p.headers(1, ":path", long)); !strings.Contains(got, ":path=/pppp") || !strings.HasSuffix(got, "ppp<cut>") || len(got) > 2*maxShown {
		t.Errorf("a long path is shown in %d bytes", len(got))
	}
	var many string
	for n := range uint32(1000) {
		many += p.headers(3+2*n, ":path", long)
	}
	if len(many) > 16<<10 {
		t.Fatalf("the requests are %d bytes", len(many))
	}
	if got := write(many); len(got) > maxSummary+2*maxShown || !strings.HasSuffix(got, " more>") {
		t.Errorf("1000 references to it are shown in %d bytes, ending in %q", len(got), got[max(0, len(got)-20):])
	}
	if got := write(p.get(3001, "/next")); !strings.HasSuffix(got, ":method=GET :path=/next :authority=x.test") {
		t.Errorf("what follows is %q", got)
	}

	var fields []string
	for range 5000 {
		fields = append(fields, "x-same", "of all")
	}
	write(p.headers(3003, fields...))
	if n := len(d.fields); n > maxFields {
		t.Errorf("%d fields are kept", n)
	}

	kept := 0
	for n := range uint32(2 * maxBlocks) {
		write(rawFrame(1, 0, 4001+2*n, strings.Repeat("b", 8000)))
		kept = 0
		for _, b := range conn().blocks {
			kept += len(b)
		}
		if kept > maxBlock {
			t.Fatalf("%d bytes of unfinished headers are kept", kept)
		}
	}
	if kept == 0 {
		t.Error("no unfinished headers are kept")
	}
	for range 2 * maxBlock / 1000 {
		write(strings.Repeat("\x00\xff\xff\x01", 250)) // a frame that never ends
		if n := len(conn().partial); n > maxBlock+9 {
			t.Fatalf("%d bytes of a frame are kept", n)
		}
	}
	for n := range uint64(3 * maxConns) {
		d.AppendSummary(nil, 2, n, uint64(len(preface)), []byte(preface))
	}
	if n := len(d.recent) + len(d.older); n > 2*maxConns {
		t.Errorf("%d connections are kept", n)
	}
}

// TestFirstLineInParts: an HTTP/1 first line that a program writes in parts is shown
// once, when it is whole, with its target as it is to be shown.
func TestFirstLineInParts(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for name, writes := range map[string][]write{
		"a request": {
			{data: "GET /a", want: "http/1.x <collecting>"},
			{data: "?token=se", want: "http/1.x <collecting>"},
			{data: "cret HTTP/1.1", want: "http/1.x <collecting>"},
			{data: "\r\nHost: x\r\n", want: "http/1.x request: GET [/a?token=secret] HTTP/1.1"},
			{data: "\r\n", want: "binary len=2"},
			{data: "GET /b HTTP/1.1\r\n", want: "http/1.x request: GET [/b] HTTP/1.1"},
		},
		"by bytes": {
			{data: "P", want: "http/1.x <collecting>"}, {data: "U", want: "http/1.x <collecting>"},
			{data: "T", want: "http/1.x <collecting>"}, {data: " ", want: "http/1.x <collecting>"},
			{data: "/ HTTP/1.0\n", want: "http/1.x request: PUT [/] HTTP/1.0"},
		},
		"a response":     {{data: "HTTP/1.1 ", want: "http/1.x <collecting>"}, {data: "200 OK\r\n", want: "http/1.x response: HTTP/1.1 200 OK"}},
		"written again":  {{data: "GET /a", want: "http/1.x <collecting>"}, {data: "GET /a", want: "http/1.x <collecting>"}, {data: " HTTP/1.1\n", want: "http/1.x request: GET [/a] HTTP/1.1"}},
		"something else": {{data: "G", want: "http/1.x <collecting>"}, {data: "\x01\x02", want: "binary len=2"}, {data: "G1", want: "binary len=2"}},
		"two connections": {
			{conn: 1, data: "GET /1", want: "http/1.x <collecting>"}, {conn: 2, data: "GET /2", want: "http/1.x <collecting>"},
			{conn: 1, data: " HTTP/1.1\n", want: "http/1.x request: GET [/1] HTTP/1.1"},
			{conn: 2, data: " HTTP/1.1\n", want: "http/1.x request: GET [/2] HTTP/1.1"},
		},
		"too long": {{data: "GET /", want: "http/1.x <collecting>"}, {data: long, want: "http/1.x request: GET [/" + long + "]"}},
		"cut":      {{data: "GET /", want: "http/1.x <collecting>"}, {data: "cut", lost: 7, want: "http/1.x request: GET [/cut] (captured 3/10B)"}},
		"HTTP/2":   {{data: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", want: "h2 preface only"}},
		"a loss":   {{data: "GET /", want: "http/1.x <collecting>"}, {data: "", lost: 4, want: "len=4 <no-capture>"}, {data: "x HTTP/1.1\n", want: "binary len=11"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decoder{Live: true, Target: func(b, target []byte) []byte { return append(append(append(b, '['), target...), ']') }}
			for _, w := range writes {
				got := string(d.AppendSummary(nil, 1, w.conn, uint64(len(w.data)+w.lost), []byte(w.data)))
				if got != w.want {
					t.Errorf("%.40q:\n got %.99s\nwant %.99s", w.data, got, w.want)
				}
			}
			for conn := range uint64(3 * maxConns) {
				d.AppendSummary(nil, 1, conn, 5, []byte("GET /"))
			}
			if n := len(d.lines); n > maxConns {
				t.Errorf("%d lines are kept", n)
			}
		})
	}
}
