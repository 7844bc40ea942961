package otlp

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// rawReceiver answers every request with what write writes, n from 0 on, and
// then closes the connection.
func rawReceiver(t *testing.T, write func(n int, w io.Writer)) (url string, tries *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	tries = new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				io.Copy(io.Discard, r.Body)
				write(int(tries.Add(1))-1, c)
			}()
		}
	}()
	return "http://" + l.Addr().String(), tries
}

// partialAnswer is a partial success that rejects that many spans.
func partialAnswer(t *testing.T, rejected int64, json bool) []byte {
	t.Helper()
	r := ptraceotlp.NewExportResponse()
	r.PartialSuccess().SetRejectedSpans(rejected)
	r.PartialSuccess().SetErrorMessage("why")
	b, err := r.MarshalProto()
	if json {
		b, err = r.MarshalJSON()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Answers as broken or hostile receivers give them: none is waited for longer
// than a request's timeout, and none makes viv-otlp send a batch for ever.
func TestOddAnswers(t *testing.T) {
	partial := partialAnswer(t, 2, false)
	var zipped, deflated, bomb bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(partial)
	z.Close()
	f, _ := flate.NewWriter(&deflated, 9)
	f.Write(partial)
	f.Close()
	z.Reset(&bomb)
	zeros := make([]byte, 1<<20)
	for range 64 {
		z.Write(zeros)
	}
	z.Close()
	body := func(b []byte, headers ...string) func(int, io.Writer) {
		return func(_ int, w io.Writer) {
			fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n%s\r\n%s", len(b), strings.Join(append(headers, ""), "\r\n"), b)
		}
	}
	text := func(s string) func(int, io.Writer) {
		return func(_ int, w io.Writer) { io.WriteString(w, s) }
	}
	endless := func(head, part string) func(int, io.Writer) {
		return func(_ int, w io.Writer) {
			_, err := io.WriteString(w, head)
			for err == nil {
				_, err = io.WriteString(w, part)
			}
		}
	}
	slow := func(head, part string) func(int, io.Writer) {
		return func(_ int, w io.Writer) {
			_, err := io.WriteString(w, head)
			for err == nil {
				time.Sleep(10 * time.Millisecond)
				_, err = io.WriteString(w, part)
			}
		}
	}
	// later answers the second time.
	later := func(first func(int, io.Writer)) func(int, io.Writer) {
		return func(n int, w io.Writer) {
			if n > 0 {
				first = text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
			first(n, w)
		}
	}
	all := Counts{Delivered: 3}
	none := Counts{Rejected: 3}
	for name, test := range map[string]struct {
		write func(int, io.Writer)
		want  Counts
		tries int32
		said  string
	}{
		"gzip":                       {body(zipped.Bytes(), "Content-Encoding: gzip"), Counts{Delivered: 1, Rejected: 2}, 1, "the receiver rejected a part of the batch: why"},
		"gzip that is none":          {body([]byte("no gzip"), "Content-Encoding: gzip"), all, 1, ""},
		"half of a gzip":             {body(zipped.Bytes()[:12], "Content-Encoding: gzip"), all, 1, ""},
		"gzip of nothing":            {body(nil, "Content-Encoding: gzip"), all, 1, ""},
		"a bomb":                     {body(bomb.Bytes(), "Content-Encoding: gzip"), all, 1, ""},
		"deflate":                    {body(deflated.Bytes(), "Content-Encoding: deflate"), all, 1, `with a body that cannot be read: its Content-Encoding is "deflate"`},
		"gzip as transfer encoding":  {text("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), none, 3, `the answer cannot be read: `},
		"two lengths":                {text("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), none, 3, "the answer cannot be read: "},
		"a length that is none":      {text("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"), none, 3, "the answer cannot be read: "},
		"no HTTP":                    {text("SSH-2.0-OpenSSH_9.9\r\n\r\n"), none, 3, "the answer cannot be read: "},
		"a broken chunk":             {text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), all, 1, ""},
		"huge":                       {endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", strings.Repeat("x", 4096)), all, 1, ""},
		"chunks without end":         {endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1000\r\n"+strings.Repeat("x", 4096)+"\r\n"), all, 1, ""},
		"a slow body":                {slow("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "x"), all, 1, ""},
		"slow chunks, refused":       {slow("HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"), none, 1, "400 Bad Request"},
		"headers without end":        {endless("HTTP/1.1 200 OK\r\n", "X-A: "+strings.Repeat("x", 4096)+"\r\n"), none, 3, "the answer cannot be read: "},
		"slow headers":               {later(slow("HTTP/1.1 200 OK\r\n", "X")), all, 2, "no answer within 2s: trying again"},
		"half a header":              {later(text("HTTP/1.1 200 OK\r\nContent-")), all, 2, "trying again"},
		"nothing":                    {later(text("")), all, 2, "EOF: trying again"},
		"continue first":             {text("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), all, 1, ""},
		"only continue":              {later(text("HTTP/1.1 100 Continue\r\n\r\n")), all, 2, "EOF: trying again"},
		"another protocol":           {slow("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "x"), none, 1, "101 Switching Protocols"},
		"no content":                 {text("HTTP/1.1 204 No Content\r\n\r\n"), all, 1, ""},
		"a status without a reason":  {text("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), all, 1, ""},
		"a redirect elsewhere":       {text("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), none, 1, "302 Found"},
		"rejects more than there is": {body(partialAnswer(t, 1<<40, false)), none, 1, "the receiver rejected a part of the batch: why"},
		"rejects less than none":     {body(partialAnswer(t, -5, false)), all, 1, "the receiver warns: why"},
		"JSON in capitals": {text(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\nConnection: close\r\n\r\n%s", partialAnswer(t, 1, true))),
			Counts{Delivered: 2, Rejected: 1}, 1, "the receiver rejected a part of the batch: why"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, tries := rawReceiver(t, test.write)
			d := startDelivery(t, url, func(o *DeliveryOptions, _ *bounds) {
				old := o.Endpoint
				o.Endpoint = func(s Signal) (*Endpoint, error) {
					e, err := old(s)
					e.Timeout = 2 * time.Second
					return e, err
				}
			})
			begun := time.Now()
			d.Put(testBatch(t, "a", "b", "c"))
			same(t, "counts", [2]Counts{test.want}, d.Close())
			same(t, "requests", test.tries, tries.Load())
			if s := d.warnings(); !strings.Contains(s, test.said) || test.said == "" && s != "" {
				t.Errorf("said %q, want %q", s, test.said)
			}
			if took := time.Since(begun); took > time.Minute {
				t.Errorf("it took %v", took)
			}
		})
	}
}
