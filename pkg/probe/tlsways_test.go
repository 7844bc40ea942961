package probe

import (
	"fmt"
	"strings"
	"testing"

	"vivarium/pkg/event"
)

// TestTLSWays: each way to write that OpenSSL has is one event, in a program that
// uses the library and in one that was linked with it.
func TestTLSWays(t *testing.T) {
	_, port, _ := strings.Cut(tlsServer(t), ":")
	request := func(path string) string { return "1 http/1.x request: GET /" + path + "?token=*** HTTP/1.1" }
	want := []string{
		request("SSL_write"), request("SSL_write_ex"), request("SSL_write_ex"), request("BIO_write"), request("BIO_puts"),
		request("BIO_f_buffer"), "1 http/1.x <collecting>", "1 http/1.x <collecting>", request("parts"), "1 len=10 <no-capture>",
	}
	for name, path := range map[string]string{
		"static":  program(t, "tlsways", "-lssl", "-lcrypto"),
		"dynamic": compiled(t, "tlsways", "cc", "-lssl", "-lcrypto"),
	} {
		t.Run(name, func(t *testing.T) {
			s := record(t, Options{Events: events(event.SSLWrite)}, path, port)
			compare(t, summaries(s), want)
			noSecret(t, s)
		})
	}
}

// TestTLSInner: what one call does through several functions of a library is one
// event, and what several do is several.
func TestTLSInner(t *testing.T) {
	s := record(t, Options{Events: events(event.SSLWrite)}, program(t, "tlsinner"))
	var got []string
	for _, ev := range s.events {
		if ev.Kind == &event.Kinds[event.SSLWrite] {
			got = append(got, fmt.Sprint(ev.Get("len").Num))
		}
	}
	compare(t, got, strings.Fields("1 2 1 2 1 2 3 3 4 4 5 5"))
}

const gnutlsWays = `
import ctypes, socket, tempfile
g = ctypes.CDLL("libgnutls.so.30")
for f in g.gnutls_record_send, g.gnutls_record_send2, g.gnutls_record_send_range, g.gnutls_record_send_file:
    f.restype = ctypes.c_ssize_t
def check(n):
    assert n >= 0, n
s, c = ctypes.c_void_p(), ctypes.c_void_p()
check(g.gnutls_certificate_allocate_credentials(ctypes.byref(c)))
check(g.gnutls_init(ctypes.byref(s), 2))
check(g.gnutls_set_default_priority(s))
check(g.gnutls_credentials_set(s, 1, c))
sock = socket.create_connection(("127.0.0.1", PORT))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, b"\x1e" + bytes(15)) # 30 s
g.gnutls_transport_set_int2(s, sock.fileno(), sock.fileno())
while True:
    n = g.gnutls_handshake(s)
    if n == 0: break
    assert n in (-28, -52), n
def request(path): return b"GET /" + path + b"?token=hunter2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
size = ctypes.c_size_t
def answered():
    b = ctypes.create_string_buffer(4096)
    while True:
        n = g.gnutls_record_recv(s, b, size(4096))
        if n > 0: return
        assert n in (-28, -52), n
for path in b"send", b"send": # the same, from the same place
    r = request(path); check(g.gnutls_record_send(s, r, size(len(r)))); answered()
r = request(b"send2"); check(g.gnutls_record_send2(s, r, size(len(r)), size(0), 0)); answered()
r = request(b"send_range"); check(g.gnutls_record_send_range(s, r, size(len(r)), (size * 2)(len(r), len(r)))); answered()
r = request(b"corked"); g.gnutls_record_cork(s)
check(g.gnutls_record_send(s, r, size(9))); check(g.gnutls_record_send2(s, r[9:], size(len(r) - 9), size(0), 0))
check(g.gnutls_record_uncork(s, 1)); answered()
with tempfile.TemporaryFile() as f:
    n = f.write(request(b"send_file")); f.seek(0)
    check(g.gnutls_record_send_file(s, f.fileno(), None, size(n))); answered()
r = request(b"parts"); check(g.gnutls_record_send(s, r, size(9))); check(g.gnutls_record_send(s, r[9:], size(len(r) - 9))); answered()
g.gnutls_deinit(s)
`

// TestGnuTLSWays: the same of GnuTLS; what is corked is shown when it is sent.
func TestGnuTLSWays(t *testing.T) {
	addr := tlsServer(t)
	s := record(t, Options{Events: events(event.SSLWrite)}, debianPython, clientScript(t, addr, gnutlsWays))
	request := func(path string) string { return "1 http/1.x request: GET /" + path + "?token=*** HTTP/1.1" }
	compare(t, summaries(s), []string{
		request("send"), request("send"), request("send2"), request("send_range"), request("corked"), request("send_file"),
		"1 http/1.x <collecting>", request("parts"),
	})
	noSecret(t, s)
}

// TestTLSCorked: what a library keeps is not shown, until it is lost that it keeps it.
func TestTLSCorked(t *testing.T) {
	var w tlsWrites
	shown := func() bool {
		ev := event.Event{PID: 1}
		ev.Fields[event.SSLWriteLen].Num, ev.Fields[event.SSLWriteConn].Num = 2, 0x10
		return w.written(&ev, []byte("ab"), &Options{})
	}
	step := func(what string, do func(), want bool) {
		t.Helper()
		do()
		if got := shown(); got != want {
			t.Errorf("%s: shown %v, want %v", what, got, want)
		}
	}
	step("at first", func() {}, true)
	step("corked", func() { w.cork(1, 0x10) }, false)
	step("another is uncorked", func() { w.uncork(2, 0x10); w.uncork(1, 0x20) }, false)
	step("uncorked", func() { w.uncork(1, 0x10) }, true)
	step("freed", func() { w.cork(1, 0x10); w.end(1, 0x10) }, true)
	step("executed", func() { w.cork(1, 0x10); w.forget(1, 0) }, true)
	step("something was lost", func() { w.cork(1, 0x10); w.lost() }, true)
	for addr := range uint64(2 * maxTLSConns) {
		w.cork(3, addr)
	}
	if n := len(w.corked); n > maxTLSConns {
		t.Errorf("%d are kept", n)
	}
}
