package probe

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vivarium/pkg/event"
)

// tlsServer answers on 127.0.0.1, in HTTP/1.1 and HTTP/2, and returns its
// HOST:PORT.
func tlsServer(t testing.TB) string {
	t.Helper()
	return delayedServer(t, 0)
}

// delayed makes a server so slow to answer that what the client has mapped by
// then is attached to, however busy the machine is.
type delayed struct {
	net.Listener
	by time.Duration
}

func (d delayed) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	time.Sleep(d.by)
	return c, err
}

func delayedServer(t testing.TB, by time.Duration) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.Header.Get("Content-Type") == "application/grpc" {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			w.Write(make([]byte, 5)) // an empty message
			w.Header().Set("Grpc-Status", "0")
			return
		}
		fmt.Fprintln(w, r.Proto)
	}))
	s.EnableHTTP2 = true
	s.Listener = delayed{s.Listener, by}
	s.StartTLS()
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// clientScript is a file with the text of a program in some language, in which
// HOST:PORT and PORT stand for the server's.
func clientScript(t testing.TB, addr, text string) string {
	t.Helper()
	_, port, _ := strings.Cut(addr, ":")
	text = strings.ReplaceAll(text, "HOST:PORT", addr)
	text = strings.ReplaceAll(text, "PORT", port)
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// summaries are those of the requests in the stream, each as CONN SUMMARY.
func summaries(s *seen) (all []string) {
	for _, ev := range s.events {
		if ev.Kind == &event.Kinds[event.SSLWrite] {
			all = append(all, fmt.Sprintf("%d %s", ev.Get("conn").Num, ev.Get("summary").Text))
		}
	}
	return all
}

// debianPython has the modules that packages bring, which another python3 on
// the PATH may not have.
const debianPython = "/usr/bin/python3"

const pythonClient = `
import http.client, ssl
c = http.client.HTTPSConnection("HOST:PORT", context=ssl._create_unverified_context())
c.request("GET", "/python?token=hunter2&q=1", headers={"Authorization": "Bearer hunter2", "Cookie": "a=hunter2"})
c.getresponse().read()
`

const rubyClient = `
require "net/http"
require "openssl"
h = Net::HTTP.new("127.0.0.1", PORT)
h.use_ssl = true
h.verify_mode = OpenSSL::SSL::VERIFY_NONE
h.get("/ruby?token=hunter2&q=1", "Authorization" => "Bearer hunter2", "Cookie" => "a=hunter2")
`

const nodeClient = `
const https = require("https")
https.get("https://HOST:PORT/node?token=hunter2&q=1", {rejectUnauthorized: false,
  headers: {Authorization: "Bearer hunter2", Cookie: "a=hunter2"}}, r => r.resume())
`

const nodeHTTP2Client = `
const c = require("http2").connect("https://HOST:PORT", {rejectUnauthorized: false})
const one = n => new Promise(done => {
  const r = c.request({":path": "/node2/" + n + "?token=hunter2&q=1", authorization: "Bearer hunter2", cookie: "a=hunter2"})
  r.resume(); r.on("end", done); r.end()
})
one(1).then(() => one(2)).then(() => c.close())
`

// libcurl with GnuTLS, which Debian's curl does not use.
const gnutlsClient = `
import ctypes
curl = ctypes.CDLL("libcurl-gnutls.so.4")
curl.curl_easy_init.restype = curl.curl_slist_append.restype = ctypes.c_void_p
headers = None
for h in b"Authorization: Bearer hunter2", b"Cookie: a=hunter2":
    headers = ctypes.c_void_p(curl.curl_slist_append(headers, h))
handle = ctypes.c_void_p(curl.curl_easy_init())
def option(n, value): assert curl.curl_easy_setopt(handle, n, value) == 0
option(64, ctypes.c_long(0)) # CURLOPT_SSL_VERIFYPEER
option(81, ctypes.c_long(0)) # CURLOPT_SSL_VERIFYHOST
option(10023, headers) # CURLOPT_HTTPHEADER
option(10005, b"me:hunter2") # CURLOPT_USERPWD
option(84, ctypes.c_long(VERSION)) # CURLOPT_HTTP_VERSION
for n in b"1", b"2":
    option(10002, b"https://HOST:PORT/gnutls/" + n + b"?token=hunter2&q=1") # CURLOPT_URL
    assert curl.curl_easy_perform(handle) == 0
`

const grpcClient = `
import grpc, ssl
trust = grpc.ssl_channel_credentials(ssl.get_server_certificate(("127.0.0.1", PORT)).encode())
secrets = (("authorization", "Bearer hunter2"), ("cookie", "a=hunter2"))
with grpc.secure_channel("HOST:PORT", trust) as channel:
    for name in "One", "Two":
        assert channel.unary_unary("/viv.Test/" + name)(b"hello", metadata=secrets) == b""
`

// TestTLSClients: the requests of real programs by the libraries that they
// use, without the secrets in them, in their arguments or in any other event.
func TestTLSClients(t *testing.T) {
	addr := delayedServer(t, 200*time.Millisecond)
	u := "https://" + addr
	h1 := func(path string) []string {
		return []string{"http/1.x request: GET /" + path + "?token=***&q=1 HTTP/1.1"}
	}
	h2 := func(path string) string {
		return ":method=GET :path=/" + path + "?token=***&q=1 :authority=" + addr
	}
	secrets := []string{"-H", "Authorization: Bearer hunter2", "-H", "Cookie: a=hunter2", "-u", "me:hunter2"}
	for _, c := range []struct {
		name string
		argv func(t *testing.T) []string
		want []string
	}{
		{"python", func(t *testing.T) []string {
			return []string{tool(t, "python3"), clientScript(t, addr, pythonClient)}
		}, h1("python")},
		{"ruby", func(t *testing.T) []string {
			return []string{tool(t, "ruby"), clientScript(t, addr, rubyClient)}
		}, h1("ruby")},
		{"curl HTTP/1.1", func(t *testing.T) []string {
			return append([]string{tool(t, "curl"), "-sk", "--http1.1", u + "/curl?token=hunter2&q=1"}, secrets...)
		}, h1("curl")},
		{"curl HTTP/2", func(t *testing.T) []string {
			return append([]string{tool(t, "curl"), "-sk", "--http2", u + "/curl/1?token=hunter2&q=1", u + "/curl/2?token=hunter2&q=1"}, secrets...)
		}, []string{h2("curl/1"), h2("curl/2")}},
		{"wget (GnuTLS)", func(t *testing.T) []string {
			return []string{tool(t, "wget"), "-q", "--no-check-certificate", "-O", "/dev/null", "--header=Authorization: Bearer hunter2", "--header=Cookie: a=hunter2", u + "/wget?token=hunter2&q=1"}
		}, h1("wget")},
		{"libcurl HTTP/1.1 (GnuTLS)", func(t *testing.T) []string {
			return []string{debianPython, clientScript(t, addr, strings.Replace(gnutlsClient, "VERSION", "2", 1))}
		}, append(h1("gnutls/1"), h1("gnutls/2")...)},
		{"libcurl HTTP/2 (GnuTLS)", func(t *testing.T) []string {
			return []string{debianPython, clientScript(t, addr, strings.Replace(gnutlsClient, "VERSION", "4", 1))}
		}, []string{h2("gnutls/1"), h2("gnutls/2")}},
		{"node", func(t *testing.T) []string {
			return []string{tool(t, "node"), clientScript(t, addr, nodeClient)}
		}, h1("node")},
		{"node HTTP/2", func(t *testing.T) []string {
			return []string{tool(t, "node"), clientScript(t, addr, nodeHTTP2Client)}
		}, []string{h2("node2/1"), h2("node2/2")}},
		{"gRPC", func(t *testing.T) []string {
			if err := exec.Command(debianPython, "-c", "import grpc").Run(); err != nil {
				t.Fatalf("%s has no gRPC (python3-grpcio): %v", debianPython, err)
			}
			return []string{debianPython, clientScript(t, addr, grpcClient)}
		}, []string{":method=POST :path=/viv.Test/One :authority=" + addr, ":method=POST :path=/viv.Test/Two :authority=" + addr}},
		{"curl of a shell", func(t *testing.T) []string {
			return []string{"/bin/sh", "-c", tool(t, "curl") + " -sk --http1.1 '" + u + "/shell?token=hunter2&q=1'; true"}
		}, h1("shell")},
	} {
		t.Run(c.name, func(t *testing.T) {
			argv := c.argv(t)
			if filepath.Base(argv[len(argv)-1]) == "script" {
				argv = append(argv, "--password=hunter2", "--token", "hunter2") // which it ignores
			}
			opt := Options{Events: allEvents(), BufferSize: 1 << 24}
			if testing.Short() { // an emulated kernel takes long to check all programs
				opt.Events = events(event.SSLWrite, event.ProcExec, event.EnvCaccess, event.PathOpen)
			}
			s := record(t, opt, argv...)
			all := summaries(s)
			for _, want := range c.want {
				if !slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, want) }) {
					t.Errorf("not seen: %s\nseen:\n%s", want, strings.Join(all, "\n"))
				}
			}
			if strings.Contains(strings.Join(all, ""), "<unknown>") || strings.Contains(strings.Join(all, ""), "error") {
				t.Errorf("seen:\n%s", strings.Join(all, "\n"))
			}
			noSecret(t, s)
		})
	}
}

const uploadClient = `
import ctypes
curl = ctypes.CDLL("LIBRARY")
curl.curl_easy_init.restype = ctypes.c_void_p
handle = ctypes.c_void_p(curl.curl_easy_init())
def option(n, value): assert curl.curl_easy_setopt(handle, n, value) == 0
option(64, ctypes.c_long(0)) # CURLOPT_SSL_VERIFYPEER
option(81, ctypes.c_long(0)) # CURLOPT_SSL_VERIFYHOST
option(84, ctypes.c_long(4)) # CURLOPT_HTTP_VERSION: 2
body = b"x" * 200000
option(10015, body) # CURLOPT_POSTFIELDS
option(60, ctypes.c_long(len(body))) # CURLOPT_POSTFIELDSIZE
for n in b"1", b"2":
    option(10002, b"https://HOST:PORT/upload/" + n) # CURLOPT_URL
    assert curl.curl_easy_perform(handle) == 0
`

// TestTLSUpload: writes of more than is captured, which OpenSSL takes whole and
// GnuTLS in parts, and the request behind them.
func TestTLSUpload(t *testing.T) {
	addr := tlsServer(t)
	for _, library := range []string{"libcurl.so.4", "libcurl-gnutls.so.4"} {
		t.Run(library, func(t *testing.T) {
			text := strings.Replace(uploadClient, "LIBRARY", library, 1)
			s := record(t, Options{Events: events(event.SSLWrite), BufferSize: 1 << 24}, debianPython, clientScript(t, addr, text))
			all := strings.Join(summaries(s), "\n")
			for _, want := range []string{
				":method=POST :path=/upload/1 :authority=" + addr, ":method=POST :path=/upload/2 :authority=" + addr,
				"DATA stream=1 flags=0x00 len=16375* (captured 16384/16393B)", "DATA stream=3 flags=0x01 len=",
			} {
				if !strings.Contains(all, want) {
					t.Errorf("not seen: %s", want)
				}
			}
			if strings.Contains(all, "<unknown>") || strings.Contains(all, "error") || strings.Contains(all, "binary") {
				t.Error("something is not known")
			}
			if t.Failed() {
				t.Log(all)
			}
		})
	}
}

const nodeInterleaved = `
const http2 = require("http2")
const conns = ["a", "b"].map(() => http2.connect("https://HOST:PORT", {rejectUnauthorized: false}))
const one = (i, n) => new Promise(done => {
  const name = "ab"[i]
  const r = conns[i].request({":path": "/" + name + "/" + n, ["x-" + name]: "v" + n, "x-same": "of " + name})
  r.resume(); r.on("end", done); r.end()
})
const all = async () => {
  await Promise.all(conns.map(c => new Promise(done => c.on("connect", done))))
  console.log("ready")
  WAIT
  for (let n = 0; n < 8; n++) { await one(0, n); await one(1, n); await Promise.all([one(0, "x" + n), one(1, "x" + n)]) }
  conns.forEach(c => c.close())
}
all()
`

// TestTLSInterleaved: two connections of one process never mix.
func TestTLSInterleaved(t *testing.T) {
	addr := tlsServer(t)
	text := strings.Replace(nodeInterleaved, "WAIT", "", 1)
	s := record(t, Options{Events: events(event.SSLWrite)}, tool(t, "node"), clientScript(t, addr, text))
	path := regexp.MustCompile(`:path=/([ab])/\S+`)
	of := map[uint64]string{}
	n := 0
	for _, ev := range s.events {
		if ev.Kind != &event.Kinds[event.SSLWrite] {
			continue
		}
		text := string(ev.Get("summary").Text)
		if strings.Contains(text, "<unknown>") || strings.Contains(text, "error") {
			t.Error(text)
		}
		for _, m := range path.FindAllStringSubmatch(text, -1) {
			n++
			if conn := ev.Get("conn").Num; of[conn] == "" {
				of[conn] = m[1]
			} else if of[conn] != m[1] {
				t.Errorf("connection %d is of %s: %s", conn, of[conn], text)
			}
		}
	}
	if n != 32 || len(of) != 2 {
		t.Errorf("%d requests on %d connections, want 32 on 2", n, len(of))
	}
}

// TestTLSMidConnection: of a connection that was not seen from its start, what
// refers to headers of that time is not known, and not guessed.
func TestTLSMidConnection(t *testing.T) {
	addr := tlsServer(t)
	text := strings.Replace(nodeInterleaved, "WAIT", `
  for (let n = 0; n < 3; n++) { await one(0, "early" + n); await one(1, "early" + n) }
  console.log("ready"); await new Promise(done => process.stdin.on("end", done).resume())`, 1)
	text = strings.Replace(text, `console.log("ready")`, "", 1)
	r := startCmd(t, exec.Command(tool(t, "node"), clientScript(t, addr, text)))
	s := recordRunning(t, Options{Events: events(event.SSLWrite)}, r, 0)
	all := strings.Join(summaries(s), "\n")
	for _, want := range []string{":path=/a/0 ", ":path=/b/7 ", ":authority=<unknown>"} {
		if !strings.Contains(all, want) {
			t.Errorf("not seen: %s", want)
		}
	}
	if strings.Contains(all, "error") || strings.Contains(all, "early") {
		t.Error("something was guessed")
	}
	if t.Failed() {
		t.Log(all)
	}
}

// TestTLSData: the plaintext is there when it was asked for.
func TestTLSData(t *testing.T) {
	addr := tlsServer(t)
	s := record(t, Options{Events: events(event.SSLWrite), TLSData: true, NoMask: true},
		tool(t, "curl"), "-sk", "--http1.1", "https://"+addr+"/?token=hunter2")
	var data []byte
	for _, ev := range s.events {
		data = append(data, ev.Get("data").Text...)
	}
	if !strings.HasPrefix(string(data), "GET /?token=hunter2 HTTP/1.1\r\nHost: "+addr) {
		t.Errorf("the data are %q", data)
	}
	if all := summaries(s); len(all) == 0 || !strings.Contains(all[0], "GET /?token=hunter2 ") {
		t.Errorf("seen: %s", all)
	}
}

// TestTLSOwnRoot: a program with its own copy of the TLS library, in a mount
// namespace and a root of its own.
func TestTLSOwnRoot(t *testing.T) {
	addr := delayedServer(t, time.Second)
	curl, d := tool(t, "curl"), tempDir(t)
	out, err := exec.Command("/lib64/ld-linux-x86-64.so.2", "--list", curl).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(regexp.MustCompile(`/\S+`).FindAllString(string(out), -1), curl) {
		if err := os.MkdirAll(d+filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		copyFile(t, path, d+path)
	}
	s := record(t, Options{Events: events(event.SSLWrite)}, tool(t, "unshare"), "-m", "chroot", d,
		curl, "-sk", "--http1.1", "https://"+addr+"/own?token=hunter2")
	if all := strings.Join(summaries(s), "\n"); !strings.Contains(all, "GET /own?token=*** HTTP/1.1") {
		t.Errorf("seen: %s", all)
	}
}

// tlsRequests checks the requests of testdata's tls, which are in turn on one
// connection for each path.
func tlsRequests(t *testing.T, s *seen, paths ...string) {
	t.Helper()
	var got, want []string
	conns := map[uint64]string{}
	for _, ev := range s.events {
		if ev.Kind != &event.Kinds[event.SSLWrite] {
			continue
		}
		got = append(got, string(ev.Get("summary").Text))
		conn, path := ev.Get("conn").Num, paths[(len(got)-1)%len(paths)]
		if conns[conn] == "" {
			conns[conn] = path
		} else if conns[conn] != path {
			t.Errorf("connection %d is that of %s, too: %s", conn, conns[conn], ev.Get("summary").Text)
		}
	}
	for turn := 1; turn <= 3; turn++ {
		for _, path := range paths {
			want = append(want, fmt.Sprintf("http/1.x request: GET /%s/%d?token=*** HTTP/1.1", path, turn))
		}
	}
	compare(t, got, want)
	if len(conns) != len(paths) {
		t.Errorf("%d connections, want %d", len(conns), len(paths))
	}
	noSecret(t, s)
}

// TestTLSStatic: a program that was linked with OpenSSL.
func TestTLSStatic(t *testing.T) {
	_, port, _ := strings.Cut(tlsServer(t), ":")
	path, opt := program(t, "tls", "-lssl", "-lcrypto"), Options{Events: events(event.SSLWrite)}
	t.Run("started", func(t *testing.T) {
		tlsRequests(t, record(t, opt, path, port, "a", "b"), "a", "b")
	})
	t.Run("running", func(t *testing.T) {
		tlsRequests(t, recordRunning(t, opt, start(t, path, port, "a", "b", "wait"), 0), "a", "b")
	})
}

// TestTLSReplaced: a program's own copy of libssl is replaced while it has it
// mapped, by a file in which nothing is where it was, and is deleted.
func TestTLSReplaced(t *testing.T) {
	_, port, _ := strings.Cut(tlsServer(t), ":")
	path := compiled(t, "tls", "cc", "-lssl", "-lcrypto")
	out, err := exec.Command("/lib64/ld-linux-x86-64.so.2", "--list", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	library := regexp.MustCompile(`libssl\S* => (\S+)`).FindSubmatch(out)
	if library == nil {
		t.Fatalf("it has no libssl: %s", out)
	}
	for name, become := range map[string]func(file string) error{
		"replaced": func(file string) error {
			copyFile(t, program(t, "env"), file+".new")
			return os.Rename(file+".new", file)
		},
		"deleted": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			own := filepath.Join(tempDir(t), filepath.Base(string(library[1])))
			copyFile(t, string(library[1]), own)
			cmd := exec.Command(path, port, "a", "b", "wait")
			cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Dir(own))
			r := startCmd(t, cmd)
			if err := become(own); err != nil {
				t.Fatal(err)
			}
			tlsRequests(t, recordRunning(t, Options{Events: events(event.SSLWrite)}, r, 0), "a", "b")
		})
	}
}

// TestTLSForgets: an object of the library's that serves another connection, or
// another process, is another connection.
func TestTLSForgets(t *testing.T) {
	var w tlsWrites
	id := func(pid uint32, addr uint64) uint64 { return w.id(tlsConn{pid, addr}) }
	a, b, c := id(1, 0x10), id(1, 0x20), id(2, 0x10)
	if a == b || a == c || b == c || id(1, 0x10) != a {
		t.Errorf("connections %d %d %d", a, b, c)
	}
	w.end(1, 0x10)
	if id(1, 0x10) == a {
		t.Error("an object that was freed keeps its connection")
	}
	if id(1, 0x20) != b || id(2, 0x10) != c {
		t.Error("others do not")
	}
	w.forget(1, 3)
	if id(1, 0x20) == b || id(2, 0x10) != c {
		t.Error("a new process has connections of the one before, or another lost its own")
	}
	w.forget(2, 2) // a thread
	if id(2, 0x10) != c {
		t.Error("a thread ends its process's connections")
	}
	for addr := range uint64(3 * maxTLSConns) {
		id(5, addr)
	}
	if n := len(w.recent) + len(w.older); n > 2*maxTLSConns {
		t.Errorf("%d connections are kept", n)
	}
}
